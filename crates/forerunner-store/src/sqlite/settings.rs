//! Notes, counts and the check.

use forerunner_core::{PoolName, TaskState};
use rusqlite::params;

use super::{cache::PoolCache, failure::Sql, rows::run, tx::Tx};
use crate::TaskCounts;

impl Tx<'_> {
    pub fn put_setting(&self, key: &str, text: Option<&str>) -> Sql<()> {
        let Some(text) = text else {
            return run(self.connection, "DELETE FROM settings WHERE key = ?1", [key]).map(drop);
        };
        let sql = "INSERT INTO settings (key, text) VALUES (?1, ?2) \
                   ON CONFLICT (key) DO UPDATE SET text = excluded.text";
        run(self.connection, sql, params![key, text]).map(drop)
    }

    /// Writes something that changes nothing, so that the commit has to reach the disk.
    pub fn beat(&self) -> Sql<()> {
        // Its lowest bit means nothing; SQLite does not write a page whose bytes do not change.
        run(self.connection, "UPDATE meta SET beat = (beat | 1) - (beat & 1)", []).map(drop)
    }

    pub fn counts(&mut self, pool: &PoolName) -> Sql<TaskCounts> {
        let Some(number) = self.cache.pool(pool) else { return Ok(TaskCounts::default()) };
        let found = self.cache.pool_at(number)?;
        let count_of = |state: TaskState| u64::try_from(found.counts[state.index()]).unwrap_or(0);
        let by_state = TaskState::ALL.into_iter().map(|state| (state, count_of(state)));
        let by_state = by_state.filter(|(_, count)| *count > 0).collect();
        let claimable = u64::try_from(found.claimable).unwrap_or(0);
        let is_delayed = count_of(TaskState::Scheduled) > 0;
        let next_due = if is_delayed { self.next_run_at(number)? } else { None };
        Ok(TaskCounts { by_state, claimable, next_due })
    }

    pub fn pools_with_tasks(&self) -> Vec<PoolName> {
        let is_unfinished = |state: &TaskState| !state.is_terminal();
        let has_some = |pool: &&PoolCache| {
            TaskState::ALL.into_iter().filter(is_unfinished).any(|state| pool.counts[state.index()] > 0)
        };
        let mut names: Vec<_> = self.cache.pools.iter().filter(has_some).map(|pool| pool.name.clone()).collect();
        names.sort();
        names
    }
}
