//! What every store decides alike: where a task starts, what its order is, which error an end without an attempt has.

use std::time::Duration;

use forerunner_core::{ErrorKind, Task, TaskError, TaskState, Timestamp};

use crate::Claim;

/// Most tasks that one sweep promotes, and most that it expires: a longer sweep would hold up everything else.
///
/// What is left is reported as due at once, so the caller sweeps again.
pub(crate) const SWEEP_LIMIT: usize = 10_000;

/// Most tasks on a page of a listing.
pub(crate) const PAGE_LIMIT: usize = 1_000;

/// The state a task has when it is accepted.
pub(crate) fn first_state(task: &Task) -> TaskState {
    if task.run_at > task.submitted_at { TaskState::Scheduled } else { TaskState::Queued }
}

/// When a task became, or becomes, due for the first time. It keeps this place through all its retries.
pub(crate) fn first_due(task: &Task) -> Timestamp {
    task.run_at.max(task.submitted_at)
}

/// The state of a task that is tried again at `run_at`.
pub(crate) fn retry_state(run_at: Timestamp, now: Timestamp) -> TaskState {
    if run_at > now { TaskState::Scheduled } else { TaskState::Queued }
}

/// The deadline that a redriven task keeps: one that has passed would end it again before it could run.
pub(crate) fn redriven_deadline(deadline: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    deadline.filter(|deadline| *deadline > now)
}

/// Why a task that was cancelled before it ran has no output.
pub(crate) fn cancelled() -> TaskError {
    TaskError::new(ErrorKind::Cancelled, "the task was cancelled by request")
}

/// Why a task that expired before it ran has no output.
pub(crate) fn expired() -> TaskError {
    TaskError::new(ErrorKind::DeadlineExceeded, "the deadline passed before an agent took the task")
}

/// The state a settlement ends a task in. A state that is no end cannot be asked for; should it be, the task fails.
pub(crate) fn end_state(state: TaskState) -> TaskState {
    if state.is_terminal() { state } else { TaskState::Failed }
}

/// Whether the `place`th task of a claim starts at once, rather than being held for an agent that is ready next. One that
/// was in a crash before starts: if it is what crashes nodes, that has to be counted.
pub(crate) fn starts(claim: &Claim, place: usize, crashes: u32) -> bool {
    place < claim.starts || crashes > 0
}

/// The crashes of a task whose node is gone. One that was held had not begun, as far as known: it is under suspicion, so that
/// it is not held again, and no more than that.
pub(crate) fn crashes_with(crashes: u32, was_held: bool) -> u32 {
    if was_held { crashes.max(1) } else { crashes.saturating_add(1) }
}

/// How long after the clock was set back that may be noticed.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// The time after which what is due was made due before the clock was set back, or nothing if it was not.
pub(crate) fn due_before_set_back(now: Timestamp, by: Duration) -> Option<Timestamp> {
    (!by.is_zero()).then(|| now.max(now + by - NOTICED_WITHIN))
}

/// When a scheduled task is due once the clock was set back, see [`Store::clock_set_back`](crate::Store::clock_set_back).
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
