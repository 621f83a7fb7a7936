//! Decides how each event changes a task. Every store applies these decisions.
//!
//! The arguments of a function are parts of the task's row, the event and the time. It returns a [`Transition`]: the
//! values that change, the task's move in its queue, the attempt to record, and the states whose counts change. It reads
//! no store and no clock.
//!
//! The caller has found the row under the lease's epoch before it asks, so no function compares epochs.
//!
//! | event | function |
//! |---|---|
//! | an attempt ended | [`settle`] |
//! | a client cancels a task | [`cancel`] |
//! | a client retries an ended task | [`retry`] |
//! | the deadline of a waiting task passed | [`expire`] |
//! | the time of a delayed task has come | [`promote`] |
//! | the node of a task is gone, or its lease ended | [`rescue`] |
//! | a client answers what the agent of a task asked | [`answer`] |

mod answer;
mod cancel;
mod change;
mod expired_lease;
#[cfg(test)]
mod laws;
mod retry;
mod settle;
mod sweep;

use crate::{Payload, Task, TaskError, TaskEventKind, TaskState, Timestamp};

pub use answer::{Answered, answer};
pub use cancel::{Cancel, cancel, cancelled, give_up};
pub use change::Change;
pub use expired_lease::{LostTask, dies_of_crash, node_lost, rescue};
pub use retry::{deadline_after_retry, retry};
pub use settle::{Running, end_state, needs_no_row, settle, settle_any, state_at};
pub use sweep::{expire, expired, promote};

/// How an event changes a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The state before: the task leaves this count.
    pub from: TaskState,
    /// The state after: the task enters this count.
    pub to: TaskState,
    /// The values of the task that change, besides its state.
    pub changes: Changes,
    /// Where the task goes in its queue.
    pub queue: QueueMove,
    /// The attempt that ended and is to be recorded. For one that succeeded, or does not count, the task's row is enough.
    pub attempt: Option<AttemptEnd>,
}

/// The values of a task that a transition changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Attempts begun so far.
    pub attempt: Option<u32>,
    /// Attempts that crashed.
    pub crashes: Option<u32>,
    /// When the task may run (again).
    pub run_at: Option<Timestamp>,
    /// Not after this time.
    pub deadline: Change<Timestamp>,
    /// Whether the start, the agent and the node of the newest attempt are removed.
    pub clears_attempt: bool,
    /// When the task ended.
    pub finished_at: Change<Timestamp>,
    /// The result.
    pub output: Change<Payload>,
    /// Why the newest attempt ended without an output. It has no log: the log belongs to the attempt.
    pub error: Change<TaskError>,
    /// What the agent asked, with the answers once there are some.
    pub requests: Change<Payload>,
}

/// Where a task goes in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueMove {
    /// Out of every order: it has ended, and the next task of its context may run.
    Leave,
    /// Back to the place that it had before its attempt. It is claimable if it is queued and the first of its context.
    Return,
    /// Back, with another due time unless it is in a conversation: others that are as urgent are tried before it.
    Postpone {
        /// The due time.
        due: Timestamp,
    },
    /// To its place now that its time has come: the one it had, or behind the others of its context.
    Enter,
    /// Behind all others of its context that are due, with this due time at the earliest.
    Join {
        /// The due time.
        due: Timestamp,
    },
}

/// How an attempt ended that did not succeed.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEnd {
    /// The state that the task went to.
    pub state: TaskState,
    /// Why, with the log of the agent.
    pub error: Option<TaskError>,
}

impl Transition {
    /// Returns whether the task has ended by it.
    pub const fn ends(&self) -> bool {
        self.to.is_terminal()
    }

    /// Returns when the task is due in its queue; `due` is what it was before.
    pub const fn due(&self, due: Timestamp, is_in_conversation: bool) -> Timestamp {
        match self.queue {
            QueueMove::Postpone { due } if !is_in_conversation => due,
            _ => due,
        }
    }

    /// Returns the event for those who follow the task; `attempts` is the count before.
    pub fn event(&self, attempts: u32) -> TaskEventKind {
        let attempt = self.changes.attempt.unwrap_or(attempts);
        TaskEventKind::State { state: self.to, attempt, error: self.changes.error.value().cloned() }
    }

    /// Applies the state and the changes to a task in memory.
    pub fn apply(self, task: &mut Task) {
        let Changes { attempt, crashes, run_at, deadline, clears_attempt, finished_at, output, error, requests } =
            self.changes;
        task.state = self.to;
        task.attempt = attempt.unwrap_or(task.attempt);
        task.crashes = crashes.unwrap_or(task.crashes);
        task.run_at = run_at.unwrap_or(task.run_at);
        deadline.apply(&mut task.deadline);
        if clears_attempt {
            (task.started_at, task.agent, task.node) = (None, None, None);
        }
        finished_at.apply(&mut task.finished_at);
        output.apply(&mut task.output);
        error.apply(&mut task.error);
        if !requests.is_keep() {
            task.requests = requests.value().cloned().map(Box::new);
        }
    }

    /// An end at `now`.
    fn end(
        (from, to): (TaskState, TaskState),
        crashes: Option<u32>,
        (output, error): (Option<Payload>, Option<TaskError>),
        now: Timestamp,
    ) -> Self {
        let is_recorded = from == TaskState::Running && to != TaskState::Succeeded;
        let attempt = is_recorded.then(|| AttemptEnd { state: to, error: error.clone() });
        let changes = Changes {
            crashes,
            finished_at: Change::Set(now),
            output: output.into(),
            error: error.map(|error| error.with_log(None)).into(),
            ..Changes::default()
        };
        Self { from, to, changes, queue: QueueMove::Leave, attempt }
    }
}
