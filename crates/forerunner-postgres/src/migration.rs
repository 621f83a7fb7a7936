//! Moving the rows of the tables before `live`: in batches, each a transaction of its own.
//!
//! The schema is at its new version already, so a program of an earlier version rejects the database. A process that is
//! killed leaves whole batches behind it, and the next one that opens the store does the rest. The store serves nobody
//! before all rows are moved.

use std::sync::LazyLock;

use deadpool_postgres::Object;
use forerunner_core::{Priority, SchedulingKey, TaskId, Timestamp};
use forerunner_store::{
    StoreError,
    backend::{Part, column_list, columns_of},
};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    failure::{reason, unavailable},
    schema::LOCK,
    tables::names,
};

type Outcome<T> = Result<T, tokio_postgres::Error>;

/// Most rows of a batch.
const BATCH: i64 = 1_000;

/// Moves what an earlier version left in its tables, then drops them.
///
/// # Errors [`StoreError::Unavailable`]. The rows that were moved by then are stored, and the next call continues from
/// there.
pub(crate) async fn finish(client: &Object) -> Result<(), StoreError> {
    move_all(client).await.map_err(|error| {
        // A failed batch leaves a transaction open on the connection, which is not used again.
        unavailable(format!(
            "moving the tasks to the new tables stopped; it goes on at the next start: {}",
            reason(&error)
        ))
    })
}

async fn move_all(client: &Object) -> Outcome<()> {
    if !is_left(client).await? {
        return Ok(());
    }
    tracing::info!("moving the tasks of an earlier version to the new tables");
    let mut moved = 0;
    loop {
        let batch = move_batch(client).await?;
        moved += batch;
        if batch == 0 {
            break;
        }
        if moved % (100 * BATCH) < batch {
            tracing::info!(tasks = moved, "moving the tasks of an earlier version");
        }
    }
    while index_partition(client).await? {}
    drop_old_tables(client).await?;
    tracing::info!(tasks = moved, "moved the tasks of an earlier version");
    Ok(())
}

/// Whether there are tables of an earlier version.
async fn is_left(client: &Object) -> Outcome<bool> {
    // `to_regclass` could answer from what the session remembers, after another node dropped the table.
    let sql = "SELECT EXISTS (SELECT FROM pg_class o JOIN pg_class l ON l.relnamespace = o.relnamespace \
               WHERE o.relname = 'old_tasks' AND l.oid = 'live'::regclass)";
    let rows = client.query_typed(sql, &[]).await?;
    rows.first().map_or(Ok(false), |row| row.try_get(0))
}

/// The next tasks to be moved: whether each waits in its queue, and its place there.
const NEXT: &str = "\
SELECT t.task, t.id, t.priority, t.due, EXISTS (SELECT FROM old_ready r WHERE r.task = t.task)
FROM old_tasks t ORDER BY t.task LIMIT $1 FOR UPDATE";

/// Moves tasks (`$1`), which have these places in their queues (`$2`).
static MOVE: LazyLock<String> = LazyLock::new(|| {
    let kept = || columns_of(Part::Task).chain(columns_of(Part::Input));
    let values = column_list(kept(), |column| match column.part {
        Part::Input => format!("i.{}", column.name),
        _ => format!("t.{}", column.name),
    });
    let all = names(kept());
    format!(
        "WITH s AS MATERIALIZED (SELECT * FROM unnest($1::int8[], $2::bytea[]) AS s (task, queue_key)), \
         t AS (DELETE FROM old_tasks t USING s WHERE t.task = ANY (ARRAY[s.task]) RETURNING t.*, s.queue_key), \
         i AS (DELETE FROM old_inputs i USING s WHERE i.task = ANY (ARRAY[s.task]) RETURNING i.*), \
         o AS (DELETE FROM old_outputs o USING s WHERE o.task = ANY (ARRAY[s.task]) RETURNING o.*), \
         r AS (DELETE FROM old_ready r USING s WHERE r.task = ANY (ARRAY[s.task]) RETURNING r.*), \
         q AS (DELETE FROM old_context_queue q USING s WHERE q.task = ANY (ARRAY[s.task]) RETURNING q.*), \
         c AS (DELETE FROM old_context_costs c USING s WHERE c.task = ANY (ARRAY[s.task]) RETURNING c.*), \
         v AS (DELETE FROM old_events v USING s WHERE v.task = ANY (ARRAY[s.task]) RETURNING v.*), \
         a AS (SELECT t.id, t.pool, t.due, t.queue_key, t.cancel_epoch, t.attempts, i.label_pairs, c.cost, \
         o.output, r.preferred_node, r.preferred_until, EXISTS (SELECT FROM v WHERE v.task = t.task) AS has_events, \
         (SELECT jsonb_agg(jsonb_build_array(v.seq, v.at, v.kind, v.attempt, v.error_kind, v.text) ORDER BY v.seq) \
         FROM v WHERE v.task = t.task AND v.kind < 8) AS log, {values} \
         FROM t LEFT JOIN i ON i.task = t.task LEFT JOIN o ON o.task = t.task LEFT JOIN c ON c.task = t.task \
         LEFT JOIN r ON r.task = t.task), \
         l AS (INSERT INTO live (id, pool, due, queue_key, cancel_epoch, attempts, label_pairs, cost, preferred_node, \
         preferred_until, has_events, {all}) SELECT id, pool, due, queue_key, cancel_epoch, attempts, label_pairs, cost, \
         preferred_node, preferred_until, has_events, {all} FROM a WHERE finished_at IS NULL), \
         e AS (INSERT INTO ended (id, pool, due, attempts, label_pairs, cost, output, log, {all}) SELECT id, pool, due, \
         attempts, label_pairs, cost, output, log, {all} FROM a WHERE finished_at IS NOT NULL), \
         n AS (INSERT INTO events (id, seq, at, kind, attempt, error_kind, text) \
         SELECT t.id, v.seq, v.at, v.kind, v.attempt, v.error_kind, v.text FROM v JOIN t ON t.task = v.task \
         WHERE t.finished_at IS NULL), \
         x AS (INSERT INTO context_queue (pool, context, rank, due, id) \
         SELECT q.pool, q.context, greatest(q.rank, 1), q.due, t.id FROM q JOIN t ON t.task = q.task), \
         y AS (INSERT INTO cancellations (node, id) SELECT t.node, t.id FROM t \
         WHERE t.state = 2 AND t.cancel_epoch = t.epoch AND t.node IS NOT NULL) \
         SELECT id FROM t"
    )
});

/// Moves a batch; returns how many tasks it had.
async fn move_batch(client: &Object) -> Outcome<i64> {
    begin(client).await?;
    let mut moved = 0;
    // Another node may have moved the last of them.
    if is_left(client).await? {
        let (tasks, keys) = next_batch(client).await?;
        moved = i64::try_from(tasks.len()).unwrap_or(i64::MAX);
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&tasks, Type::INT8_ARRAY), (&keys, Type::BYTEA_ARRAY)];
        client.query_typed(&MOVE, &params).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(moved)
}

async fn next_batch(client: &Object) -> Outcome<(Vec<i64>, Vec<Option<Vec<u8>>>)> {
    let rows = client.query_typed(NEXT, &[(&BATCH, Type::INT8)]).await?;
    let (mut tasks, mut keys) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in &rows {
        let (id, priority, due): (Uuid, i16, i64) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        // An invalid priority makes the row unreadable, so its place does not matter.
        let priority = u64::try_from(priority).ok().and_then(|level| Priority::new(level).ok()).unwrap_or_default();
        let key = SchedulingKey::new(priority, 0, Timestamp::from_micros(due), TaskId::from_uuid(id));
        tasks.push(row.try_get(0)?);
        keys.push(row.try_get::<_, bool>(4)?.then(|| key.as_bytes().to_vec()));
    }
    Ok((tasks, keys))
}

/// A partition that has no index by state yet.
const WITHOUT_INDEX: &str = "\
SELECT c.oid::regclass::text, c.relname::text FROM pg_inherits p JOIN pg_class c ON c.oid = p.inhrelid
WHERE p.inhparent = 'ended'::regclass AND NOT EXISTS (
    SELECT FROM pg_inherits i JOIN pg_index x ON x.indexrelid = i.inhrelid
    WHERE i.inhparent = 'ended_not_succeeded'::regclass AND x.indrelid = c.oid
) ORDER BY c.relname LIMIT 1";

/// Makes the index of one partition; returns whether there was one without.
async fn index_partition(client: &Object) -> Outcome<bool> {
    begin(client).await?;
    let rows = client.query_typed(WITHOUT_INDEX, &[]).await?;
    if let Some(row) = rows.first() {
        let (table, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let sql = format!(
            "CREATE INDEX \"{name}_not_succeeded\" ON {table} (pool, state, id) WHERE state <> 3; \
             ALTER INDEX ended_not_succeeded ATTACH PARTITION \"{name}_not_succeeded\""
        );
        client.batch_execute(&sql).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(!rows.is_empty())
}

/// Moves what is left: what agents of tasks reported that ended a moment ago, and which tasks are damaged.
const LEFT: &str = "\
WITH b AS (SELECT min(finished_at) AS first, max(finished_at) AS last FROM old_tasks_with_events), \
s AS MATERIALIZED (SELECT h.id, s.task, s.finished_at FROM b, ended h JOIN old_tasks_with_events s \
ON s.task = h.task AND s.finished_at = h.finished_at WHERE h.finished_at BETWEEN b.first AND b.last), \
v AS (INSERT INTO events (id, seq, at, kind, attempt, error_kind, text) \
SELECT s.id, v.seq, v.at, v.kind, v.attempt, v.error_kind, v.text FROM s JOIN old_events v ON v.task = s.task) \
INSERT INTO tasks_with_events (finished_at, id) SELECT finished_at, id FROM s";

async fn drop_old_tables(client: &Object) -> Outcome<()> {
    begin(client).await?;
    if is_left(client).await? {
        let sql = format!(
            "{LEFT}; INSERT INTO damaged (id, was, reason, found_at) SELECT id, was, reason, found_at FROM old_damaged; \
             DROP TABLE old_tasks, old_inputs, old_outputs, old_ready, old_context_queue, old_context_costs, \
             old_events, old_tasks_with_events, old_damaged; ALTER TABLE ended DROP COLUMN task"
        );
        client.batch_execute(&sql).await?;
    }
    client.batch_execute("COMMIT").await
}

/// Begins a transaction of the only node that changes the schema.
async fn begin(client: &Object) -> Outcome<()> {
    client.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})")).await
}
