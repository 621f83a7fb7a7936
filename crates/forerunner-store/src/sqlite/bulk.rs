//! One operation on many tasks.

use std::collections::HashSet;

use forerunner_core::{PoolName, TaskId, TaskState, Timestamp};
use rusqlite::params;

use super::{
    failure::Sql,
    rows::{optional_time, priority, run, state, time, value},
    tx::{Spot, Tx},
};
use crate::{BulkAction, BulkOutcome, BulkRefusal, Obstacle};

/// A task as far as an operation on many needs to know it.
struct Brief {
    spot: Spot,
    state: TaskState,
    has_context: bool,
}

impl Tx<'_> {
    pub fn bulk(&mut self, action: &BulkAction, tasks: &[TaskId], now: Timestamp) -> Sql<BulkOutcome> {
        let mut outcome = BulkOutcome::default();
        let mut seen = HashSet::with_capacity(tasks.len());
        for task in tasks.iter().filter(|task| seen.insert(**task)) {
            self.change_one(action, *task, now, &mut outcome)?;
        }
        Ok(outcome)
    }

    fn change_one(&mut self, action: &BulkAction, task: TaskId, now: Timestamp, outcome: &mut BulkOutcome) -> Sql<()> {
        let Some((row, pool, state)) = self.found_at(task)? else {
            outcome.gone.push(task);
            return Ok(());
        };
        if !action.applies_to(state) {
            outcome.refused.push(BulkRefusal::of_state(task, state));
            return Ok(());
        }
        let (before, bytes) = (self.claimable(pool)?, self.input_size(action, row)?);
        match action {
            BulkAction::Cancel => drop(self.cancel(task, now)?),
            BulkAction::Retry => drop(self.retry(task, now)?),
            BulkAction::Delete => {
                self.purge_one(row, Some(task), pool)?;
                self.cache.count(pool, Some(state), None)?;
            }
            BulkAction::Move { to, dry_run } => {
                let (brief, key) = (self.brief(row)?, self.key_of(row)?);
                if let Some(obstacle) = self.obstacle(&brief, key.as_deref(), to)? {
                    outcome.refused.push(BulkRefusal { task, state, obstacle });
                    return Ok(());
                }
                if !dry_run {
                    self.move_to(task, &brief, key.as_deref(), to, outcome)?;
                    outcome.pool(to).arrived_bytes += bytes;
                }
            }
        }
        let gained = self.claimable(pool)? - before;
        let name = &self.cache.pool_at(pool)?.name;
        let changed = outcome.pool(name);
        changed.claimable += gained;
        match state {
            TaskState::Running => changed.stopping.push(task),
            _ => {
                changed.done.push(task);
                changed.done_bytes += bytes;
            }
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

    /// The bytes of an input, where they count.
    fn input_size(&self, action: &BulkAction, row: i64) -> Sql<u64> {
        if *action == BulkAction::Delete {
            return Ok(0);
        }
        let size = value::<i64>(self.connection, "SELECT octet_length(input) FROM inputs WHERE task = ?1", [row])?;
        Ok(size.map_or(0, i64::unsigned_abs))
    }

    fn brief(&self, row: i64) -> Sql<Brief> {
        let sql = "SELECT pool, priority, due, deadline, state, context IS NOT NULL FROM tasks WHERE task = ?1";
        self.connection.prepare_cached(sql)?.query_row([row], |found| {
            let (pool, priority) = (found.get(0)?, priority(found, 1)?.get());
            let spot = Spot { pool, row, priority, due: time(found, 2)?, deadline: optional_time(found, 3)? };
            Ok(Brief { spot, state: state(found, 4)?, has_context: found.get(5)? })
        })
    }

    fn key_of(&self, row: i64) -> Sql<Option<String>> {
        let sql = "SELECT key FROM inputs WHERE task = ?1";
        Ok(value::<Option<String>>(self.connection, sql, [row])?.flatten())
    }

    /// Why a waiting task cannot move to another pool.
    fn obstacle(&self, brief: &Brief, key: Option<&str>, to: &PoolName) -> Sql<Option<Obstacle>> {
        let to = self.cache.pool(to);
        if to == Some(brief.spot.pool) {
            return Ok(Some(Obstacle::SamePool));
        }
        if brief.has_context {
            return Ok(Some(Obstacle::Context));
        }
        let Some((to, key)) = to.zip(key) else { return Ok(None) };
        let sql =
            "SELECT 1 FROM idempotency_keys k CROSS JOIN tasks t ON t.task = k.task WHERE k.pool = ?1 AND k.key = ?2";
        Ok(value::<i64>(self.connection, sql, params![to, key])?.map(|_| Obstacle::Key))
    }

    /// Gives a waiting task without a context to another pool.
    fn move_to(
        &mut self,
        task: TaskId,
        brief: &Brief,
        key: Option<&str>,
        to: &PoolName,
        outcome: &mut BulkOutcome,
    ) -> Sql<()> {
        let (old, new) = (brief.spot, self.pool_or_new(to)?);
        let before = self.claimable(new)?;
        self.make_unready(&old)?;
        run(self.connection, "UPDATE tasks SET pool = ?1 WHERE task = ?2", params![new, old.row])?;
        self.cache.count(old.pool, Some(brief.state), None)?;
        self.cache.count(new, None, Some(brief.state))?;
        if let Some(key) = key {
            let sql = "UPDATE OR REPLACE idempotency_keys SET pool = ?1 WHERE pool = ?2 AND key = ?3 AND task = ?4";
            run(self.connection, sql, params![new, old.pool, key, old.row])?;
        }
        if brief.state == TaskState::Queued {
            self.make_ready(&Spot { pool: new, ..old })?;
        }
        let gained = self.claimable(new)? - before;
        let changed = outcome.pool(to);
        changed.arrived.push(task);
        changed.claimable += gained;
        Ok(())
    }
}
