//! One group's transaction: the changes that keep tables, orders and counts consistent.

use std::sync::LazyLock;

use forerunner_core::{
    ContextId, LeaseEpoch, PoolName, Task, TaskId, TaskState, Timestamp, Transition, transition::Changes,
};
use rusqlite::{Connection, params};

use super::{
    cache::Cache,
    failure::Sql,
    rows::{Stored, damaged_row, optional_time, priority, run, state, stored_or_damaged, task_columns, time},
};

/// The connection inside a transaction, with the cache that mirrors it.
///
/// Verbs check before they write, so that a rejected operation leaves nothing behind for the others of its group.
pub(super) struct Tx<'a> {
    pub connection: &'a Connection,
    pub cache: &'a mut Cache,
    /// Every epoch handed out is greater than this.
    pub epoch_floor: u64,
    /// Leases up to this epoch were handed out before a crash.
    pub void_epochs: LeaseEpoch,
}

/// The rank of a task in its context's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    Running = 0,
    Joined = 1,
    Delayed = 2,
}

/// A task among the claimable ones, or about to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub pool: i64,
    pub row: i64,
    pub priority: u8,
    pub due: Timestamp,
    pub deadline: Option<Timestamp>,
}

impl Spot {
    pub fn urgency(&self) -> u8 {
        9 - self.priority.min(9)
    }
}

impl Stored {
    pub fn spot(&self) -> Spot {
        let Task { priority, deadline, .. } = self.task;
        Spot { pool: self.pool, row: self.row, priority: priority.get(), due: self.due, deadline }
    }
}

impl Tx<'_> {
    /// The number of a pool, which is new if it must be.
    pub fn pool_or_new(&mut self, name: &PoolName) -> Sql<i64> {
        if let Some(pool) = self.cache.pool(name) {
            return Ok(pool);
        }
        let pool = self.cache.pools.len() as i64 + 1;
        // A row of the same name has a number that cannot be.
        run(
            self.connection,
            "INSERT OR REPLACE INTO pools (pool, name) VALUES (?1, ?2)",
            params![pool, name.as_str()],
        )?;
        Ok(self.cache.add_pool(name.clone()))
    }

    /// Reads a task.
    pub fn find(&self, task: TaskId) -> Sql<Option<Stored>> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let columns = task_columns("o.output");
            format!(
                "SELECT {columns} FROM tasks t LEFT JOIN inputs i ON i.task = t.task \
                 LEFT JOIN outputs o ON o.task = t.task WHERE t.id = ?1"
            )
        });
        let mut statement = self.connection.prepare_cached(&SQL)?;
        let mut rows = statement.query([task.as_uuid().as_bytes()])?;
        rows.next()?.map(|row| stored_or_damaged(row, |pool| self.cache.pool_name(pool))).transpose()
    }

    /// How many tasks of a pool are claimable.
    pub fn claimable(&mut self, pool: i64) -> Sql<i64> {
        Ok(self.cache.pool_at(pool)?.claimable)
    }

    /// Makes a task claimable.
    pub fn make_ready(&mut self, spot: &Spot) -> Sql<()> {
        let sql = "INSERT OR IGNORE INTO ready (pool, urgency, due, task, deadline) VALUES (?1, ?2, ?3, ?4, ?5)";
        let deadline = spot.deadline.map(Timestamp::as_micros);
        let params = params![spot.pool, spot.urgency(), spot.due.as_micros(), spot.row, deadline];
        let added = run(self.connection, sql, params)?;
        self.cache.pool_at(spot.pool)?.claimable += added as i64;
        Ok(())
    }

    /// Makes a task not claimable; answers whether it was.
    pub fn make_unready(&mut self, spot: &Spot) -> Sql<bool> {
        let sql = "DELETE FROM ready WHERE pool = ?1 AND urgency = ?2 AND due = ?3 AND task = ?4";
        let removed = run(self.connection, sql, params![spot.pool, spot.urgency(), spot.due.as_micros(), spot.row])?;
        self.cache.pool_at(spot.pool)?.claimable -= removed as i64;
        Ok(removed > 0)
    }

    /// When the last of a line became due; none if nobody is in it.
    pub fn last_due(&self, pool: i64, context: &ContextId) -> Sql<Option<Timestamp>> {
        let sql = "SELECT due FROM context_queue WHERE pool = ?1 AND context = ?2 AND rank <= 1 \
                   ORDER BY rank DESC, due DESC LIMIT 1";
        let due = super::rows::value::<i64>(self.connection, sql, params![pool, context.as_str()])?;
        // One that no task can have is of no task.
        Ok(due.and_then(crate::damage::stored_time))
    }

    /// The task of a line that may be claimed: the first that became due, if it is queued and none runs.
    pub fn head(&self, pool: i64, context: &ContextId) -> Sql<Option<Spot>> {
        let sql = "SELECT l.rank, t.state, l.task, t.priority, l.due, t.deadline \
                   FROM context_queue l CROSS JOIN tasks t ON t.task = l.task WHERE l.pool = ?1 AND l.context = ?2 \
                   AND t.state NOT BETWEEN 3 AND 7 ORDER BY l.rank, l.due, l.task LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![pool, context.as_str()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let read = || {
            let (rank, state): (i64, _) = (row.get(0)?, state(row, 1)?);
            if rank != Rank::Joined as i64 || state != TaskState::Queued {
                return Ok(None);
            }
            let (due, deadline) = (time(row, 4)?, optional_time(row, 5)?);
            Ok(Some(Spot { pool, row: row.get(2)?, priority: priority(row, 3)?.get(), due, deadline }))
        };
        read().map_err(|error| damaged_row(row, 2, &error))
    }

    /// Makes the right task of a context's queue claimable after a change; `before` is the result of
    /// [`head`](Self::head) before it.
    pub fn advance(&mut self, pool: i64, context: &ContextId, before: Option<Spot>) -> Sql<()> {
        let head = self.head(pool, context)?;
        if head.map(|spot| spot.row) == before.map(|spot| spot.row) {
            return Ok(());
        }
        if let Some(before) = before {
            self.make_unready(&before)?;
        }
        if let Some(head) = head {
            self.make_ready(&head)?;
        }
        Ok(())
    }

    /// Puts a task into a line.
    pub fn enter_line(&self, spot: &Spot, context: &ContextId, rank: Rank) -> Sql<()> {
        let sql = "INSERT OR IGNORE INTO context_queue (pool, context, rank, due, task) VALUES (?1, ?2, ?3, ?4, ?5)";
        let params = params![spot.pool, context.as_str(), rank as i64, spot.due.as_micros(), spot.row];
        run(self.connection, sql, params).map(drop)
    }

    /// Removes a task from its context's queue, whatever its rank.
    pub fn leave_line(&self, spot: &Spot, context: &ContextId) -> Sql<()> {
        let sql = "DELETE FROM context_queue WHERE pool = ?1 AND context = ?2 AND rank IN (0, 1, 2) AND due = ?3 AND task = ?4";
        let params = params![spot.pool, context.as_str(), spot.due.as_micros(), spot.row];
        match run(self.connection, sql, params)? {
            0 => self.clear_line(spot, context),
            _ => Ok(()),
        }
    }

    /// Removes a task from a context's queue, in which it has a time that its row does not have.
    fn clear_line(&self, spot: &Spot, context: &ContextId) -> Sql<()> {
        let sql = "DELETE FROM context_queue WHERE pool = ?1 AND context = ?2 AND task = ?3";
        run(self.connection, sql, params![spot.pool, context.as_str(), spot.row]).map(drop)
    }

    /// Adds a task to its context's queue at the time in its row, wherever it was before.
    pub fn correct_line(&self, spot: &Spot, context: &ContextId, rank: Rank) -> Sql<()> {
        self.clear_line(spot, context)?;
        self.enter_line(spot, context, rank)
    }

    /// Changes the rank of a task in its line.
    pub fn rerank(&self, spot: &Spot, context: &ContextId, from: Rank, to: Rank) -> Sql<()> {
        let sql = "UPDATE context_queue SET rank = ?1 WHERE pool = ?2 AND context = ?3 AND rank = ?4 AND due = ?5 AND task = ?6";
        let due = spot.due.as_micros();
        let params = params![to as i64, spot.pool, context.as_str(), from as i64, due, spot.row];
        match run(self.connection, sql, params)? {
            0 => self.correct_line(spot, context, to),
            _ => Ok(()),
        }
    }

    /// Ends a task that waits, as core decided; answers whether it was claimable.
    pub fn end_waiting(&mut self, spot: &Spot, context: Option<&ContextId>, end: &Transition) -> Sql<bool> {
        let sql = "UPDATE tasks SET state = ?1, finished_at = ?2, error_kind = ?3, error = ?4 WHERE task = ?5";
        let Changes { finished_at, error, .. } = &end.changes;
        let error = error.value();
        let params = params![
            end.to.code(),
            finished_at.value().map(|at| at.as_micros()),
            error.map(|error| error.kind.as_str()),
            error.map(|error| error.message.as_str()),
            spot.row
        ];
        let before = context.map(|context| self.head(spot.pool, context)).transpose()?.flatten();
        run(self.connection, sql, params)?;
        self.cache.count(spot.pool, Some(end.from), Some(end.to))?;
        let Some(context) = context else { return self.make_unready(spot) };
        self.leave_line(spot, context)?;
        self.advance(spot.pool, context, before)?;
        Ok(before.is_some_and(|before| before.row == spot.row))
    }
}
