//! Contexts, notes, counts, listings and the check.

use forerunner_core::{ContextId, PoolName, Task, TaskId, TaskState, Timestamp};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{
    failure::Sql,
    rows::{clean, get, label_pair, optional_time, state, stored, task_columns, time},
    tx::Tx,
};
use crate::{Backlog, ContextCommit, Mismatch, SETTINGS, StoredContext, TaskCounts, TaskFilter, TaskPage, rules};

/// Most tasks that a backlog counts: counting a million takes as long as claiming thousands.
const BACKLOG: i64 = 100_000;

impl Tx<'_> {
    /// Stores a new version of a context, unless it does not follow the stored one.
    pub async fn commit_context(&self, pool: &PoolName, commit: &ContextCommit, now: Timestamp) -> Sql<bool> {
        let sql = "WITH a AS (SELECT 1 WHERE $3 = 0 OR EXISTS (SELECT 1 FROM contexts WHERE pool = $1 AND name = $2)) \
                   INSERT INTO contexts AS c (pool, name, version, size_bytes, items, updated_at) \
                   SELECT $1, $2, $3 + 1, $4, $5, $6 FROM a ON CONFLICT (pool, name) DO UPDATE \
                   SET version = excluded.version, size_bytes = excluded.size_bytes, items = excluded.items, \
                   updated_at = excluded.updated_at WHERE c.version = $3 RETURNING context";
        let (version, now) = (commit.parent_version as i64, now.as_micros());
        let (size, items) = (commit.size_bytes as i64, commit.items as i64);
        let params = [
            (&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&commit.context.as_str(), Type::TEXT),
            (&version, Type::INT8),
            (&size, Type::INT8),
            (&items, Type::INT8),
            (&now, Type::INT8),
        ];
        let rows = self.query(sql, &params).await?;
        let Some(row) = rows.first() else { return Ok(false) };
        let (context, version) = (get::<i64>(row, 0)?, version + 1);
        if commit.full {
            let sql = "DELETE FROM frames WHERE context = $1 RETURNING version";
            self.run(sql, &[(&context, Type::INT8)]).await?;
        }
        let sql = "INSERT INTO frames (context, version, bytes) VALUES ($1, $2, $3) RETURNING version";
        let params =
            [(&context as &(dyn ToSql + Sync), Type::INT8), (&version, Type::INT8), (&commit.frame, Type::BYTEA)];
        self.run(sql, &params).await?;
        Ok(true)
    }

    pub async fn delete_context(&self, pool: &PoolName, context: &ContextId) -> Sql<Result<(), Mismatch>> {
        self.lock_line(pool, context).await?;
        let sql = "SELECT t.id FROM line l JOIN tasks t ON t.task = l.task WHERE l.pool = $1 AND l.context = $2 \
                   ORDER BY l.rank, l.due, l.task LIMIT 1";
        let named = [(&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT), (&context.as_str(), Type::TEXT)];
        if let Some(row) = self.query(sql, &named).await?.first() {
            let task = TaskId::from_uuid(get(row, 0)?);
            return Ok(Err(Mismatch::ContextInUse { context: context.clone(), task }));
        }
        let sql = "WITH c AS (DELETE FROM contexts WHERE pool = $1 AND name = $2 RETURNING context), \
                   f AS (DELETE FROM frames USING c WHERE frames.context = c.context) SELECT context FROM c";
        let removed = self.run(sql, &named).await?;
        let none = || Mismatch::NoContext { pool: pool.clone(), context: context.clone() };
        Ok(if removed == 0 { Err(none()) } else { Ok(()) })
    }

    pub async fn context(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<StoredContext>> {
        // One statement, so that all is of one snapshot.
        let sql = "SELECT c.version, c.size_bytes, c.items, c.updated_at, \
                   ARRAY(SELECT f.bytes FROM frames f WHERE f.context = c.context ORDER BY f.version) \
                   FROM contexts c WHERE c.pool = $1 AND c.name = $2";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&context.as_str(), Type::TEXT)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(StoredContext {
            context: context.clone(),
            version: get::<i64>(row, 0)?.unsigned_abs(),
            size_bytes: get::<i64>(row, 1)?.unsigned_abs(),
            items: get::<i64>(row, 2)?.unsigned_abs(),
            updated_at: time(row, 3)?,
            frames: get(row, 4)?,
        }))
    }

    pub async fn put_note(&self, key: &str, text: Option<&str>) -> Sql<()> {
        let key = clean(key);
        self.hints().settings |= key.starts_with(SETTINGS);
        let Some(text) = text.map(clean) else {
            return self.run("DELETE FROM notes WHERE key = $1 RETURNING key", &[(&key, Type::TEXT)]).await.map(drop);
        };
        let sql = "INSERT INTO notes (key, text) VALUES ($1, $2) \
                   ON CONFLICT (key) DO UPDATE SET text = excluded.text RETURNING key";
        self.run(sql, &[(&key, Type::TEXT), (&text, Type::TEXT)]).await.map(drop)
    }

    pub async fn note(&self, key: &str) -> Sql<Option<String>> {
        let rows = self.query("SELECT text FROM notes WHERE key = $1", &[(&clean(key), Type::TEXT)]).await?;
        rows.first().map(|row| get(row, 0)).transpose()
    }

    /// Writes something that changes nothing, so that the commit has to reach the disk.
    pub async fn beat(&self) -> Sql<()> {
        self.run("UPDATE meta SET beat = beat + 1 RETURNING beat", &[]).await.map(drop)
    }

    pub async fn counts(&self, pool: &PoolName) -> Sql<TaskCounts> {
        // One statement, so that all is of one snapshot.
        let sql = "SELECT state, count(*), (SELECT count(*) FROM ready WHERE pool = $1), \
                   (SELECT min(run_at) FROM tasks WHERE pool = $1 AND state = 0) \
                   FROM tasks WHERE pool = $1 GROUP BY state";
        let mut counts = TaskCounts::default();
        for row in &self.query(sql, &[(&pool.as_str(), Type::TEXT)]).await? {
            counts.by_state.insert(state(row, 0)?, get::<i64>(row, 1)?.unsigned_abs());
            (counts.claimable, counts.next_due) = (get::<i64>(row, 2)?.unsigned_abs(), optional_time(row, 3)?);
        }
        Ok(counts)
    }

    pub async fn task(&self, task: TaskId) -> Sql<Option<Task>> {
        Ok(self.find(task).await?.map(|found| found.task))
    }

    pub async fn backlog(&self, pool: &PoolName) -> Sql<Backlog> {
        let sql = "SELECT (SELECT count(*) FROM (SELECT 1 FROM ready WHERE pool = $1 LIMIT $2) AS r), \
                   (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE pool = $1 AND state = 1 LIMIT $2) AS q), \
                   (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE pool = $1 AND state = 0 LIMIT $2) AS s), \
                   (SELECT min(run_at) FROM tasks WHERE pool = $1 AND state = 0)";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&BACKLOG, Type::INT8)]).await?;
        let Some(row) = rows.first() else { return Ok(Backlog::default()) };
        let (queued, scheduled) = (get::<i64>(row, 1)?, get::<i64>(row, 2)?);
        let is_counted = queued < BACKLOG && scheduled < BACKLOG;
        Ok(Backlog {
            claimable: get::<i64>(row, 0)?.unsigned_abs(),
            waiting: is_counted.then(|| (queued + scheduled).unsigned_abs()),
            next_due: optional_time(row, 3)?,
        })
    }

    pub async fn tasks_of(&self, tasks: &[TaskId]) -> Sql<Vec<Task>> {
        const SQL: &str = concat!(
            "SELECT ",
            task_columns!("o.output"),
            " FROM tasks t JOIN inputs i ON i.task = t.task LEFT JOIN outputs o ON o.task = t.task \
             WHERE t.id = ANY($1)"
        );
        let ids: Vec<_> = tasks.iter().map(|task| *task.as_uuid()).collect();
        let rows = self.query(SQL, &[(&ids, Type::UUID_ARRAY)]).await?;
        rows.iter().map(|row| Ok(stored(row)?.task)).collect()
    }

    pub async fn tasks(&self, filter: &TaskFilter) -> Sql<TaskPage> {
        const SQL: &str = concat!(
            "SELECT ",
            task_columns!("o.output"),
            " FROM tasks t JOIN inputs i ON i.task = t.task LEFT JOIN outputs o ON o.task = t.task"
        );
        let limit = filter.limit.clamp(1, rules::PAGE_LIMIT);
        let pool = filter.pool.as_ref().map(PoolName::as_str);
        let context = filter.context.as_ref().map(ContextId::as_str);
        let code = filter.state.map(|state: TaskState| state as i16);
        let before: Option<Uuid> = filter.before.map(|task| *task.as_uuid());
        let pairs = filter.label.as_ref().map(|(key, value)| vec![label_pair(key, value)]);
        let values: [(bool, &str, &(dyn ToSql + Sync), Type); 5] = [
            (pool.is_some(), "t.pool =", &pool, Type::TEXT),
            (code.is_some(), "t.state =", &code, Type::INT2),
            (context.is_some(), "t.context =", &context, Type::TEXT),
            (before.is_some(), "t.id <", &before, Type::UUID),
            (pairs.is_some(), "i.label_pairs @>", &pairs, Type::TEXT_ARRAY),
        ];
        let (mut conditions, mut params) = (vec!["true".to_owned()], Vec::new());
        for (_, condition, value, kind) in values.into_iter().filter(|(is_asked, ..)| *is_asked) {
            params.push((value, kind));
            conditions.push(format!("{condition} ${}", params.len()));
        }
        let sql = format!("{SQL} WHERE {} ORDER BY t.id DESC LIMIT {}", conditions.join(" AND "), limit + 1);
        let rows = self.query(&sql, &params).await?;
        let tasks = rows.iter().take(limit).map(|row| Ok(stored(row)?.task));
        Ok(TaskPage { tasks: tasks.collect::<Sql<_>>()?, more: rows.len() > limit })
    }
}
