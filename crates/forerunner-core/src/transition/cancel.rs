//! A client cancels a task.

use crate::{ErrorKind, TaskError, TaskState, Timestamp};

use super::Transition;

/// What a cancellation does to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancel {
    /// The task waits, and ends at once.
    End(Box<Transition>),
    /// The task runs. The store marks its lease, so that whatever ends the attempt without a result ends the task.
    Mark,
    /// The task has ended already.
    Ended,
    /// The row of the task cannot be read. The store replaces what it cannot read.
    GiveUp,
}

/// A client cancels a task in state `from`.
pub fn cancel(from: TaskState, now: Timestamp) -> Cancel {
    match from {
        TaskState::Damaged => Cancel::GiveUp,
        TaskState::Running => Cancel::Mark,
        ended if ended.is_terminal() => Cancel::Ended,
        waits => {
            let end = Transition::end((waits, TaskState::Cancelled), None, (None, Some(cancelled())), now);
            Cancel::End(Box::new(end))
        }
    }
}

/// A client gives up a task whose row cannot be read; `error` names what is lost.
pub fn give_up(error: TaskError, now: Timestamp) -> Transition {
    Transition::end((TaskState::Damaged, TaskState::Cancelled), None, (None, Some(error)), now)
}

/// Returns why a task that a client cancelled has no output.
pub fn cancelled() -> TaskError {
    TaskError::new(ErrorKind::Cancelled, "the task was cancelled by request")
}
