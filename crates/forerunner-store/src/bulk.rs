//! One operation on many tasks.

use std::collections::BTreeMap;

use forerunner_core::{PoolName, Priority, Task, TaskId, TaskState, Timestamp};

/// What to do to tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkAction {
    /// As [`TaskStore::cancel`](crate::TaskStore::cancel).
    Cancel,
    /// As [`TaskStore::retry`](crate::TaskStore::retry).
    Retry,
    /// Removes tasks that have ended, with all their data: input, output, labels, key, events, attempts.
    Delete,
    /// Moves waiting tasks to another pool. Each keeps its id, priority, times and attempts; its idempotency key moves
    /// too. A task of a context is rejected, since a context belongs to its pool.
    Move {
        /// The other pool.
        to: PoolName,
        /// Change nothing, and answer what would be done.
        dry_run: bool,
    },
}

impl BulkAction {
    /// Returns the name used in JSON and on the command line.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Delete => "delete",
            Self::Move { .. } => "move",
        }
    }

    /// Returns whether the operation goes from the oldest task to the newest. Tasks of a conversation are retried in
    /// their order, and cancelled in the opposite one, so that none starts meanwhile. Where a pool has room for some
    /// tasks only, the oldest move.
    pub const fn is_oldest_first(&self) -> bool {
        matches!(self, Self::Retry | Self::Move { .. })
    }

    /// Returns whether a task in this state can be changed so.
    pub const fn applies_to(&self, state: TaskState) -> bool {
        match self {
            // Damaged tasks are cancelled, or retried, one by one.
            _ if matches!(state, TaskState::Damaged) => false,
            Self::Cancel => !state.is_terminal(),
            Self::Retry => state.can_be_retried(),
            Self::Delete => state.is_terminal(),
            Self::Move { .. } => matches!(state, TaskState::Scheduled | TaskState::Queued),
        }
    }
}

/// The result of an operation on many tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// What changed, by pool.
    pub pools: BTreeMap<PoolName, PoolOutcome>,
    /// Tasks that were not changed.
    pub refused: Vec<BulkRefusal>,
    /// Tasks that are not there.
    pub gone: Vec<TaskId>,
}

/// A task that an operation on many did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkRefusal {
    /// The task.
    pub task: TaskId,
    /// The state it is in.
    pub state: TaskState,
    /// Why it was not changed.
    pub obstacle: Obstacle,
}

impl BulkRefusal {
    /// The refusal of a task whose state does not allow the operation.
    pub const fn of_state(task: TaskId, state: TaskState) -> Self {
        Self { task, state, obstacle: Obstacle::State }
    }
}

/// Why an operation on a task is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// Its state.
    State,
    /// It belongs to a context, and a context belongs to its pool.
    Context,
    /// The other pool has a task with its idempotency key.
    Key,
    /// It is in the other pool already.
    SamePool,
    /// The other pool has no room. Not found by a store, but by the node that admits tasks.
    Room,
    /// Its input is larger than the other pool accepts. Found by the node too.
    TooLarge,
}

/// What an operation on many tasks changed in one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolOutcome {
    /// Tasks that were changed.
    pub done: Vec<TaskId>,
    /// Running tasks that are to be stopped by the nodes that have their leases.
    pub stopping: Vec<TaskId>,
    /// Tasks that came from other pools. The pools that they left count them as done.
    pub arrived: Vec<TaskId>,
    /// Bytes of the inputs of those done. Nothing for a deletion: those inputs counted no more.
    pub done_bytes: u64,
    /// Bytes of the inputs of those that arrived.
    pub arrived_bytes: u64,
    /// How many more tasks of the pool can be claimed than before; negative if there are fewer.
    pub claimable: i64,
}

impl BulkOutcome {
    /// Returns what changed in a pool, for a store to add to.
    pub fn pool(&mut self, pool: &PoolName) -> &mut PoolOutcome {
        if !self.pools.contains_key(pool) {
            self.pools.insert(pool.clone(), PoolOutcome::default());
        }
        self.pools.get_mut(pool).expect("it was put there if it was not")
    }
}

/// What to change of a task that waits. What is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskChange {
    /// How urgent it is.
    pub priority: Option<Priority>,
    /// Not before this time; a time that has come lets it run now.
    pub run_at: Option<Timestamp>,
}

/// The result of a change of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Updated {
    /// The task after it.
    pub task: Box<Task>,
    /// How many more tasks of the pool can be claimed than before; negative if there are fewer.
    pub claimable: i64,
}
