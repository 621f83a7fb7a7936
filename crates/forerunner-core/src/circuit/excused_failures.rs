//! Which failed attempts do not count against their task.

use std::collections::HashMap;

use crate::TaskId;

/// Failures of one task that do not count although other tasks succeed, or although few tasks fail. Of tasks that fail at
/// random with 30 %, 1 in 10⁸ fails so often in a row. So a task that always fails ends, whatever else fails beside it.
const MOST_CHARGED: u8 = 16;
/// From so many different tasks in a row that fail, no failure is charged to a task.
const STREAK: usize = 5;
/// Tasks whose charges are remembered.
const MOST_TASKS: usize = 16_384;

/// Counts, for each task, the failures that were excused and might be the task's own fault.
#[derive(Debug, Clone, Default)]
pub(super) struct ExcusedFailures {
    charged: HashMap<TaskId, u8>,
    /// Tasks that failed since one last succeeded, up to [`STREAK`].
    streak: Vec<TaskId>,
}

impl ExcusedFailures {
    /// Notes that an attempt succeeded.
    pub(super) fn succeeded(&mut self, task: TaskId) {
        self.streak.clear();
        self.forget(task);
    }

    /// Drops what is known of a task that ended.
    pub(super) fn forget(&mut self, task: TaskId) {
        if !self.charged.is_empty() {
            self.charged.remove(&task);
        }
    }

    /// Notes a failure of a task in an outage; returns whether it is excused.
    pub(super) fn excuse(&mut self, task: TaskId) -> bool {
        if self.streak.len() < STREAK && !self.streak.contains(&task) {
            self.streak.push(task);
        }
        if self.streak.len() >= STREAK {
            return true;
        }
        if self.charged.len() >= MOST_TASKS && !self.charged.contains_key(&task) {
            self.charged.clear();
        }
        let charged = self.charged.entry(task).or_default();
        *charged = charged.saturating_add(1);
        *charged <= MOST_CHARGED
    }
}
