//! The node of a running task is lost, or its lease ended.

use crate::{ErrorKind, RetryPolicy, TaskError, TaskState, Timestamp};

use super::{AttemptEnd, Change, Changes, QueueMove, Running, Transition, cancel::cancelled, settle::release};

/// The parts of a running task that decide what happens to it without its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostTask {
    /// The task.
    pub running: Running,
    /// Whether its attempt began. A task that was claimed ahead has none that did.
    pub has_begun: bool,
    /// Crashes that end it; see [`RetryPolicy::max_crashes`].
    pub max_crashes: u32,
}

/// Re-queues a task whose node is lost, or ends it: after too many crashes, or because a client cancelled it.
///
/// A prefetched task had not begun, as far as known. It becomes a suspect, so that no node prefetches it again, and does
/// not die of it.
pub fn rescue(task: LostTask, now: Timestamp) -> Transition {
    let LostTask { running, has_begun, max_crashes } = task;
    let crashes = if has_begun { running.crashes.saturating_add(1) } else { running.crashes.max(1) };
    if running.is_cancelled {
        let cancelled = (None, Some(cancelled()));
        let end = Transition::end((TaskState::Running, TaskState::Cancelled), Some(crashes), cancelled, now);
        return Transition { attempt: end.attempt.filter(|_| has_begun), ..end };
    }
    if !has_begun {
        return release(running, Some(crashes));
    }
    let error = node_lost();
    if crashes >= max_crashes {
        return Transition::end((TaskState::Running, TaskState::Dead), Some(crashes), (None, Some(error)), now);
    }
    let changes = Changes { crashes: Some(crashes), error: Change::Set(error.clone()), ..Changes::default() };
    Transition {
        from: TaskState::Running,
        to: TaskState::Queued,
        changes,
        queue: QueueMove::Return,
        attempt: Some(AttemptEnd { state: TaskState::Queued, error: Some(error) }),
    }
}

/// Returns the error of a task whose node is lost: why it ends, or runs again.
pub fn node_lost() -> TaskError {
    TaskError::new(ErrorKind::NodeLost, "the node that ran the task ended before it stored the result")
}

/// Returns whether a task that crashed once more dies of it.
pub const fn dies_of_crash(crashes: u32, retry: &RetryPolicy) -> bool {
    crashes >= retry.max_crashes
}
