//! Contexts, notes, counts and the check.

use forerunner_core::{ContextId, PoolName, TaskId, TaskState, Timestamp};
use rusqlite::params;

use super::{
    failure::Sql,
    rows::{run, uuid, value},
    tx::Tx,
};
use crate::{ContextCommit, Mismatch, TaskCounts};

impl Tx<'_> {
    /// Stores a new version of a context, unless it does not follow the stored one.
    pub fn commit_context(&self, pool: i64, commit: &ContextCommit, now: Timestamp) -> Sql<bool> {
        let sql = "SELECT context, version FROM contexts WHERE pool = ?1 AND name = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![pool, commit.context.as_str()])?;
        let (known, version) = match rows.next()? {
            Some(row) => (Some(row.get(0)?), row.get::<_, i64>(1)? as u64),
            None => (None, 0),
        };
        drop(rows);
        if version != commit.parent_version {
            return Ok(false);
        }
        let context = self.write_context(pool, known, commit, now)?;
        if commit.full {
            run(self.connection, "DELETE FROM frames WHERE context = ?1", [context])?;
        }
        let sql = "INSERT INTO frames (context, version, bytes) VALUES (?1, ?2, ?3)";
        run(self.connection, sql, params![context, version as i64 + 1, commit.frame])?;
        Ok(true)
    }

    /// The version of a context that is stored, 0 for none.
    pub fn context_version(&self, pool: i64, context: &ContextId) -> Sql<u64> {
        let sql = "SELECT version FROM contexts WHERE pool = ?1 AND name = ?2";
        let version = value::<i64>(self.connection, sql, params![pool, context.as_str()])?;
        Ok(version.map_or(0, |version| version as u64))
    }

    fn write_context(&self, pool: i64, known: Option<i64>, commit: &ContextCommit, now: Timestamp) -> Sql<i64> {
        let version = commit.parent_version as i64 + 1;
        let (size, items, now) = (commit.size_bytes as i64, commit.items as i64, now.as_micros());
        if let Some(context) = known {
            let sql = "UPDATE contexts SET version = ?1, size_bytes = ?2, items = ?3, updated_at = ?4 \
                       WHERE context = ?5";
            run(self.connection, sql, params![version, size, items, now, context])?;
            return Ok(context);
        }
        let sql = "INSERT INTO contexts (pool, name, version, size_bytes, items, updated_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        run(self.connection, sql, params![pool, commit.context.as_str(), version, size, items, now])?;
        Ok(self.connection.last_insert_rowid())
    }

    pub fn delete_context(&self, pool: &PoolName, context: &ContextId) -> Sql<Result<(), Mismatch>> {
        let none = Mismatch::NoContext { pool: pool.clone(), context: context.clone() };
        let Some(pool) = self.cache.pool(pool) else { return Ok(Err(none)) };
        if let Some(task) = self.first_of_line(pool, context)? {
            return Ok(Err(Mismatch::ContextInUse { context: context.clone(), task }));
        }
        let sql = "SELECT context FROM contexts WHERE pool = ?1 AND name = ?2";
        let Some(row) = value::<i64>(self.connection, sql, params![pool, context.as_str()])? else {
            return Ok(Err(none));
        };
        run(self.connection, "DELETE FROM frames WHERE context = ?1", [row])?;
        run(self.connection, "DELETE FROM contexts WHERE context = ?1", [row])?;
        Ok(Ok(()))
    }

    fn first_of_line(&self, pool: i64, context: &ContextId) -> Sql<Option<TaskId>> {
        let sql = "SELECT t.id FROM line l CROSS JOIN tasks t ON t.task = l.task \
                   WHERE l.pool = ?1 AND l.context = ?2 ORDER BY l.rank, l.due, l.task LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![pool, context.as_str()])?;
        rows.next()?.map(|row| uuid(row, 0).map(TaskId::from_uuid)).transpose()
    }

    pub fn put_note(&self, key: &str, text: Option<&str>) -> Sql<()> {
        let Some(text) = text else {
            return run(self.connection, "DELETE FROM notes WHERE key = ?1", [key]).map(drop);
        };
        let sql = "INSERT INTO notes (key, text) VALUES (?1, ?2) \
                   ON CONFLICT (key) DO UPDATE SET text = excluded.text";
        run(self.connection, sql, params![key, text]).map(drop)
    }

    /// Writes something that changes nothing, so that the commit has to reach the disk.
    pub fn beat(&self) -> Sql<()> {
        run(self.connection, "UPDATE meta SET beat = beat + 1", []).map(drop)
    }

    pub fn counts(&mut self, pool: &PoolName) -> Sql<TaskCounts> {
        let Some(number) = self.cache.pool(pool) else { return Ok(TaskCounts::default()) };
        let found = self.cache.pool_at(number)?;
        let count_of = |state: TaskState| u64::try_from(found.counts[state as usize]).unwrap_or(0);
        let by_state = TaskState::ALL.into_iter().map(|state| (state, count_of(state)));
        let by_state = by_state.filter(|(_, count)| *count > 0).collect();
        let claimable = u64::try_from(found.claimable).unwrap_or(0);
        let is_delayed = count_of(TaskState::Scheduled) > 0;
        let next_due = if is_delayed { self.next_run_at(number)? } else { None };
        Ok(TaskCounts { by_state, claimable, next_due })
    }
}
