//! Contexts: chains of frames.

use forerunner_core::{ContextCost, ContextId, PoolName, TaskId, Timestamp};
use forerunner_store::{
    ContextBase, ContextCommit, ContextFilter, ContextRead, ContextSummary, SharedObject, SharedObjectKind,
    StateConflict, StoredContext, backend,
};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    failure::{Fault, Sql},
    rows::{context as context_id, get, time},
    tx::Tx,
};

/// Reads a context. One statement, so that all is of one snapshot; `a.after` is the version that the frames follow.
const READ: &str = "\
SELECT c.born, c.version, c.size_bytes, c.items, c.updated_at, a.after,
    ARRAY(SELECT f.bytes FROM frames f WHERE f.context = c.context AND f.version > a.after ORDER BY f.version),
    p.kinds, p.names, p.bytes
FROM contexts c
CROSS JOIN LATERAL (SELECT CASE WHEN c.born = $3 AND $4 <= c.version
    AND $4 >= (SELECT min(f.version) FROM frames f WHERE f.context = c.context) THEN $4 ELSE 0 END AS after) a
CROSS JOIN LATERAL (SELECT coalesce(array_agg(x.kind ORDER BY x.kind, x.name), '{}') AS kinds,
    coalesce(array_agg(x.name ORDER BY x.kind, x.name), '{}') AS names,
    coalesce(array_agg(x.bytes ORDER BY x.kind, x.name), '{}') AS bytes
    FROM shared_object_uses u JOIN shared_objects x ON x.object = u.object WHERE u.context = c.context AND u.since > a.after) p
WHERE c.pool = $1 AND c.name = $2";

const LIST: &str = "\
SELECT c.name, c.version, c.size_bytes, c.items, c.updated_at,
    (SELECT count(*) FROM frames f WHERE f.context = c.context),
    (SELECT coalesce(sum(octet_length(f.bytes)), 0)::int8 FROM frames f WHERE f.context = c.context),
    (SELECT coalesce(sum(octet_length(x.bytes)), 0)::int8 FROM shared_object_uses u JOIN shared_objects x ON x.object = u.object
        WHERE u.context = c.context)
FROM contexts c WHERE c.pool = $1 AND c.name COLLATE \"C\" > $2 AND ($3::text IS NULL OR c.name = $3)
    AND CASE WHEN $5::text IS NULL THEN true WHEN $5 = '' THEN strpos(c.name, ' ') = 0 ELSE starts_with(c.name, $5) END
ORDER BY c.name COLLATE \"C\" LIMIT $4";

impl Tx<'_> {
    /// Stores a new version of a context, unless it does not follow the stored one. Its line is locked.
    pub async fn commit_context(&self, pool: &PoolName, commit: &ContextCommit, now: Timestamp) -> Sql<bool> {
        let sql = "WITH a AS (SELECT 1 WHERE $3 = 0 OR EXISTS (SELECT 1 FROM contexts WHERE pool = $1 AND name = $2)) \
                   INSERT INTO contexts AS c (pool, name, born, version, size_bytes, items, updated_at) \
                   SELECT $1, $2, $7, $3 + 1, $4, $5, $6 FROM a ON CONFLICT (pool, name) DO UPDATE \
                   SET version = excluded.version, size_bytes = excluded.size_bytes, items = excluded.items, \
                   updated_at = excluded.updated_at WHERE c.version = $3 AND c.born = $7 RETURNING context";
        let (version, now, born) = (commit.parent_version as i64, now.as_micros(), commit.born as i64);
        let (size, items) = (commit.size_bytes as i64, commit.items as i64);
        let params = [
            (&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&commit.context.as_str(), Type::TEXT),
            (&version, Type::INT8),
            (&size, Type::INT8),
            (&items, Type::INT8),
            (&now, Type::INT8),
            (&born, Type::INT8),
        ];
        let rows = self.query(sql, &params).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        let (context, version) = (get::<i64>(row, 0)?, version + 1);
        let mut former = Vec::new();
        if commit.full {
            self.drop_frames(context, version).await?;
            former = self.forget_names(context, version).await?;
        }
        self.write_frame(context, version, &commit.frame).await?;
        self.write_names(pool, context, version, &commit.pieces).await?;
        self.drop_unnamed(&former).await?;
        Ok(true)
    }

    async fn write_frame(&self, context: i64, version: i64, frame: &[u8]) -> Sql<()> {
        let sql = "INSERT INTO frames (context, version, bytes) VALUES ($1, $2, $3) RETURNING version";
        let params = [(&context as &(dyn ToSql + Sync), Type::INT8), (&version, Type::INT8), (&frame, Type::BYTEA)];
        self.run(sql, &params).await.map(drop)
    }

    async fn drop_frames(&self, context: i64, version: i64) -> Sql<()> {
        let sql = "DELETE FROM frames WHERE context = $1 AND version <= $2 RETURNING version";
        self.run(sql, &[(&context, Type::INT8), (&version, Type::INT8)]).await.map(drop)
    }

    pub async fn rebase(&self, base: &ContextBase) -> Sql<bool> {
        self.lock_context(&base.pool, &base.context).await?;
        let sql = "SELECT c.context FROM contexts c JOIN frames f ON f.context = c.context AND f.version = $4 \
                   WHERE c.pool = $1 AND c.name = $2 AND c.born = $3";
        let (born, version) = (base.born as i64, base.version as i64);
        let params = [
            (&base.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&base.context.as_str(), Type::TEXT),
            (&born, Type::INT8),
            (&version, Type::INT8),
        ];
        let rows = self.query(sql, &params).await?;
        let Some(context) = rows.first().map(|row| get::<i64>(row, 0)).transpose()? else { return Ok(false) };
        self.drop_frames(context, version).await?;
        let former = self.forget_names(context, version).await?;
        self.write_frame(context, version, &base.frame).await?;
        self.write_names(&base.pool, context, version, &base.pieces).await?;
        self.drop_unnamed(&former).await?;
        Ok(true)
    }

    pub async fn delete_context(&self, pool: &PoolName, context: &ContextId) -> Sql<Result<(), StateConflict>> {
        self.lock_context(pool, context).await?;
        let named = [(&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT), (&context.as_str(), Type::TEXT)];
        if let Some(task) = self.first_of_context(pool, context).await? {
            return Ok(Err(StateConflict::ContextInUse { context: context.clone(), task }));
        }
        let sql = "DELETE FROM contexts WHERE pool = $1 AND name = $2 RETURNING context";
        let rows = self.query(sql, &named).await?;
        let Some(row) = rows.first() else {
            return Ok(Err(StateConflict::NoContext { pool: pool.clone(), context: context.clone() }));
        };
        self.remove_chain(get(row, 0)?).await?;
        Ok(Ok(()))
    }

    async fn first_of_context(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<TaskId>> {
        let sql = "SELECT id FROM context_queue WHERE pool = $1 AND context = $2 ORDER BY rank, due, id LIMIT 1";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await?;
        rows.first().map(|row| Ok(TaskId::from_uuid(get(row, 0)?))).transpose()
    }

    /// Removes what a deleted context leaves behind.
    async fn remove_chain(&self, context: i64) -> Sql<()> {
        self.drop_frames(context, i64::MAX).await?;
        let former = self.forget_names(context, i64::MAX).await?;
        self.drop_unnamed(&former).await
    }

    pub async fn expire_contexts(&self, before: Timestamp, limit: usize) -> Sql<usize> {
        let sql = "SELECT c.pool, c.name FROM contexts c WHERE c.updated_at < $1 \
                   AND NOT EXISTS (SELECT 1 FROM context_queue l WHERE l.pool = c.pool AND l.context = c.name) \
                   ORDER BY c.updated_at LIMIT $2";
        let (before, limit) = (before.as_micros(), i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = self.query(sql, &[(&before, Type::INT8), (&limit, Type::INT8)]).await?;
        let mut removed = 0;
        for row in &rows {
            // What has a name that cannot be is found by nobody, and stays.
            let (Ok(pool), Ok(Some(context))) = (PoolName::new(get::<String>(row, 0)?), context_id(row, 1)) else {
                continue;
            };
            self.lock_context(&pool, &context).await?;
            // A task may have come, and even ended, before the context was locked.
            let sql = "DELETE FROM contexts c WHERE c.pool = $1 AND c.name = $2 AND c.updated_at < $3 \
                       AND NOT EXISTS (SELECT 1 FROM context_queue l WHERE l.pool = c.pool AND l.context = c.name) \
                       RETURNING c.context";
            let params = [
                (&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
                (&context.as_str(), Type::TEXT),
                (&before, Type::INT8),
            ];
            if let Some(row) = self.query(sql, &params).await?.first() {
                self.remove_chain(get(row, 0)?).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Records the cost of the context of a task.
    pub async fn note_context_cost(&self, task: TaskId, cost: &ContextCost) -> Sql<()> {
        let text = serde_json::to_string(cost).map_err(|error| Fault::unreadable(error.to_string()))?;
        let sql = "UPDATE live SET cost = $2 WHERE id = $1 RETURNING id";
        self.run(sql, &[(task.as_uuid(), Type::UUID), (&text, Type::TEXT)]).await.map(drop)
    }

    pub async fn context(&self, asked: &ContextRead) -> Sql<Option<StoredContext>> {
        let held = asked.held.map_or((-1, 0), |held| (held.born as i64, held.version as i64));
        let params = [
            (&asked.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&asked.context.as_str(), Type::TEXT),
            (&held.0, Type::INT8),
            (&held.1, Type::INT8),
        ];
        let rows = self.query(READ, &params).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(StoredContext {
            context: asked.context.clone(),
            born: number(row, 0)?,
            version: number(row, 1)?,
            size_bytes: number(row, 2)?,
            items: number(row, 3)?,
            updated_at: time(row, 4)?,
            after: number(row, 5)?,
            frames: get(row, 6)?,
            pieces: shared_objects(row)?,
        }))
    }

    pub async fn contexts(&self, filter: &ContextFilter) -> Sql<Vec<ContextSummary>> {
        let after = filter.behind();
        let only = filter.context.as_ref().map(ContextId::as_str);
        let tenant = filter.tenant_prefix();
        let limit = filter.limit.clamp(1, backend::PAGE_LIMIT + 1) as i64;
        let params = [
            (&filter.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&after, Type::TEXT),
            (&only, Type::TEXT),
            (&limit, Type::INT8),
            (&tenant, Type::TEXT),
        ];
        let rows = self.query(LIST, &params).await?;
        let found = rows.iter().filter_map(|row| {
            // The caller gets its name.
            let log = |fault: &Fault| {
                tracing::error!(reason = fault.reason(), "store: cannot read a context; listings leave it out")
            };
            summary(row).inspect_err(log).ok()
        });
        Ok(found.collect())
    }
}

fn summary(row: &Row) -> Sql<ContextSummary> {
    Ok(ContextSummary {
        context: context_id(row, 0)?.ok_or_else(|| Fault::unreadable("a context has no name".to_owned()))?,
        version: number(row, 1)?,
        size_bytes: number(row, 2)?,
        items: number(row, 3)?,
        updated_at: time(row, 4)?,
        frames: number(row, 5)?,
        frame_bytes: number(row, 6)?,
        piece_bytes: number(row, 7)?,
    })
}

fn shared_objects(row: &Row) -> Sql<Vec<SharedObject>> {
    let (kinds, names, bytes): (Vec<i16>, Vec<Vec<u8>>, Vec<Vec<u8>>) = (get(row, 7)?, get(row, 8)?, get(row, 9)?);
    let unreadable = || Fault::unreadable("a shared object of a context has no such kind, or no such name".to_owned());
    let shared_objects = kinds.into_iter().zip(names).zip(bytes).map(|((kind, name), bytes)| {
        let kind = SharedObjectKind::from_number(i64::from(kind)).ok_or_else(unreadable)?;
        let name = name.try_into().map_err(|_| unreadable())?;
        Ok(SharedObject { kind, name, bytes: bytes.into() })
    });
    shared_objects.collect()
}

fn number(row: &Row, column: usize) -> Sql<u64> {
    get::<i64>(row, column).map(i64::unsigned_abs)
}
