//! An attempt ended.

use crate::{Next, Task, TaskState, Timestamp};

use super::{AttemptEnd, Change, Changes, QueueMove, Transition, answer::ask, cancel::cancelled};

/// What of a running task decides how its attempt ends. Each store has it with the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Attempts begun so far, with this one.
    pub attempt: u32,
    /// Attempts that crashed before this one.
    pub crashes: u32,
    /// Whether a client cancelled the task while it ran.
    pub is_cancelled: bool,
}

impl Running {
    /// Reads it from a task in memory.
    pub const fn of(task: &Task, is_cancelled: bool) -> Self {
        Self { attempt: task.attempt, crashes: task.crashes, is_cancelled }
    }
}

/// An attempt of a running task ended, and [`crate::after_attempt`] decided `next`.
///
/// A task that a client cancelled ends with any attempt that has no result.
pub fn settle(running: Running, next: &Next, now: Timestamp) -> Transition {
    let crashes = is_crash(next).then(|| running.crashes.saturating_add(1));
    match next {
        Next::Finish { state, output, error } => {
            Transition::end((TaskState::Running, end_state(*state)), crashes, (output.clone(), error.clone()), now)
        }
        Next::Retry { .. } | Next::Wait { .. } | Next::Release if running.is_cancelled => {
            Transition::end((TaskState::Running, TaskState::Cancelled), crashes, (None, Some(cancelled())), now)
        }
        Next::Retry { run_at, error, counts, .. } => {
            let to = state_at(*run_at, now);
            let changes = Changes {
                attempt: (!counts).then(|| running.attempt.saturating_sub(1)),
                crashes,
                run_at: Some(*run_at),
                error: Change::Set(error.clone().with_log(None)),
                ..Changes::default()
            };
            let queue = if *counts { QueueMove::Return } else { QueueMove::Postpone { due: *run_at } };
            let attempt = counts.then(|| AttemptEnd { state: to, error: Some(error.clone()) });
            Transition { from: TaskState::Running, to, changes, queue, attempt }
        }
        Next::Wait { requests, until } => ask(requests, *until),
        Next::Release => release(running, None),
    }
}

/// As [`settle`], if the end is the same whatever the row has: then a store settles many tasks without reading them.
pub fn settle_any(next: &Next, now: Timestamp) -> Option<Transition> {
    let any = Running { attempt: 0, crashes: 0, is_cancelled: false };
    needs_no_row(next).then(|| settle(any, next, now))
}

/// Returns whether [`settle_any`] has an answer. A crash is counted, so it needs the row.
pub fn needs_no_row(next: &Next) -> bool {
    matches!(next, Next::Finish { .. }) && !is_crash(next)
}

/// The task returns to its queue, and the attempt does not count.
pub(super) fn release(running: Running, crashes: Option<u32>) -> Transition {
    let attempt = Some(running.attempt.saturating_sub(1));
    let changes = Changes { attempt, crashes, clears_attempt: true, ..Changes::default() };
    Transition { from: TaskState::Running, to: TaskState::Queued, changes, queue: QueueMove::Return, attempt: None }
}

fn is_crash(next: &Next) -> bool {
    match next {
        Next::Finish { error, .. } => error.as_ref().is_some_and(|error| error.kind.is_crash()),
        Next::Retry { crash, .. } => *crash,
        Next::Wait { .. } | Next::Release => false,
    }
}

/// The state that a settlement ends a task in. A state that is no end cannot be asked for; should it be, the task fails.
pub const fn end_state(state: TaskState) -> TaskState {
    if state.is_terminal() { state } else { TaskState::Failed }
}

/// The state of a task that may run at `run_at`.
pub fn state_at(run_at: Timestamp, now: Timestamp) -> TaskState {
    if run_at > now { TaskState::Scheduled } else { TaskState::Queued }
}
