//! A client retries a task that has ended.

use crate::{TaskState, Timestamp};

use super::{Change, Changes, QueueMove, Transition};

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

/// Returns the deadline of a retried task: one that has passed would end it again before it could run.
pub fn deadline_after_retry(deadline: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    deadline.filter(|deadline| *deadline > now)
}
