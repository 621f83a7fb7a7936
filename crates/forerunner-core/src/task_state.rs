//! The states of a task.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The state of a task.
///
/// ```text
/// scheduled ──due──▶ queued ──leased──▶ running ──▶ succeeded
///     ▲                 │ ▲                │  ├────▶ failed      (not worth a retry)
///     └──── backoff ────┼─┼────────────────┤  ├────▶ dead        (attempts or crashes spent)
///                       │ └── answer ── waiting ◀── (its agent asked something)
///                       ▼                  ▼
///               cancelled, expired ◀───────┘
/// ```
///
/// From every state a task becomes `damaged` when the store can no longer read its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(description = "The state of a task."))]
#[serde(rename_all = "snake_case")]
#[repr(i8)]
pub enum TaskState {
    /// Waits for its `run_at`: a delay that was asked for, or the backoff before a retry.
    Scheduled = 0,
    /// Waits for an agent, or for the task of the same context ahead of it.
    Queued = 1,
    /// Leased to an agent.
    Running = 2,
    /// Waits for the answer to what its agent asked. No agent has it, and it keeps its place.
    Waiting = -1,
    /// Ended with an output.
    Succeeded = 3,
    /// Ended with an error that a retry would not cure.
    Failed = 4,
    /// Ended by request.
    Cancelled = 5,
    /// Passed its deadline.
    Expired = 6,
    /// Ran out of attempts, or crashed its agent too often. Can be retried by hand.
    Dead = 7,
    /// Set aside, because its row in the store cannot be read. Can be retried by hand once the row is repaired.
    Damaged = 8,
}

impl TaskState {
    /// All states, in the order of a task's life.
    pub const ALL: [Self; 10] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Dead,
        Self::Damaged,
    ];

    /// Returns the name used in JSON, metrics and stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Dead => "dead",
            Self::Damaged => "damaged",
        }
    }

    /// Returns whether nothing more happens by itself.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Scheduled | Self::Queued | Self::Running | Self::Waiting)
    }

    /// Returns the number by which stores know the state. Those of unfinished tasks are below 3, and those of tasks that
    /// wait for anything below 2.
    pub const fn code(self) -> i8 {
        self as i8
    }

    /// Returns the state with a number.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| i64::from(state.code()) == code)
    }

    /// Returns a place for the state in an array as long as [`TaskState::ALL`].
    pub const fn index(self) -> usize {
        self.code().wrapping_add(1) as usize
    }

    /// Returns whether a task may be sent back to the queue by hand.
    pub const fn can_be_retried(self) -> bool {
        matches!(self, Self::Failed | Self::Dead | Self::Cancelled | Self::Expired | Self::Damaged)
    }

    /// Returns whether a task may change from this state to `next`. A retry by hand is the only way out of an end,
    /// except for `damaged`: there the row returns to its earlier state, or the task is cancelled.
    pub const fn can_become(self, next: Self) -> bool {
        use TaskState::{Cancelled, Damaged, Dead, Expired, Failed, Queued, Running, Scheduled, Succeeded, Waiting};
        if matches!(next, Damaged) {
            return !matches!(self, Damaged);
        }
        matches!(
            (self, next),
            (Scheduled, Queued | Cancelled | Expired)
                | (Queued, Running | Cancelled | Expired)
                | (Running, Scheduled | Queued | Waiting | Succeeded | Failed | Cancelled | Expired | Dead)
                | (Waiting, Queued | Cancelled | Expired)
                | (Failed | Dead | Cancelled | Expired, Queued)
                | (Damaged, Queued | Succeeded | Failed | Cancelled | Expired | Dead)
        )
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TaskState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Error::State { value: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_left_only_by_a_retry() {
        for from in TaskState::ALL.into_iter().filter(|state| state.is_terminal()) {
            for to in TaskState::ALL {
                let is_mended = from == TaskState::Damaged && to.is_terminal();
                let allowed =
                    (from.can_be_retried() && to == TaskState::Queued) || to == TaskState::Damaged || is_mended;
                let allowed = allowed && (from, to) != (TaskState::Damaged, TaskState::Damaged);
                assert_eq!(from.can_become(to), allowed, "{from} to {to}");
            }
        }
    }

    #[test]
    fn names_survive_their_text_form() {
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse::<TaskState>().unwrap(), state);
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
            assert_eq!(TaskState::from_code(state.code().into()), Some(state));
            assert_eq!(state.code() < 3, !state.is_terminal(), "stores compare numbers");
        }
    }
}
