//! What every store decides alike besides the transitions of core: where a task starts, and what its order is.

use std::time::Duration;

use forerunner_core::{
    AgentId, ApiKeyName, AttemptRecord, ContextId, NodeId, PoolName, Task, TaskId, TaskReport, TaskState, Timestamp,
    transition::{AttemptEnd, state_at},
};

use crate::{Bounds, Claim, ContextsFull, Refusal};

/// Most tasks that one sweep promotes, and most that it expires: a longer sweep would delay everything else.
///
/// The rest is reported as due at once, so the caller sweeps again.
pub const SWEEP_LIMIT: usize = 10_000;

/// Seconds that [`TaskStore::due_by`](crate::TaskStore::due_by) answers at most.
pub const DUE_LIMIT: usize = 4_096;

/// Most tasks on a page of a listing.
pub const PAGE_LIMIT: usize = 1_000;

/// Most tasks that one selection names.
pub const SELECT_LIMIT: usize = 10_000;

/// Why a task that would begin a context is refused.
pub fn contexts_full(pool: &PoolName, context: &ContextId, full: ContextsFull) -> Refusal {
    let ContextsFull { stored_bytes, limit_bytes } = full;
    Refusal::ContextsFull { pool: pool.clone(), context: context.clone(), stored_bytes, limit_bytes }
}

/// The depth of a child, unless there is no parent or the child would be too deep. `of_parent` is the depth of the parent.
pub fn child_depth(parent: TaskId, of_parent: Option<u32>, bounds: Bounds) -> Result<u32, Refusal> {
    let depth = of_parent.ok_or(Refusal::NoParent { parent })?.saturating_add(1);
    match bounds.max_depth {
        Some(limit) if depth > limit => Err(Refusal::TooDeep { parent, depth, limit }),
        _ => Ok(depth),
    }
}

/// The report of a task from when somebody asks to cancel it. What its agents reported stays.
pub fn cancellation_by(stored: Option<TaskReport>, by: Option<&ApiKeyName>) -> Option<TaskReport> {
    let report = TaskReport { cancelled_by: by.cloned(), ..stored.unwrap_or_default() };
    (report != TaskReport::default()).then_some(report)
}

/// The report that an agent's attempt leaves. A request to cancel the task that came meanwhile stays.
pub fn report_of_attempt(stored: Option<TaskReport>, report: TaskReport) -> TaskReport {
    TaskReport { cancelled_by: stored.and_then(|stored| stored.cancelled_by), ..report }
}

/// The state a task has when it is accepted.
pub fn first_state(task: &Task) -> TaskState {
    state_at(task.run_at, task.submitted_at)
}

/// When a task became, or becomes, due for the first time. It keeps this place through all its retries.
pub fn first_due(task: &Task) -> Timestamp {
    task.run_at.max(task.submitted_at)
}

/// Most attempts of a task that are stored: the newest ones.
pub(crate) const ATTEMPTS: usize = 10;

/// An attempt that ended without a result.
pub(crate) fn attempt_record(
    (attempt, started_at): (u32, Timestamp),
    (agent, node): (Option<AgentId>, Option<NodeId>),
    end: &AttemptEnd,
    now: Timestamp,
) -> AttemptRecord {
    let AttemptEnd { state, error } = end.clone();
    let log = error.as_ref().and_then(|error| error.log.as_deref().map(str::to_owned));
    let error = error.map(|error| error.with_log(None));
    AttemptRecord { attempt, outcome: state.into(), started_at, ended_at: Some(now), agent, node, error, log }
}

/// Adds an attempt to the stored ones.
pub(crate) fn keep_attempt(kept: &mut Vec<AttemptRecord>, record: AttemptRecord) {
    if kept.len() >= ATTEMPTS {
        kept.drain(..=kept.len() - ATTEMPTS);
    }
    kept.push(record);
}

/// Where a task waits once its `run_at` is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// `scheduled`, or `queued` if its time has come.
    pub state: TaskState,
    /// Its place among the tasks that are as urgent.
    pub due: Timestamp,
    /// Not before this time.
    pub run_at: Timestamp,
}

/// What becomes of a waiting task that is to run at `run_at`, or now if that time has come.
///
/// A task with a place in its context's queue keeps it, whatever its time: those behind it wait for it, as they do for
/// a retry. So a conversation never changes its order. Any other task gets the place of its new time.
pub fn moved(task: &Task, due: Timestamp, has_place: bool, run_at: Timestamp, now: Timestamp) -> Moved {
    let state = state_at(run_at, now);
    let run_at = match (state, task.state) {
        (TaskState::Scheduled, _) => run_at,
        (_, TaskState::Queued) => task.run_at,
        _ => now,
    };
    let due = match state {
        _ if has_place => due,
        TaskState::Scheduled => run_at,
        _ => due.min(now),
    };
    Moved { state, due, run_at }
}

/// Whether the `place`th task of a claim starts at once, instead of being prefetched for an agent that is ready next. A
/// task that was in a crash before starts: if it crashes nodes, that must count.
pub(crate) fn starts(claim: &Claim, place: usize, crashes: u32) -> bool {
    place < claim.starts || crashes > 0
}

/// How long after the clock was set back that may be noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// The time after which what is due was made due before the clock was set back, or nothing if it was not.
pub(crate) fn due_before_set_back(now: Timestamp, by: Duration) -> Option<Timestamp> {
    (!by.is_zero()).then(|| now.max(now + by - NOTICED_WITHIN))
}

/// When a scheduled task is due once the clock was set back, see [`TaskStore::clock_set_back`](crate::TaskStore::clock_set_back).
pub(crate) fn run_at_once_set_back(task: &Task, now: Timestamp, by: Duration) -> Timestamp {
    if task.attempt == 0 {
        return task.run_at;
    }
    let shifted = match due_before_set_back(now, by) {
        Some(earliest) if task.run_at > earliest => task.run_at - by,
        _ => task.run_at,
    };
    shifted.min(now + task.retry.max.saturating_mul(2))
}
