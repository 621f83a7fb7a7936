//! A client cancels or retries a task.

use crate::{ErrorKind, TaskError, TaskState, Timestamp};

use super::{Change, Changes, QueueMove, Transition};

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

/// A client retries an ended task; `None` unless its state allows that.
///
/// The task gets fresh attempts and crashes, and the last place of its queue.
pub fn retry(from: TaskState, deadline: Option<Timestamp>, now: Timestamp) -> Option<Transition> {
    let changes = Changes {
        attempt: Some(0),
        crashes: Some(0),
        run_at: Some(now),
        deadline: deadline_after_retry(deadline, now).into(),
        clears_attempt: true,
        finished_at: Change::Clear,
        output: Change::Clear,
        error: Change::Clear,
        requests: Change::Clear,
    };
    let queue = QueueMove::Join { due: now };
    from.can_be_retried().then_some(Transition { from, to: TaskState::Queued, changes, queue, attempt: None })
}

/// A client gives up a task whose row cannot be read; `error` names what is lost.
pub fn give_up(error: TaskError, now: Timestamp) -> Transition {
    Transition::end((TaskState::Damaged, TaskState::Cancelled), None, (None, Some(error)), now)
}

/// Returns why a task that a client cancelled has no output.
pub fn cancelled() -> TaskError {
    TaskError::new(ErrorKind::Cancelled, "the task was cancelled by request")
}

/// Returns the deadline of a retried task: one that has passed would end it again before it could run.
pub fn deadline_after_retry(deadline: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    deadline.filter(|deadline| *deadline > now)
}
