//! The verbs of the memory store that read.

use forerunner_core::{IdempotencyKey, PoolName, Task, TaskState};

use super::state::{Pool, State};
use crate::{KeyHolder, TaskCounts, TaskFilter, TaskPage, rules};

impl State {
    pub fn page(&mut self, filter: &TaskFilter) -> TaskPage {
        let limit = filter.limit.clamp(1, rules::PAGE_LIMIT);
        let newest_first = self.slots.newest_first(filter.before);
        let mut tasks: Vec<_> = newest_first
            .filter(|entry| matches(&entry.task, filter))
            .take(limit + 1)
            .map(|entry| entry.task.clone())
            .collect();
        let more = tasks.len() > limit;
        tasks.truncate(limit);
        TaskPage { tasks, more }
    }

    pub fn keyed(&self, pool: &PoolName, key: &IdempotencyKey) -> Option<KeyHolder> {
        let (slot, fingerprint) = self.pools[self.pool(pool)? as usize].keys.get(key)?;
        Some(KeyHolder { task: self.slots.at(*slot).task.clone(), fingerprint: *fingerprint })
    }

    pub fn counts(&self, pool: &PoolName) -> TaskCounts {
        let Some(pool) = self.pool(pool).map(|pool| &self.pools[pool as usize]) else { return TaskCounts::default() };
        let by_state = TaskState::ALL.into_iter().map(|state| (state, pool.counts[state as usize]));
        TaskCounts {
            by_state: by_state.filter(|(_, count)| *count > 0).collect(),
            claimable: pool.claimable as u64,
            next_due: pool.scheduled.first().map(|spot| spot.due),
        }
    }

    pub fn pools_with_tasks(&self) -> Vec<PoolName> {
        let is_unfinished = |state: &TaskState| !state.is_terminal();
        let has_some = |pool: &&Pool| {
            TaskState::ALL.into_iter().filter(is_unfinished).any(|state| pool.counts[state as usize] > 0)
        };
        let mut names: Vec<_> = self.pools.iter().filter(has_some).map(|pool| pool.name.clone()).collect();
        names.sort();
        names
    }
}

fn matches(task: &Task, filter: &TaskFilter) -> bool {
    filter.pool.as_ref().is_none_or(|pool| task.pool == *pool)
        && filter.state.is_none_or(|state| task.state == state)
        && filter.context.as_ref().is_none_or(|context| task.context.as_ref() == Some(context))
        && filter.label.as_ref().is_none_or(|(key, value)| task.labels.get(key) == Some(value))
}
