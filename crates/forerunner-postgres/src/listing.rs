//! Notes, counts, listings and the check.

use std::sync::LazyLock;

use forerunner_core::{PoolName, Task, TaskId, TaskState};
use forerunner_store::{Backlog, SETTINGS, TaskCounts, backend::unreadable};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    failure::{Fault, Sql},
    rows::{
        AFTER, clean, ended_columns, get, live_columns, optional_time, parsed_cost, salvaged, state, state_of, stored,
    },
    scan_cursors::from_floors,
    tables::earliest_end,
    tx::Tx,
};

/// Most tasks that a backlog counts: counting a million takes as long as claiming thousands.
const BACKLOG: i64 = 100_000;

impl Tx<'_> {
    pub async fn put_setting(&self, key: &str, text: Option<&str>) -> Sql<()> {
        let key = clean(key);
        self.hints().settings |= key.starts_with(SETTINGS);
        let Some(text) = text.map(clean) else {
            return self
                .run("DELETE FROM settings WHERE key = $1 RETURNING key", &[(&key, Type::TEXT)])
                .await
                .map(drop);
        };
        let sql = "INSERT INTO settings (key, text) VALUES ($1, $2) \
                   ON CONFLICT (key) DO UPDATE SET text = excluded.text RETURNING key";
        self.run(sql, &[(&key, Type::TEXT), (&text, Type::TEXT)]).await.map(drop)
    }

    pub async fn note(&self, key: &str) -> Sql<Option<String>> {
        let rows = self.query("SELECT text FROM settings WHERE key = $1", &[(&clean(key), Type::TEXT)]).await?;
        rows.first().map(|row| get(row, 0)).transpose()
    }

    /// Writes something that changes nothing, so that the commit has to reach the disk.
    pub async fn beat(&self) -> Sql<()> {
        self.run("UPDATE meta SET beat = beat + 1 RETURNING beat", &[]).await.map(drop)
    }

    pub async fn counts(&self, pool: &PoolName) -> Sql<TaskCounts> {
        // One statement, so that all is of one snapshot.
        let sql = "SELECT state, count(*), (SELECT count(*) FROM live WHERE pool = $1 AND queue_key IS NOT NULL \
                   AND state = 1), (SELECT min(wakes_at) FROM live WHERE pool = $1 AND wakes_at IS NOT NULL) \
                   FROM (SELECT state FROM live WHERE pool = $1 UNION ALL SELECT state FROM ended WHERE pool = $1) t \
                   GROUP BY state";
        let mut counts = TaskCounts::default();
        for row in &self.query(sql, &[(&pool.as_str(), Type::TEXT)]).await? {
            // An unknown state is detected by the reader of the row.
            if let Ok(state) = state(row, 0) {
                counts.by_state.insert(state, get::<i64>(row, 1)?.unsigned_abs());
            }
            (counts.claimable, counts.next_due) = (get::<i64>(row, 2)?.unsigned_abs(), optional_time(row, 3)?);
        }
        Ok(counts)
    }

    /// Hops from pool to pool along the index.
    pub async fn pools_with_tasks(&self) -> Sql<Vec<PoolName>> {
        let sql = "WITH RECURSIVE p AS ((SELECT pool FROM live ORDER BY pool LIMIT 1) UNION ALL SELECT (SELECT t.pool \
                   FROM live t WHERE t.pool > p.pool ORDER BY t.pool LIMIT 1) FROM p WHERE p.pool IS NOT NULL) \
                   SELECT pool FROM p WHERE EXISTS (SELECT 1 FROM live t WHERE t.pool = p.pool AND t.state < 3)";
        let rows = self.query(sql, &[]).await?;
        let mut names = Vec::with_capacity(rows.len());
        for row in &rows {
            // A name that is none is of no pool that could be configured.
            names.extend(PoolName::new(get::<String>(row, 0)?).ok());
        }
        names.sort();
        Ok(names)
    }

    pub async fn task(&self, task: TaskId) -> Sql<Option<Task>> {
        static SQL: LazyLock<String> =
            LazyLock::new(|| format!("SELECT {}, t.cost FROM live t WHERE t.id = $1", live_columns()));
        static ENDED: LazyLock<String> = LazyLock::new(|| {
            let columns = ended_columns();
            format!("SELECT {columns}, t.cost FROM ended t WHERE t.id = $1 AND t.finished_at >= $2")
        });
        let earliest = earliest_end(*task.as_uuid());
        let params = [(task.as_uuid() as &(dyn ToSql + Sync), Type::UUID), (&earliest, Type::INT8)];
        // Three times, since it may move from one table to the other, or back, between two reads.
        for (sql, params) in [(&SQL, &params[..1]), (&ENDED, &params[..]), (&SQL, &params[..1])] {
            if let Some(row) = self.query(sql, params).await?.first() {
                return self.shown(row).await.map(Some);
            }
        }
        Ok(None)
    }

    pub async fn backlog(&self, pool: &PoolName) -> Sql<Backlog> {
        // To count what waits would be to read past all that has waited: then as with a long one, now and then.
        const FROM_FLOORS: &str = concat!(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM ",
            from_floors!("$3", "1", "AND state = 1 LIMIT $2"),
            " LIMIT $2) AS r), $2, $2, (SELECT min(wakes_at) FROM live WHERE pool = $1 AND wakes_at IS NOT NULL)"
        );
        const ALL: &str = "SELECT (SELECT count(*) FROM (SELECT 1 FROM live WHERE pool = $1 AND queue_key IS NOT NULL \
                           AND state = 1 LIMIT $2) AS r), \
                           (SELECT count(*) FROM (SELECT 1 FROM live WHERE pool = $1 AND state = 1 LIMIT $2) AS q), \
                           (SELECT count(*) FROM (SELECT 1 FROM live WHERE pool = $1 AND wakes_at IS NOT NULL LIMIT $2) AS s), \
                           (SELECT min(wakes_at) FROM live WHERE pool = $1 AND wakes_at IS NOT NULL)";
        let (cursors, name) = (self.node.cursors.of(pool), pool.as_str());
        let mut params = vec![(&name as &(dyn ToSql + Sync), Type::TEXT), (&BACKLOG, Type::INT8)];
        params.extend(cursors.as_ref().map(|cursors| (cursors as &(dyn ToSql + Sync), Type::BYTEA_ARRAY)));
        let rows = self.query(if cursors.is_some() { FROM_FLOORS } else { ALL }, &params).await?;
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
        // One statement, so that all is of one snapshot: tasks that end go from the one table to the other.
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let (live, ended) = (live_columns(), ended_columns());
            format!(
                "SELECT {live}, t.cost FROM live t WHERE t.id = ANY ($1) UNION ALL SELECT {ended}, t.cost \
                 FROM ended t WHERE t.id = ANY ($1) AND t.finished_at >= $2"
            )
        });
        let ids: Vec<_> = tasks.iter().map(|task| *task.as_uuid()).collect();
        let earliest = ids.iter().copied().map(earliest_end).min().unwrap_or(0);
        let rows = self.query(&SQL, &[(&ids, Type::UUID_ARRAY), (&earliest, Type::INT8)]).await?;
        let mut tasks = Vec::with_capacity(rows.len());
        for row in &rows {
            tasks.push(self.shown(row).await?);
        }
        Ok(tasks)
    }

    /// A task of [`live_columns`] with the cost of its context. An unreadable one is shown as far as possible, and set
    /// aside unless it runs.
    pub(crate) async fn shown(&self, row: &Row) -> Sql<Task> {
        let mut task = match stored(row) {
            Ok(found) if found.task.state == TaskState::Damaged => self.with_reason(found.task).await?,
            Ok(found) => found.task,
            Err(Fault::Damaged(unread)) => {
                let task = salvaged(row, &unread)?.task;
                if !matches!(state_of(row), Ok(TaskState::Damaged)) {
                    self.note_unread(*unread);
                }
                task
            }
            Err(fault) => return Err(fault),
        };
        // Nothing depends on the cost of the context.
        task.context_cost = get(row, AFTER).and_then(parsed_cost).unwrap_or_default();
        Ok(task)
    }

    /// A task that was set aside, and can be read now.
    async fn with_reason(&self, mut task: Task) -> Sql<Task> {
        let rows = self.query("SELECT reason FROM damaged WHERE id = $1", &[(task.id.as_uuid(), Type::UUID)]).await?;
        let reason: String = rows.first().map_or(Ok(String::new()), |row| get(row, 0))?;
        task.error = Some(unreadable(&reason));
        Ok(task)
    }
}
