//! Contexts: chains of frames, and the shared objects that these name.

use forerunner_core::{ContextCost, ContextId, PoolName, TaskId, Timestamp};
use rusqlite::{Connection, Error, Row, params, types::Type};

use super::{
    failure::Sql,
    rows::{context as context_id, damaged_task, number, run, time, unsigned, uuid, value},
    tx::Tx,
};
use crate::{
    ContextBase, ContextCommit, ContextFilter, ContextRead, ContextSummary, ContextVersion, SharedObject,
    SharedObjectKind, StateConflict, StoredContext, rules,
};

impl Tx<'_> {
    /// Stores a new version of a context, unless it does not follow the stored one.
    pub fn commit_context(&self, pool: i64, commit: &ContextCommit, now: Timestamp) -> Sql<bool> {
        let sql = "SELECT context, born, version FROM contexts WHERE pool = ?1 AND name = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![pool, commit.context.as_str()])?;
        let read = |row: &Row<'_>| Ok::<_, Error>((row.get(0)?, unsigned(row, 1).ok(), number(row, 2).ok()));
        let known: Option<(i64, _, _)> = rows.next()?.map(read).transpose()?;
        drop(rows);
        // Nothing follows a version that cannot be read.
        let follows = known.map_or(commit.parent_version == 0, |(_, born, version)| {
            (born, version) == (Some(commit.born), Some(commit.parent_version))
        });
        if !follows {
            return Ok(false);
        }
        let version = commit.parent_version as i64 + 1;
        let context = self.write_context(pool, known.map(|(context, ..)| context), commit, now)?;
        let mut former = Vec::new();
        if commit.full {
            run(self.connection, "DELETE FROM frames WHERE context = ?1", [context])?;
            former = self.forget_names(context, version)?;
        }
        self.write_frame(context, version, &commit.frame)?;
        self.write_names(pool, context, version, &commit.pieces)?;
        self.drop_unnamed(&former)?;
        Ok(true)
    }

    /// The birth and the version of a context that is stored, zeros for none, and when it was changed last. What cannot be
    /// read damages the task that asks.
    pub fn context_version(&self, task: i64, pool: i64, context: &ContextId) -> Sql<(u64, u64, Option<Timestamp>)> {
        let sql = "SELECT born, version, updated_at FROM contexts WHERE pool = ?1 AND name = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![pool, context.as_str()])?;
        let Some(row) = rows.next()? else { return Ok((0, 0, None)) };
        let read = || Ok((unsigned(row, 0)?, number(row, 1)?, Some(time(row, 2)?)));
        read().map_err(|error: Error| match error {
            Error::IntegralValueOutOfRange(column, value) => {
                let column = ["born", "version", "updated_at"][column.min(2)];
                damaged_task(
                    task,
                    format!("its context `{context}`: column `{column}` is {value}, which is out of range"),
                )
            }
            other => other,
        })
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
        let sql = "INSERT INTO contexts (pool, name, born, version, size_bytes, items, updated_at) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let params = params![pool, commit.context.as_str(), commit.born as i64, version, size, items, now];
        run(self.connection, sql, params)?;
        Ok(self.connection.last_insert_rowid())
    }

    fn write_frame(&self, context: i64, version: i64, frame: &[u8]) -> Sql<()> {
        let sql = "INSERT INTO frames (context, version, bytes) VALUES (?1, ?2, ?3)";
        run(self.connection, sql, params![context, version, frame]).map(drop)
    }

    /// Notes what the frame of a version names, and stores what is new.
    fn write_names(&self, pool: i64, context: i64, version: i64, shared_objects: &[SharedObject]) -> Sql<()> {
        for object in shared_objects {
            if self.write_name(pool, context, version, object)? == 0 {
                let sql = "INSERT INTO shared_objects (pool, kind, name, bytes) VALUES (?1, ?2, ?3, ?4)";
                run(self.connection, sql, params![pool, object.kind as i64, object.name, &*object.bytes])?;
                self.write_name(pool, context, version, object)?;
            }
        }
        Ok(())
    }

    /// Answers how many shared objects of that name there are: one or none.
    fn write_name(&self, pool: i64, context: i64, version: i64, object: &SharedObject) -> Sql<usize> {
        let sql = "INSERT INTO shared_object_uses (context, object, since) \
                   SELECT ?1, object, ?2 FROM shared_objects WHERE pool = ?3 AND kind = ?4 AND name = ?5 \
                   ON CONFLICT DO UPDATE SET since = max(since, excluded.since)";
        run(self.connection, sql, params![context, version, pool, object.kind as i64, object.name])
    }

    /// Forgets what the frames of a context name, up to a version; answers which shared objects.
    fn forget_names(&self, context: i64, version: i64) -> Sql<Vec<i64>> {
        let sql = "DELETE FROM shared_object_uses WHERE context = ?1 AND since <= ?2 RETURNING object";
        self.connection.prepare_cached(sql)?.query_map([context, version], |row| row.get(0))?.collect()
    }

    /// Removes those of the shared objects that no context needs.
    fn drop_unnamed(&self, shared_objects: &[i64]) -> Sql<()> {
        let sql = "DELETE FROM shared_objects WHERE object = ?1 AND NOT EXISTS (SELECT 1 FROM shared_object_uses WHERE object = ?1)";
        shared_objects.iter().try_for_each(|object| run(self.connection, sql, [object]).map(drop))
    }

    pub fn rebase(&self, base: &ContextBase) -> Sql<bool> {
        let Some(pool) = self.cache.pool(&base.pool) else { return Ok(false) };
        let version = base.version as i64;
        let sql = "SELECT c.context FROM contexts c CROSS JOIN frames f ON f.context = c.context AND f.version = ?1 \
                   WHERE c.pool = ?2 AND c.name = ?3 AND c.born = ?4";
        let params = params![version, pool, base.context.as_str(), base.born as i64];
        let Some(context) = value::<i64>(self.connection, sql, params)? else { return Ok(false) };
        run(self.connection, "DELETE FROM frames WHERE context = ?1 AND version <= ?2", [context, version])?;
        let former = self.forget_names(context, version)?;
        self.write_frame(context, version, &base.frame)?;
        self.write_names(pool, context, version, &base.pieces)?;
        self.drop_unnamed(&former)?;
        Ok(true)
    }

    pub fn delete_context(&mut self, pool: &PoolName, context: &ContextId) -> Sql<Result<(), StateConflict>> {
        let none = StateConflict::NoContext { pool: pool.clone(), context: context.clone() };
        let Some(pool) = self.cache.pool(pool) else { return Ok(Err(none)) };
        if let Some(task) = self.first_of_line(pool, context)? {
            return Ok(Err(StateConflict::ContextInUse { context: context.clone(), task }));
        }
        let sql = "SELECT context FROM contexts WHERE pool = ?1 AND name = ?2";
        let Some(row) = value::<i64>(self.connection, sql, params![pool, context.as_str()])? else {
            return Ok(Err(none));
        };
        self.remove_context(row)?;
        Ok(Ok(()))
    }

    fn remove_context(&self, context: i64) -> Sql<()> {
        run(self.connection, "DELETE FROM frames WHERE context = ?1", [context])?;
        run(self.connection, "DELETE FROM contexts WHERE context = ?1", [context])?;
        let former = self.forget_names(context, i64::MAX)?;
        self.drop_unnamed(&former)
    }

    pub fn expire_contexts(&self, before: Timestamp, limit: usize) -> Sql<usize> {
        let sql = "SELECT c.context FROM contexts c WHERE c.updated_at < ?1 \
                   AND NOT EXISTS (SELECT 1 FROM context_queue l WHERE l.pool = c.pool AND l.context = c.name) \
                   ORDER BY c.updated_at LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(sql)?;
        let old: Vec<i64> = statement.query_map([before.as_micros(), limit], |row| row.get(0))?.collect::<Sql<_>>()?;
        old.iter().try_for_each(|context| self.remove_context(*context))?;
        Ok(old.len())
    }

    /// Records the cost of the context of a task.
    pub fn note_context_cost(&self, task: i64, cost: &ContextCost) -> Sql<()> {
        let text = serde_json::to_string(cost).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))?;
        run(self.connection, "INSERT OR REPLACE INTO context_costs (task, cost) VALUES (?1, ?2)", params![task, text])
            .map(drop)
    }

    fn first_of_line(&self, pool: i64, context: &ContextId) -> Sql<Option<TaskId>> {
        let sql = "SELECT t.id FROM context_queue l CROSS JOIN tasks t ON t.task = l.task \
                   WHERE l.pool = ?1 AND l.context = ?2 ORDER BY l.rank, l.due, l.task LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![pool, context.as_str()])?;
        rows.next()?.map(|row| uuid(row, 0).map(TaskId::from_uuid)).transpose()
    }
}

/// Reads a context with its frames, in one snapshot.
pub(super) fn read(connection: &Connection, asked: &ContextRead) -> Sql<Option<StoredContext>> {
    let snapshot = connection.unchecked_transaction()?;
    let sql = "SELECT c.context, c.born, c.version, c.size_bytes, c.items, c.updated_at, \
               (SELECT min(f.version) FROM frames f WHERE f.context = c.context) \
               FROM pools p CROSS JOIN contexts c ON c.pool = p.pool WHERE p.name = ?1 AND c.name = ?2";
    let mut statement = snapshot.prepare_cached(sql)?;
    let mut rows = statement.query(params![asked.pool.as_str(), asked.context.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let (context, born, version) = (row.get::<_, i64>(0)?, unsigned(row, 1)?, number(row, 2)?);
    let first = row.get::<_, Option<i64>>(6)?.map_or(Ok(0), |_| number(row, 6))?;
    let follows = |held: &ContextVersion| held.born == born && (first..=version).contains(&held.version);
    let after = asked.held.filter(follows).map_or(0, |held| held.version);
    let sql = "SELECT bytes FROM frames WHERE context = ?1 AND version > ?2 ORDER BY version";
    let span = [context, after as i64];
    let frames = snapshot.prepare_cached(sql)?.query_map(span, |row| row.get(0))?.collect::<Sql<_>>()?;
    let sql = "SELECT p.kind, p.name, p.bytes FROM shared_object_uses u CROSS JOIN shared_objects p ON p.object = u.object \
               WHERE u.context = ?1 AND u.since > ?2 ORDER BY p.kind, p.name";
    let shared_objects = snapshot.prepare_cached(sql)?.query_map(span, object)?.collect::<Sql<_>>()?;
    Ok(Some(StoredContext {
        context: asked.context.clone(),
        born,
        version,
        size_bytes: number(row, 3)?,
        items: number(row, 4)?,
        updated_at: time(row, 5)?,
        after,
        frames,
        pieces: shared_objects,
    }))
}

/// Sums the frames and shared objects of a pool: sizes of blobs are read without the blobs.
pub(super) fn stored_bytes(connection: &Connection, pool: &PoolName) -> Sql<u64> {
    let sql = "SELECT (SELECT coalesce(sum(length(f.bytes)), 0) FROM contexts c CROSS JOIN frames f ON f.context = c.context \
               WHERE c.pool = p.pool) + (SELECT coalesce(sum(length(x.bytes)), 0) FROM shared_objects x WHERE x.pool = p.pool) \
               FROM pools p WHERE p.name = ?1";
    Ok(value::<i64>(connection, sql, [pool.as_str()])?.map_or(0, i64::unsigned_abs))
}

/// Reads a page of contexts, without their contents: sizes of blobs are read without the blobs.
pub(super) fn list(connection: &Connection, filter: &ContextFilter) -> Sql<Vec<ContextSummary>> {
    let sql = "SELECT c.name, c.version, c.size_bytes, c.items, c.updated_at, \
               (SELECT count(*) FROM frames f WHERE f.context = c.context), \
               (SELECT coalesce(sum(length(f.bytes)), 0) FROM frames f WHERE f.context = c.context), \
               (SELECT coalesce(sum(length(x.bytes)), 0) FROM shared_object_uses u CROSS JOIN shared_objects x ON x.object = u.object \
                WHERE u.context = c.context) \
               FROM pools p CROSS JOIN contexts c ON c.pool = p.pool \
               WHERE p.name = ?1 AND c.name > ?2 AND (?3 IS NULL OR c.name = ?3) AND CASE WHEN ?5 IS NULL THEN true \
               WHEN ?5 = '' THEN instr(c.name, ' ') = 0 ELSE substr(c.name, 1, length(?5)) = ?5 END ORDER BY c.name LIMIT ?4";
    let limit = filter.limit.clamp(1, rules::PAGE_LIMIT + 1) as i64;
    let only = filter.context.as_ref().map(ContextId::as_str);
    let params = params![filter.pool.as_str(), filter.behind(), only, limit, filter.tenant_prefix()];
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        match summary(row) {
            Ok(context) => found.push(context),
            // The caller gets its name.
            Err(error) => tracing::error!(%error, "store: cannot read a context; listings leave it out"),
        }
    }
    Ok(found)
}

fn summary(row: &Row<'_>) -> Sql<ContextSummary> {
    Ok(ContextSummary {
        context: context_id(row, 0)?.ok_or(Error::InvalidColumnType(0, "name".to_owned(), Type::Null))?,
        version: number(row, 1)?,
        size_bytes: number(row, 2)?,
        items: number(row, 3)?,
        updated_at: time(row, 4)?,
        frames: number(row, 5)?,
        frame_bytes: number(row, 6)?,
        piece_bytes: number(row, 7)?,
    })
}

fn object(row: &Row<'_>) -> Sql<SharedObject> {
    let number = row.get(0)?;
    let kind = SharedObjectKind::from_number(number).ok_or(Error::IntegralValueOutOfRange(0, number))?;
    Ok(SharedObject { kind, name: row.get(1)?, bytes: row.get::<_, Vec<u8>>(2)?.into() })
}
