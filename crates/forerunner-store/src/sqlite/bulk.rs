//! One operation on many tasks.

use std::collections::HashSet;

use forerunner_core::{TaskId, TaskState, Timestamp};

use super::{failure::Sql, tx::Tx};
use crate::{BulkAction, BulkOutcome};

impl Tx<'_> {
    pub fn bulk(&mut self, action: BulkAction, tasks: &[TaskId], now: Timestamp) -> Sql<BulkOutcome> {
        let mut outcome = BulkOutcome::default();
        let mut seen = HashSet::with_capacity(tasks.len());
        for task in tasks.iter().filter(|task| seen.insert(**task)) {
            self.change_one(action, *task, now, &mut outcome)?;
        }
        Ok(outcome)
    }

    fn change_one(&mut self, action: BulkAction, task: TaskId, now: Timestamp, outcome: &mut BulkOutcome) -> Sql<()> {
        let Some((row, pool, state)) = self.found_at(task)? else {
            outcome.gone.push(task);
            return Ok(());
        };
        if !action.applies_to(state) {
            outcome.refused.push((task, state));
            return Ok(());
        }
        let before = self.claimable(pool)?;
        match action {
            BulkAction::Cancel => drop(self.cancel(task, now)?),
            BulkAction::Retry => drop(self.retry(task, now)?),
            BulkAction::Delete => {
                self.purge_one(row, Some(task), pool)?;
                self.cache.count(pool, Some(state), None)?;
            }
        }
        let gained = self.claimable(pool)? - before;
        let name = &self.cache.pool_at(pool)?.name;
        let changed = outcome.pool(name);
        changed.claimable += gained;
        match state {
            TaskState::Running => changed.stopping.push(task),
            _ => changed.done.push(task),
        }
        Ok(())
    }

    /// The row of a task, its pool and its state.
    fn found_at(&self, task: TaskId) -> Sql<Option<(i64, i64, TaskState)>> {
        let sql = "SELECT task, pool, state FROM tasks WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([task.as_uuid().as_bytes()])?;
        rows.next()?.map(|row| Ok((row.get(0)?, row.get(1)?, super::rows::state(row, 2)?))).transpose()
    }
}
