//! The recorded placements of a pool's newest tasks.

use std::collections::VecDeque;

use forerunner_core::{IdMap, TaskId, placement::PlacementRecord};

use crate::metrics::PlacementMetrics;

/// Number of recorded placements, of about 1 KiB each.
const CAPACITY: usize = 4_096;

/// The newest placements of a pool, one a task.
#[derive(Debug, Default)]
pub(super) struct Placements {
    by_task: IdMap<TaskId, PlacementRecord>,
    order: VecDeque<TaskId>,
}

impl Placements {
    /// Counts and records a placement. It replaces an earlier one of the same task.
    pub(super) fn record(&mut self, record: PlacementRecord, metrics: &PlacementMetrics) {
        metrics.placed(&record);
        let task = record.task;
        if self.by_task.insert(task, record).is_some() {
            return;
        }
        self.order.push_back(task);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_task.remove(&oldest);
        }
    }

    /// Returns the newest placement of a task.
    pub(super) fn get(&self, task: TaskId) -> Option<&PlacementRecord> {
        self.by_task.get(&task)
    }
}
