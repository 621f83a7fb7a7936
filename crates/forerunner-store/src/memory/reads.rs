//! The verbs of the memory store that read.

use std::collections::HashSet;

use forerunner_core::{IdempotencyKey, PoolName, Task, TaskId, TaskState, TenantName, Timestamp};

use super::state::{Pool, State};
use crate::{DueTasks, KeyedTask, TaskCounts, TaskFilter, TaskPage, TenantUsage, rules};

impl State {
    pub fn page(&mut self, filter: &TaskFilter) -> TaskPage {
        let limit = filter.limit.clamp(1, rules::PAGE_LIMIT);
        let mut tasks: Vec<_> = self.matching(filter).take(limit + 1).cloned().collect();
        let more = tasks.len() > limit;
        tasks.truncate(limit);
        TaskPage { tasks, more }
    }

    pub fn keyed(&self, pool: &PoolName, key: &IdempotencyKey) -> Option<KeyedTask> {
        let (slot, fingerprint) = self.pools[self.pool(pool)? as usize].keys.get(key)?;
        Some(KeyedTask { task: Task::clone(&self.slots.at(*slot).task), fingerprint: *fingerprint })
    }

    pub fn select(&mut self, filter: &TaskFilter) -> Vec<(TaskId, TaskState)> {
        let limit = filter.limit.clamp(1, rules::SELECT_LIMIT);
        self.matching(filter).take(limit).map(|task| (task.id, task.state)).collect()
    }

    fn matching<'a>(&'a mut self, filter: &'a TaskFilter) -> impl Iterator<Item = &'a Task> {
        let entries = self.slots.between(filter.id_bounds(), filter.oldest_first);
        entries.map(|entry| &*entry.task).filter(|task| filter.matches(task))
    }

    pub fn due_by(&self, pool: &PoolName, until: Timestamp) -> Vec<DueTasks> {
        let Some(pool) = self.pool(pool).map(|pool| &self.pools[pool as usize]) else { return Vec::new() };
        let mut found: Vec<DueTasks> = Vec::new();
        let mut contexts = HashSet::new();
        for spot in pool.scheduled.iter().take_while(|spot| spot.due <= until) {
            let second = |at: Timestamp| at.as_micros().div_euclid(1_000_000);
            if found.last().is_none_or(|last| second(last.at) != second(spot.due)) {
                if found.len() == rules::DUE_LIMIT {
                    break;
                }
                found.push(DueTasks { at: spot.due, tasks: 0 });
                contexts.clear();
            }
            let is_counted = match &self.slots.at(spot.slot).task.context {
                Some(context) => contexts.insert(context),
                None => true,
            };
            if let Some(last) = found.last_mut() {
                last.tasks += u64::from(is_counted);
            }
        }
        found
    }

    pub fn input_bytes(&self, pool: &PoolName) -> u64 {
        let Some(pool) = self.pool(pool) else { return 0 };
        let entries = self.slots.iter().filter(|(_, entry)| entry.pool == pool && !entry.task.state.is_terminal());
        entries.map(|(_, entry)| entry.task.input.len() as u64).sum()
    }

    pub fn input_sizes(&self, tasks: &[TaskId]) -> Vec<(TaskId, u64)> {
        let entries = tasks.iter().filter_map(|task| Some(self.slots.at(self.slots.find(*task)?)));
        let going_on = entries.filter(|entry| !entry.task.state.is_terminal());
        going_on.map(|entry| (entry.task.id, entry.task.input.len() as u64)).collect()
    }

    pub fn tenant_usage(&self, tenant: &TenantName) -> TenantUsage {
        let tasks = self.slots.iter().map(|(_, entry)| &entry.task);
        let own = tasks.filter(|task| task.tenant == *tenant && !task.state.is_terminal());
        own.fold(TenantUsage::default(), |used, task| TenantUsage {
            tasks: used.tasks + 1,
            input_bytes: used.input_bytes + task.input.len() as u64,
        })
    }

    pub fn counts(&self, pool: &PoolName) -> TaskCounts {
        let Some(pool) = self.pool(pool).map(|pool| &self.pools[pool as usize]) else { return TaskCounts::default() };
        let by_state = TaskState::ALL.into_iter().map(|state| (state, pool.counts[state.index()]));
        TaskCounts {
            by_state: by_state.filter(|(_, count)| *count > 0).collect(),
            claimable: pool.claimable as u64,
            next_due: pool.scheduled.first().map(|spot| spot.due),
        }
    }

    pub fn pools_with_tasks(&self) -> Vec<PoolName> {
        let is_unfinished = |state: &TaskState| !state.is_terminal();
        let has_some =
            |pool: &&Pool| TaskState::ALL.into_iter().filter(is_unfinished).any(|state| pool.counts[state.index()] > 0);
        let mut names: Vec<_> = self.pools.iter().filter(has_some).map(|pool| pool.name.clone()).collect();
        names.sort();
        names
    }
}
