//! What a call on the runtime can answer instead of a result.

use std::time::Duration;

use forerunner_core::{PoolName, TaskError, TaskId};
use forerunner_store::{Refusal, StateConflict, StoreError};

/// A call could not do what it was asked to.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value is not acceptable.
    #[error(transparent)]
    Invalid(#[from] forerunner_core::Error),
    /// Nothing can be dated.
    #[error("{reason}")]
    Clock {
        /// What the clock shows, and what to do.
        reason: String,
    },
    /// There is no such pool.
    #[error("there is no pool `{pool}`; the pools are {known}")]
    NoPool {
        /// The name asked for.
        pool: String,
        /// The names there are.
        known: String,
    },
    /// The queue is at its limit.
    #[error("pool `{pool}` is full: {depth} tasks waiting, limit {limit}; retry later or raise queue.limit")]
    QueueFull {
        /// The pool.
        pool: PoolName,
        /// Tasks waiting.
        depth: usize,
        /// The most there may be.
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
        /// Bytes of the inputs there are.
        bytes: u64,
        /// The most there may be.
        limit: u64,
        /// When to try again: the time the pool needs for a tenth of what waits, 1 s at least.
        retry_after: Duration,
    },
    /// A task that waits cannot go to another pool.
    #[error("task {task} cannot go to pool `{pool}`: {reason}")]
    NotMovable {
        /// The task.
        task: TaskId,
        /// The other pool.
        pool: PoolName,
        /// Why, and what to do.
        reason: String,
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
        /// The setting that bounds it.
        key: &'static str,
    },
    /// The store refused a submission.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What was asked for is not there, or not in a fitting state.
    #[error(transparent)]
    StateConflict(#[from] StateConflict),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The node is shutting down and takes nothing new.
    #[error("this node is shutting down and takes no new tasks; send the task to another node or retry later")]
    ShuttingDown,
    /// The node stopped before a task that it had accepted ended.
    #[error("the node stopped before task {task} ended; its store has the task, start a node on it and ask again")]
    Stopped {
        /// The task.
        task: TaskId,
    },
    /// An actor went away before it answered: whether the call took effect is unknown.
    #[error("pool `{pool}` did not answer; whether the call took effect is unknown, look before repeating it")]
    OutcomeUnknown {
        /// The pool.
        pool: PoolName,
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
    /// The same refusal of another input: that a pool has no room for one stands against all behind it in a batch.
    pub(crate) fn of_input(mut self, bytes: u64) -> Self {
        if let Self::BytesFull { size, .. } = &mut self {
            *size = bytes;
        }
        self
    }

    /// The name in the metrics of a refusal by a queue that is full.
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
