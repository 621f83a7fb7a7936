//! One operation on many tasks.

use std::collections::HashSet;

use forerunner_core::{PoolName, TaskId, TaskState, Timestamp};

use super::state::State;
use crate::{BulkAction, BulkOutcome, BulkRefusal, Cancelled, Obstacle};

impl State {
    pub fn bulk(&mut self, action: &BulkAction, mut tasks: Vec<TaskId>, now: Timestamp) -> BulkOutcome {
        let mut outcome = BulkOutcome::default();
        let mut seen = HashSet::with_capacity(tasks.len());
        tasks.retain(|task| seen.insert(*task));
        for task in tasks {
            let Some(slot) = self.slots.find(task) else {
                outcome.gone.push(task);
                continue;
            };
            let found = &self.slots.at(slot).task;
            let (pool, state, bytes) = (found.pool.clone(), found.state, found.input.len() as u64);
            if !action.applies_to(state) {
                outcome.refused.push(BulkRefusal::of_state(task, state));
                continue;
            }
            let before = self.claimable_in(&pool);
            let stops = state == TaskState::Running;
            match action {
                BulkAction::Cancel => drop::<Result<Cancelled, _>>(self.cancel(task, now)),
                BulkAction::Retry => drop(self.retry(task, now)),
                BulkAction::Delete => self.remove(slot),
                BulkAction::Move { to, dry_run } => {
                    if let Some(obstacle) = self.obstacle(slot, to) {
                        outcome.refused.push(BulkRefusal { task, state, obstacle });
                        continue;
                    }
                    if !dry_run {
                        self.move_to(slot, to, &mut outcome);
                    }
                }
            }
            let gained = self.claimable_in(&pool) - before;
            let changed = outcome.pool(&pool);
            changed.claimable += gained;
            if stops {
                changed.stopping.push(task);
            } else {
                changed.done.push(task);
                changed.done_bytes += if *action == BulkAction::Delete { 0 } else { bytes };
            }
        }
        outcome
    }

    fn claimable_in(&self, pool: &PoolName) -> i64 {
        self.pool(pool).map_or(0, |pool| self.pools[pool as usize].claimable as i64)
    }

    /// Why a waiting task cannot move to another pool.
    fn obstacle(&self, slot: u32, to: &PoolName) -> Option<Obstacle> {
        let task = &self.slots.at(slot).task;
        if task.pool == *to {
            return Some(Obstacle::SamePool);
        }
        if task.context.is_some() {
            return Some(Obstacle::Context);
        }
        let keys = self.pool(to).map(|pool| &self.pools[pool as usize].keys);
        let is_taken = task.idempotency_key.as_ref().zip(keys).is_some_and(|(key, keys)| keys.contains_key(key));
        is_taken.then_some(Obstacle::Key)
    }

    /// Gives a waiting task without a context to another pool.
    fn move_to(&mut self, slot: u32, to: &PoolName, outcome: &mut BulkOutcome) {
        self.take_out(slot);
        let (old, new) = (self.slots.at(slot).pool as usize, self.pool_or_new(to) as usize);
        let entry = self.slots.at_mut(slot);
        let (id, state, key) = (entry.task.id, entry.task.state.index(), entry.task.idempotency_key.clone());
        entry.pool = new as u32;
        entry.task_mut().pool = self.pools[new].name.clone();
        self.pools[old].counts[state] -= 1;
        self.pools[new].counts[state] += 1;
        if let Some(key) = key
            && let Some(owner) = self.pools[old].keys.remove(&key)
        {
            self.pools[new].keys.insert(key, owner);
        }
        let before = self.pools[new].claimable as i64;
        self.put_back(slot, false);
        let changed = outcome.pool(to);
        changed.arrived.push(id);
        changed.arrived_bytes += self.slots.at(slot).task.input.len() as u64;
        changed.claimable += self.pools[new].claimable as i64 - before;
    }
}
