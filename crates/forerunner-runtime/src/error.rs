//! The errors of calls on the runtime.

use std::time::Duration;

use forerunner_core::{AnswerError, PoolName, TaskError, TaskId};
use forerunner_store::{Refusal, ScheduleConflict, StateConflict, StoreError};

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value is not acceptable.
    #[error(transparent)]
    Invalid(#[from] forerunner_core::Error),
    /// The clock shows an impossible time.
    #[error("{reason}")]
    Clock {
        /// What the clock shows, and what to do.
        reason: String,
    },
    /// There is no such pool.
    #[error("there is no pool `{pool}`; the pools are {known}")]
    NoPool {
        /// The name in the call.
        pool: String,
        /// The names of the existing pools.
        known: String,
    },
    /// The queue is at its limit.
    #[error("pool `{pool}` is full: {depth} tasks waiting, limit {limit}; retry later or raise queue.limit")]
    QueueFull {
        /// The pool.
        pool: PoolName,
        /// Tasks waiting.
        depth: usize,
        /// The limit.
        limit: usize,
        /// When to try again: the time the pool needs for a tenth of its queue, 1 s at least.
        retry_after: Duration,
    },
    /// The inputs of tasks that have not ended are at their limit.
    #[error(
        "pool `{pool}` has {bytes} bytes of inputs of tasks that have not ended, limit {limit}, and this input has {size}; retry \
         later, send less, or raise queue.limit_bytes"
    )]
    BytesFull {
        /// The pool.
        pool: PoolName,
        /// Bytes of the input.
        size: u64,
        /// Bytes of all inputs.
        bytes: u64,
        /// The limit.
        limit: u64,
        /// When to try again: the time the pool needs for a tenth of what waits, 1 s at least.
        retry_after: Duration,
    },
    /// A waiting task cannot be moved to another pool.
    #[error("task {task} cannot go to pool `{pool}`: {reason}")]
    NotMovable {
        /// The task.
        task: TaskId,
        /// The other pool.
        pool: PoolName,
        /// Why, and what to do.
        reason: String,
    },
    /// The forecast of a pool cannot learn from what it was given.
    #[error(
        "the forecast of pool `{pool}` (policy `{policy}`) cannot learn from this; use policy `predictive`, and what was saved under the same settings"
    )]
    NotTeachable {
        /// The pool.
        pool: PoolName,
        /// Its policy.
        policy: &'static str,
    },
    /// A payload is over its limit.
    #[error("the {what} has {size} bytes, the limit is {limit}; send less or raise {key}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
        /// The setting that limits it.
        key: &'static str,
    },
    /// The store rejected a submission.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The task or context does not exist, or is not in a state for this call.
    #[error(transparent)]
    StateConflict(#[from] StateConflict),
    /// An answer to what an agent asked is refused.
    #[error("task {task}: {error}")]
    Answer {
        /// The task.
        task: TaskId,
        /// Why.
        error: AnswerError,
    },
    /// A schedule was not created, changed or deleted.
    #[error(transparent)]
    Schedule(#[from] ScheduleConflict),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is shutting down and accepts no new tasks.
    #[error("this node is shutting down and accepts no new tasks; send the task to another node or retry later")]
    ShuttingDown,
    /// The node stopped before an accepted task ended.
    #[error("the node stopped before task {task} ended; its store has the task, start a node on it and ask again")]
    Stopped {
        /// The task.
        task: TaskId,
    },
    /// An actor stopped before it answered: whether the call took effect is unknown.
    #[error(
        "pool `{pool}` did not answer, so the outcome of the call is unknown; read its state before you repeat the call"
    )]
    OutcomeUnknown {
        /// The pool.
        pool: PoolName,
    },
    /// No thread could be started for the actors.
    #[error("the runtime has no thread for its actors: {reason}; raise the limits of processes and of open files")]
    NoThread {
        /// What the system reports.
        reason: String,
    },
    /// A pool has agents of another type.
    #[error("pool `{pool}` has agents of type `{found}`, not `{asked}`; use the type that the pool was made with")]
    OtherAgent {
        /// The pool.
        pool: PoolName,
        /// The type of its agents.
        found: &'static str,
        /// The type in the call.
        asked: &'static str,
    },
    /// The output of a task does not have the type that was asked for.
    #[error("the output of task {task} is no `{expected}`: {reason}; read it as the type that the agent returns")]
    OutputType {
        /// The task.
        task: TaskId,
        /// The type in the call.
        expected: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A task ended without an output.
    #[error("task {task} ended without an output: {error}")]
    Task {
        /// The task.
        task: TaskId,
        /// Why.
        error: TaskError,
    },
}

impl Error {
    /// Returns the same error for another input: a pool that is full for one task of a batch is full for all later
    /// ones.
    pub(crate) fn of_input(mut self, bytes: u64) -> Self {
        if let Self::BytesFull { size, .. } = &mut self {
            *size = bytes;
        }
        self
    }

    /// The label of a rejection by a full queue in the metrics.
    pub(crate) const fn full(&self) -> Option<&'static str> {
        match self {
            Self::QueueFull { .. } => Some("queue_full"),
            Self::BytesFull { .. } => Some("bytes_full"),
            _ => None,
        }
    }

    /// Returns whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::QueueFull { .. } | Self::BytesFull { .. } | Self::ShuttingDown => true,
            Self::Refused(Refusal::ContextsFull { .. }) => true,
            Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }
}
