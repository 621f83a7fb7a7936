//! One operation on many tasks.

use std::collections::BTreeMap;

use forerunner_core::{PoolName, Priority, Task, TaskId, TaskState, Timestamp};

/// What to do to tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkAction {
    /// As [`Store::cancel`](crate::Store::cancel).
    Cancel,
    /// As [`Store::retry`](crate::Store::redrive).
    Retry,
    /// Removes tasks that have ended, with all that is kept of them: input, output, labels, key, events, attempts.
    Delete,
}

impl BulkAction {
    /// Returns the name used in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Delete => "delete",
        }
    }

    /// Returns whether a task in this state can be changed so.
    pub const fn applies_to(self, state: TaskState) -> bool {
        match self {
            // What is damaged is given up, or taken back, one by one.
            _ if matches!(state, TaskState::Damaged) => false,
            Self::Cancel => !state.is_terminal(),
            Self::Retry => state.can_be_retried(),
            Self::Delete => state.is_terminal(),
        }
    }
}

/// What an operation on many tasks came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// What changed, by pool.
    pub pools: BTreeMap<PoolName, PoolOutcome>,
    /// Tasks whose state did not allow it, in that state.
    pub refused: Vec<(TaskId, TaskState)>,
    /// Tasks that are not there.
    pub gone: Vec<TaskId>,
}

/// What an operation on many tasks changed in one pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolOutcome {
    /// Tasks that were changed.
    pub done: Vec<TaskId>,
    /// Tasks that run and are to be stopped: their holders end them.
    pub stopping: Vec<TaskId>,
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

/// What a change of a task brought about.
#[derive(Debug, Clone, PartialEq)]
pub struct Updated {
    /// The task after it.
    pub task: Box<Task>,
    /// How many more tasks of the pool can be claimed than before; negative if there are fewer.
    pub claimable: i64,
}
