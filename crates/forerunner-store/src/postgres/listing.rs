//! Notes, counts, listings and the check.

use forerunner_core::{ContextId, PoolName, Task, TaskId, TaskState};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::{
    failure::Sql,
    rows::{clean, get, label_pair, optional_time, parsed_cost, state, stored, task_columns},
    tx::Tx,
};
use crate::{Backlog, SETTINGS, TaskCounts, TaskFilter, TaskPage, rules};

/// Most tasks that a backlog counts: counting a million takes as long as claiming thousands.
const BACKLOG: i64 = 100_000;

impl Tx<'_> {
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
        let Some(found) = self.find(task).await? else { return Ok(None) };
        let sql = "SELECT cost FROM context_costs WHERE task = $1";
        let rows = match found.task.context {
            Some(_) => self.query(sql, &[(&found.row, Type::INT8)]).await?,
            None => Vec::new(),
        };
        let context_cost = rows.first().map(|row| parsed_cost(get(row, 0)?)).transpose()?.flatten();
        Ok(Some(Task { context_cost, ..found.task }))
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
            ", k.cost FROM tasks t JOIN inputs i ON i.task = t.task LEFT JOIN outputs o ON o.task = t.task \
             LEFT JOIN context_costs k ON k.task = t.task"
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
        let tasks = rows
            .iter()
            .take(limit)
            .map(|row| Ok(Task { context_cost: parsed_cost(get(row, 29)?)?, ..stored(row)?.task }));
        Ok(TaskPage { tasks: tasks.collect::<Sql<_>>()?, more: rows.len() > limit })
    }
}
