//! Why tasks went where they went, for as long as anybody asks.

use std::collections::VecDeque;

use forerunner_core::{IdMap, TaskId, placement::PlacementRecord};

use crate::metrics::PlacementMetrics;

/// Placements kept: about 1 KiB each.
const KEPT: usize = 4_096;

/// The newest placements of a pool, one a task.
#[derive(Debug, Default)]
pub(super) struct Placements {
    by_task: IdMap<TaskId, PlacementRecord>,
    order: VecDeque<TaskId>,
}

impl Placements {
    /// Counts a placement and keeps it, in the place of an earlier one of the same task.
    pub(super) fn keep(&mut self, record: PlacementRecord, metrics: &PlacementMetrics) {
        metrics.placed(&record);
        let task = record.task;
        if self.by_task.insert(task, record).is_some() {
            return;
        }
        self.order.push_back(task);
        if self.order.len() > KEPT
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
