//! An agent asks something, and a client answers.

use crate::{Payload, TaskState};

use super::{Change, Changes, QueueMove, Transition};

/// The agent of a running task asked something. The task keeps its place, and no agent.
pub(super) fn ask(requests: &Payload) -> Transition {
    let changes = Changes { requests: Change::Set(requests.clone()), ..Changes::default() };
    Transition { from: TaskState::Running, to: TaskState::Waiting, changes, queue: QueueMove::Return, attempt: None }
}

/// A client answered all that the agent of a task asked; `None` unless the task waits for that.
///
/// The task returns to its queue, at the place it had. The next attempt is the one that asked, continued: it does not
/// count twice.
pub fn answer(from: TaskState, attempts: u32, answered: Payload) -> Option<Transition> {
    let attempt = Some(attempts.saturating_sub(1));
    let changes = Changes { attempt, clears_attempt: true, requests: Change::Set(answered), ..Changes::default() };
    (from == TaskState::Waiting).then_some(Transition {
        from,
        to: TaskState::Queued,
        changes,
        queue: QueueMove::Return,
        attempt: None,
    })
}
