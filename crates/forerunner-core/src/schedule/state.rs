//! How far a schedule is: which of its occurrences are decided, and what came of the last ones.

use serde::{Deserialize, Serialize};

use crate::{IdempotencyKey, ScheduleName, TaskId, Timestamp};

/// Tasks that have not ended, as far as known, that a schedule remembers: the newest.
const REMEMBERED: usize = 64;
/// What the keys of tasks of schedules begin with.
const KEY: &str = "schedule:";

/// The last task that a schedule submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = ScheduleRun))]
pub struct LastRun {
    /// The occurrence, before jitter; the time of the call for a run by hand.
    pub occurrence: Timestamp,
    /// When the task was submitted.
    pub submitted_at: Timestamp,
    /// The task.
    pub task: TaskId,
}

/// How far a schedule is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleState {
    /// When it was made.
    pub created_at: Timestamp,
    /// All occurrences up to here are decided. It never goes back but for a clock that was wrong by days.
    pub decided: Timestamp,
    /// Tasks that it submitted and that have not ended, as far as known; the oldest first.
    pub active: Vec<TaskId>,
    /// Tasks that it submitted.
    pub fired: u64,
    /// Occurrences that it skipped.
    pub skipped: u64,
    /// The last task.
    pub last: Option<LastRun>,
}

impl ScheduleState {
    /// A schedule that is made now: what was before does not concern it.
    pub fn new(now: Timestamp) -> Self {
        Self { created_at: now, decided: now, ..Self::default() }
    }

    /// The state once an occurrence was submitted as `task`; a run by hand decides no occurrence.
    #[must_use]
    pub fn fired(&self, run: LastRun, active: &[TaskId], by_hand: bool) -> Self {
        let mut active = active.to_vec();
        active.push(run.task);
        active.drain(..active.len().saturating_sub(REMEMBERED));
        let decided = if by_hand { self.decided } else { run.occurrence };
        Self { decided, active, fired: self.fired + 1, last: Some(run), ..self.clone() }
    }

    /// The state once the occurrences up to `until` were skipped.
    #[must_use]
    pub fn skipped(&self, until: Timestamp, occurrences: u64) -> Self {
        Self { decided: until, skipped: self.skipped + occurrences, ..self.clone() }
    }
}

/// Returns the idempotency key of an occurrence.
pub fn key_of(name: &ScheduleName, occurrence: Timestamp, by_hand: bool) -> IdempotencyKey {
    let how = if by_hand { "run-now:" } else { "" };
    IdempotencyKey::new(format!("{KEY}{name}:{how}{occurrence}")).expect("a name and a time are short visible ASCII")
}

/// Returns the schedule that a key is of, if it is the key of an occurrence.
pub fn name_in_key(key: &str) -> Option<&str> {
    key.strip_prefix(KEY)?.split_once(':').map(|(name, _)| name)
}
