//! Tasks that have ended: moved out of `live` into the partition of `ended` for the time of their end.
//!
//! A move costs no more than a change of a row that writes all its index entries anew. Nothing is deleted later:
//! partitions are dropped (`partitions`).

use std::sync::LazyLock;

use forerunner_core::{
    LeaseEpoch, Payload, Task, TaskError, TaskId, Timestamp, Transition,
    transition::{AttemptEnd, Changes},
};
use forerunner_store::backend::{COLUMNS, Part, column_list, columns_of};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    attempts::with_attempt,
    failure::{Fault, Sql},
    rows::{Stored, clean, ended_columns, stored_or_damaged},
    tables::{PROGRESS, earliest_end, names},
    tx::Tx,
};

/// Moves tasks that end; returns their ids. `source` is a query for the tasks and their ends, called `s`; `these` are
/// the rows `t` of `live` that they are.
///
/// All parts of the statement see what was there before it, so what one part deletes another may read. Events are
/// touched only for the tasks that have some.
pub(crate) fn ending(source: &str, these: &str) -> String {
    let changed = column_list(columns_of(Part::Task).chain(columns_of(Part::Input)), |column| match column.name {
        "state" | "finished_at" | "error_kind" | "error" => format!("s.{}", column.name),
        "crashes" => "COALESCE(s.crashes, t.crashes) AS crashes".to_owned(),
        "started_at" => "COALESCE(t.started_at, s.started_at) AS started_at".to_owned(),
        "agent" => "COALESCE(s.agent, t.agent) AS agent".to_owned(),
        same => format!("t.{same}"),
    });
    let record = with_attempt!(
        "s.state",
        "s.finished_at",
        "s.error_kind",
        "s.error",
        "s.log",
        "COALESCE(s.agent, t.agent)",
        "COALESCE(t.started_at, s.started_at)"
    );
    let all = names(COLUMNS);
    format!(
        "WITH d AS (DELETE FROM live t USING {source} WHERE {these} RETURNING t.id, t.pool, t.due, {changed}, \
         s.output, t.label_pairs, t.cost, t.has_events, CASE WHEN s.state = 3 OR t.state <> 2 \
         OR COALESCE(t.started_at, s.started_at) IS NULL THEN t.attempts ELSE {record} END AS attempts, \
         CASE WHEN t.has_events THEN (SELECT jsonb_agg(jsonb_build_array(v.seq, v.at, v.kind, v.attempt, v.error_kind, \
         v.text) ORDER BY v.seq) FROM events v WHERE v.id = t.id AND v.kind < 8) END AS log), \
         v AS (DELETE FROM events v USING d WHERE d.has_events AND v.id = ANY (ARRAY[d.id]) AND v.kind < 8), \
         w AS (INSERT INTO tasks_with_events (finished_at, id) SELECT d.finished_at, d.id FROM d \
         WHERE d.has_events AND EXISTS (SELECT FROM events v WHERE v.id = d.id AND v.kind >= 8)) \
         INSERT INTO ended (id, pool, due, {all}, label_pairs, cost, attempts, log) \
         SELECT id, pool, due, {all}, label_pairs, cost, attempts, log FROM d RETURNING id"
    )
}

/// Ends attempts of tasks without a context, many at a time; returns which were still leased.
pub(crate) static FINISH: LazyLock<String> = LazyLock::new(|| {
    ending(
        "(SELECT s.*, NULL::int8 AS crashes FROM unnest($1::uuid[], $2::int8[], $3::int2[], $4::int8[], $5::text[], \
         $6::text[], $7::text[], $8::uuid[], $9::int8[], $10::text[]) \
         AS s (id, epoch, state, finished_at, error_kind, error, output, agent, started_at, log)) s",
        "t.id = ANY (ARRAY[s.id]) AND t.epoch = s.epoch AND t.state = 2 AND t.context IS NULL",
    )
});

static END: LazyLock<String> = LazyLock::new(|| {
    ending(
        "(SELECT $1::uuid AS id, $2::int2 AS state, $3::int8 AS finished_at, $4::text AS error_kind, \
         $5::text AS error, $6::text AS output, $7::int8 AS crashes, NULL::uuid AS agent, \
         NULL::int8 AS started_at, $10::text AS log) s",
        "t.id = s.id AND t.state = $8 AND t.epoch = COALESCE($9, t.epoch)",
    )
});

/// Returns the parts of a statement that move the tasks `h` from `ended` to `live`. `changed` gives the new value of a
/// column, where it has one.
pub(crate) fn recalling(due: &str, key: &str, changed: impl Fn(&str) -> Option<&'static str>) -> String {
    let kept = || columns_of(Part::Task).chain(columns_of(Part::Input));
    let (all, values) = (names(kept()), column_list(kept(), |c| changed(c.name).unwrap_or(c.name).to_owned()));
    format!(
        "t AS (INSERT INTO live (id, pool, due, queue_key, {all}, label_pairs, attempts, cost, has_events) \
         SELECT id, pool, {due}, {key}, {values}, label_pairs, attempts, cost, true FROM h), \
         e AS (INSERT INTO events (id, seq, at, kind, attempt, error_kind, text) \
         SELECT h.id, (e->>0)::int8, (e->>1)::int8, (e->>2)::int2, (e->>3)::int8, e->>4, e->>5 \
         FROM h, jsonb_array_elements(h.log) e), \
         s AS (DELETE FROM tasks_with_events s USING h WHERE s.finished_at = ANY (ARRAY[h.finished_at]) \
         AND s.id = ANY (ARRAY[h.id]))"
    )
}

/// Returns an ended task to `live`, without its output.
static RECALL: LazyLock<String> = LazyLock::new(|| {
    let parts = recalling("due", "NULL::bytea", |_| None);
    format!("WITH h AS (DELETE FROM ended WHERE id = $1 AND finished_at = $2 RETURNING *), {parts} SELECT id FROM h")
});

/// Deletes ended tasks one by one, the oldest ends first, from whichever of its tables is named.
macro_rules! purging {
    ($table:literal) => {
        concat!(
            "WITH e AS MATERIALIZED (SELECT id, finished_at, pool, key FROM ",
            $table,
            " WHERE finished_at < $1 ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
             k AS (DELETE FROM idempotency_keys USING e WHERE idempotency_keys.pool = e.pool AND idempotency_keys.key = e.key AND idempotency_keys.id = e.id), \
             v AS (DELETE FROM events USING e WHERE events.id = e.id) \
             DELETE FROM ",
            $table,
            " h USING e WHERE h.id = e.id AND h.finished_at = e.finished_at RETURNING h.id"
        )
    };
}

const PURGE: &str = purging!("ended");
pub(crate) const PURGE_REST: &str = purging!("ended_rest");

/// Which row ends that is not written along with others.
pub(crate) struct End<'a> {
    pub id: Uuid,
    /// The epoch of its lease, if it has one.
    pub epoch: Option<LeaseEpoch>,
    /// What core decided.
    pub transition: &'a Transition,
}

impl Tx<'_> {
    /// Ends a task, unless it is not as it was read: [`Fault::Conflict`].
    pub async fn end(&self, end: &End<'_>) -> Sql<()> {
        let Transition { from, to, changes, attempt, .. } = end.transition;
        let Changes { crashes, finished_at, output, error, .. } = changes;
        let (from, to, epoch) = (*from as i16, *to as i16, end.epoch.map(|epoch| epoch.0 as i64));
        let (at, crashes) = (finished_at.value().map(|at| at.as_micros()), crashes.map(i64::from));
        let (kind, message) = error_columns(error.value());
        let output = output.value().map(Payload::as_str);
        let log = log_of(attempt.as_ref());
        let params = [
            (&end.id as &(dyn ToSql + Sync), Type::UUID),
            (&to, Type::INT2),
            (&at, Type::INT8),
            (&kind, Type::TEXT),
            (&message, Type::TEXT),
            (&output, Type::TEXT),
            (&crashes, Type::INT8),
            (&from, Type::INT2),
            (&epoch, Type::INT8),
            (&log, Type::TEXT),
        ];
        if self.run(&END, &params).await? == 0 { Err(Fault::Conflict) } else { Ok(()) }
    }

    /// Reads an ended task.
    pub async fn find_ended(&self, task: TaskId) -> Sql<Option<Stored>> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!("SELECT {} FROM ended t WHERE t.id = $1 AND t.finished_at >= $2", ended_columns())
        });
        let earliest = earliest_end(*task.as_uuid());
        let rows = self.query(&SQL, &[(task.as_uuid(), Type::UUID), (&earliest, Type::INT8)]).await?;
        rows.first().map(stored_or_damaged).transpose()
    }

    /// Returns an ended task to the unfinished ones, unless it is there already. [`Fault::Conflict`] when it was
    /// removed meanwhile.
    pub async fn recall(&self, task: &Task) -> Sql<()> {
        let Some(finished_at) = task.finished_at.map(Timestamp::as_micros) else { return Ok(()) };
        let params = [(task.id.as_uuid() as &(dyn ToSql + Sync), Type::UUID), (&finished_at, Type::INT8)];
        if self.run(&RECALL, &params).await? > 0 {
            return Ok(());
        }
        let sql = "SELECT 1 FROM live WHERE id = $1";
        if self.query(sql, &params[..1]).await?.is_empty() { Err(Fault::Conflict) } else { Ok(()) }
    }

    pub async fn purge(&self, before: Timestamp, limit: usize) -> Sql<usize> {
        let (before, limit) = (before.as_micros(), i64::try_from(limit).unwrap_or(i64::MAX));
        self.run(PURGE, &[(&before, Type::INT8), (&limit, Type::INT8)]).await
    }

    pub async fn prune_events(&self, before: Timestamp, limit: usize) -> Sql<()> {
        let sql = "WITH s AS MATERIALIZED (SELECT finished_at, id FROM tasks_with_events WHERE finished_at < $1 \
                   ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
                   d AS (DELETE FROM tasks_with_events w USING s WHERE w.finished_at = s.finished_at AND w.id = s.id) \
                   DELETE FROM events v USING s WHERE v.id = ANY (ARRAY[s.id]) AND v.kind >= $3 RETURNING v.id";
        let (before, limit) = (before.as_micros(), i64::try_from(limit).unwrap_or(i64::MAX));
        let params = [(&before as &(dyn ToSql + Sync), Type::INT8), (&limit, Type::INT8), (&PROGRESS, Type::INT2)];
        self.run(sql, &params).await.map(drop)
    }
}

/// The columns of an error: kind and message.
pub(crate) fn error_columns(error: Option<&TaskError>) -> (Option<&'static str>, Option<String>) {
    (error.map(|error| error.kind.as_str()), error.map(|error| clean(&error.message)))
}

/// The last lines of the agent of an attempt that is to be recorded.
pub(crate) fn log_of(attempt: Option<&AttemptEnd>) -> Option<String> {
    attempt.and_then(|end| end.error.as_ref()?.log.as_deref().map(clean))
}
