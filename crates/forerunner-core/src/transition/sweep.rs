//! A time has come for a waiting task: its deadline, or the time from which it may run.

use crate::{ErrorKind, TaskError, TaskState, Timestamp};

use super::{Changes, QueueMove, Transition};

/// The deadline of a waiting task in state `from` passed.
pub fn expire(from: TaskState, now: Timestamp) -> Transition {
    let error = match from {
        TaskState::Waiting => TaskError::new(ErrorKind::DeadlineExceeded, "nobody answered the agent in time"),
        _ => expired(),
    };
    Transition::end((from, TaskState::Expired), None, (None, Some(error)), now)
}

/// The time of a delayed task has come.
pub fn promote() -> Transition {
    Transition {
        from: TaskState::Scheduled,
        to: TaskState::Queued,
        changes: Changes::default(),
        queue: QueueMove::Enter,
        attempt: None,
    }
}

/// Returns why a task that expired before it ran has no output.
pub fn expired() -> TaskError {
    TaskError::new(ErrorKind::DeadlineExceeded, "the deadline passed before an agent took the task")
}
