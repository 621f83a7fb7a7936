//! An agent asks something, and a client answers.

use crate::{Payload, Task, TaskId, TaskState, Timestamp};

use super::{Change, Changes, QueueMove, Transition};

/// The agent of a running task asked something. The task keeps its place, and no agent.
pub(super) fn ask(requests: &Payload, until: Option<Timestamp>) -> Transition {
    let deadline = until.map_or(Change::Keep, Change::Set);
    let changes = Changes { requests: Change::Set(requests.clone()), deadline, ..Changes::default() };
    Transition { from: TaskState::Running, to: TaskState::Waiting, changes, queue: QueueMove::Return, attempt: None }
}

/// The answer to what the agent of a task asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The task.
    pub task: TaskId,
    /// The questions that the client saw: the answer is to this, and to nothing that the agent asked since.
    pub asked: Payload,
    /// The same, with the answer.
    pub requests: Payload,
    /// The deadline of the task from now on.
    pub deadline: Option<Timestamp>,
}

/// A client answered what the agent of a task asked; `None` unless the task waits for just that.
///
/// The task returns to its queue, at the place it had. The next attempt is the one that asked, continued: it does not
/// count twice.
pub fn answer(task: &Task, answered: &Answered) -> Option<Transition> {
    let is_asked = task.state == TaskState::Waiting && task.requests.as_deref() == Some(&answered.asked);
    let attempt = Some(task.attempt.saturating_sub(1));
    let requests = Change::Set(answered.requests.clone());
    let changes =
        Changes { attempt, clears_attempt: true, requests, deadline: answered.deadline.into(), ..Changes::default() };
    is_asked.then_some(Transition {
        from: TaskState::Waiting,
        to: TaskState::Queued,
        changes,
        queue: QueueMove::Return,
        attempt: None,
    })
}
