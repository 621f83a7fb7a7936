//! One operation on many tasks.

use forerunner_core::{PoolName, TaskId, TaskState, Timestamp};

use super::state::State;
use crate::{BulkAction, BulkOutcome, Cancelled};

impl State {
    pub fn bulk(&mut self, action: BulkAction, mut tasks: Vec<TaskId>, now: Timestamp) -> BulkOutcome {
        let mut outcome = BulkOutcome::default();
        let mut seen = std::collections::HashSet::with_capacity(tasks.len());
        tasks.retain(|task| seen.insert(*task));
        for task in tasks {
            let Some(slot) = self.slots.find(task) else {
                outcome.gone.push(task);
                continue;
            };
            let found = &self.slots.at(slot).task;
            let (pool, state) = (found.pool.clone(), found.state);
            if !action.applies_to(state) {
                outcome.refused.push((task, state));
                continue;
            }
            let before = self.claimable_in(&pool);
            let stops = state == TaskState::Running;
            match action {
                BulkAction::Cancel => drop::<Result<Cancelled, _>>(self.cancel(task, now)),
                BulkAction::Retry => drop(self.retry(task, now)),
                BulkAction::Delete => self.remove(slot),
            }
            let gained = self.claimable_in(&pool) - before;
            let changed = outcome.pool(&pool);
            changed.claimable += gained;
            if stops { changed.stopping.push(task) } else { changed.done.push(task) }
        }
        outcome
    }

    fn claimable_in(&self, pool: &PoolName) -> i64 {
        self.pool(pool).map_or(0, |pool| self.pools[pool as usize].claimable as i64)
    }
}
