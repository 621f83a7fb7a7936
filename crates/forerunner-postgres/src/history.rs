//! Tasks that have ended: moved out of the tables that change, into the partition of the time of their end.
//!
//! A task that ends moves from `tasks` and `inputs` to one row of `history`. That costs no more than a change of its
//! row, which writes all its index entries anew. Nothing is deleted later: partitions are dropped (`partitions`).

use std::sync::LazyLock;

use forerunner_core::{
    LeaseEpoch, Payload, Task, TaskError, TaskId, Timestamp, Transition,
    transition::{AttemptEnd, Changes},
};
use forerunner_store::backend::{COLUMNS, Column, Part, column_list, columns_of};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    attempts::with_attempt,
    failure::{Fault, Sql},
    rows::{Stored, clean, ended_columns, stored_or_damaged},
    tables::{PROGRESS, earliest_end},
    tx::Tx,
};

/// Where a statement that ends tasks gets them from.
pub(crate) struct Ending {
    /// A query for the tasks and their ends, called `s`.
    pub source: &'static str,
    /// Which rows `t` of `tasks` they are.
    pub these: &'static str,
    /// Whether the tasks may have costs of their contexts in `context_costs`.
    pub has_cost: bool,
}

/// Moves ended tasks into the history; returns their ids.
///
/// All parts of the statement see what was there before it, so what one part deletes another may read.
pub(crate) fn ending(ending: &Ending) -> String {
    let Ending { source, these, has_cost } = ending;
    let changed = column_list(columns_of(Part::Task), |column| match column.name {
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
    let inputs = column_list(columns_of(Part::Input), |column| format!("i.{}", column.name));
    let all = names(COLUMNS);
    let (cost, forget_cost) = match has_cost {
        true => (
            "(SELECT c.cost FROM context_costs c WHERE c.task = i.task)",
            "c AS (DELETE FROM context_costs c USING d WHERE c.task = ANY (ARRAY[d.task])), ",
        ),
        false => ("NULL", ""),
    };
    format!(
        "WITH s AS MATERIALIZED ({source}), \
         d AS (DELETE FROM tasks t USING s WHERE {these} RETURNING t.task, t.id, t.pool, t.due, {changed}, s.output, \
         CASE WHEN s.state = 3 OR t.state::int4 <> 2 OR COALESCE(t.started_at, s.started_at) IS NULL THEN t.attempts \
         ELSE {record} END AS attempts), \
         i AS (DELETE FROM inputs i USING d WHERE i.task = ANY (ARRAY[d.task]) RETURNING d.*, {inputs}, i.label_pairs), \
         h AS (INSERT INTO history (task, id, pool, due, {all}, label_pairs, attempts, cost, log) \
         SELECT task, id, pool, due, {all}, label_pairs, attempts, {cost}, \
         (SELECT jsonb_agg(jsonb_build_array(v.seq, v.at, v.kind, v.attempt, v.error_kind, v.text) ORDER BY v.seq) \
         FROM events v WHERE v.task = i.task AND v.kind < 8) FROM i), \
         {forget_cost}\
         v AS (DELETE FROM events v USING d WHERE v.task = ANY (ARRAY[d.task]) AND v.kind < 8), \
         w AS (INSERT INTO tasks_with_events (finished_at, task) SELECT d.finished_at, d.task FROM d \
         WHERE EXISTS (SELECT FROM events v WHERE v.task = d.task AND v.kind >= 8)) \
         SELECT id FROM d"
    )
}

/// Ends attempts of tasks without a context, many at a time; answers which were still leased.
///
/// Rows are found in the order of ids, which one index alone has: any other index with the id would do for a plan that
/// expects an empty table (`link`). The state is cast so that no partial index of running tasks serves: each of them
/// would be compared with each end.
pub(crate) static FINISH: LazyLock<String> = LazyLock::new(|| {
    ending(&Ending {
        source: "SELECT s.*, NULL::int8 AS crashes, t.task FROM unnest($1::uuid[], $2::int8[], $3::int2[], $4::int8[], \
                 $5::text[], $6::text[], $7::text[], $8::uuid[], $9::int8[], $10::text[]) \
                 AS s (id, epoch, state, finished_at, error_kind, error, output, agent, started_at, log), \
                 LATERAL (SELECT task FROM tasks WHERE id BETWEEN s.id AND s.id ORDER BY id LIMIT 1) t",
        these: "t.task = ANY (ARRAY[s.task]) AND t.epoch = s.epoch AND t.state::int4 = 2 AND t.context IS NULL",
        has_cost: false,
    })
});

static END: LazyLock<String> = LazyLock::new(|| {
    ending(&Ending {
        source: "SELECT $1::int8 AS task, $2::int2 AS state, $3::int8 AS finished_at, $4::text AS error_kind, \
                 $5::text AS error, $6::text AS output, $7::int8 AS crashes, NULL::uuid AS agent, \
                 NULL::int8 AS started_at, $10::text AS log",
        these: "t.task = ANY (ARRAY[s.task]) AND t.state::int4 = $8 AND t.epoch = COALESCE($9, t.epoch)",
        has_cost: true,
    })
});

/// Returns the parts of a statement that write the tasks `h`, taken out of the history, to the tables of unfinished ones.
/// `changed` gives the new value of a column of `tasks`, where it has one.
pub(crate) fn recalling(due: &str, changed: impl Fn(&str) -> Option<&'static str>) -> String {
    let (narrow, wide) = (names(columns_of(Part::Task)), names(columns_of(Part::Input)));
    let values = column_list(columns_of(Part::Task), |column| changed(column.name).unwrap_or(column.name).to_owned());
    format!(
        "t AS (INSERT INTO tasks (task, id, pool, due, {narrow}, attempts) \
         SELECT task, id, pool, {due}, {values}, attempts FROM h), \
         i AS (INSERT INTO inputs (task, {wide}, label_pairs) SELECT task, {wide}, label_pairs FROM h), \
         c AS (INSERT INTO context_costs (task, cost) SELECT task, cost FROM h WHERE cost IS NOT NULL), \
         e AS (INSERT INTO events (task, seq, at, kind, attempt, error_kind, text) \
         SELECT h.task, (e->>0)::int8, (e->>1)::int8, (e->>2)::int2, (e->>3)::int8, e->>4, e->>5 \
         FROM h, jsonb_array_elements(h.log) e), \
         s AS (DELETE FROM tasks_with_events s USING h WHERE s.finished_at = ANY (ARRAY[h.finished_at]) \
         AND s.task = ANY (ARRAY[h.task]))"
    )
}

/// Returns an ended task to the tables of unfinished ones, without its output.
static RECALL: LazyLock<String> = LazyLock::new(|| {
    let parts = recalling("due", |_| None);
    format!(
        "WITH h AS (DELETE FROM history WHERE id = $1 AND finished_at = $2 RETURNING *), {parts} SELECT task FROM h"
    )
});

/// The names of columns, with commas between.
pub(crate) fn names(columns: impl IntoIterator<Item = &'static Column>) -> String {
    column_list(columns, |column| column.name.to_owned())
}

/// Deletes what ended under an earlier version of the schema, the oldest ends first.
pub(crate) const PURGE_OLD: &str = "\
WITH e AS MATERIALIZED (
    SELECT task FROM tasks WHERE finished_at IS NOT NULL AND finished_at < $1
    ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED
), i AS (
    DELETE FROM inputs USING e WHERE inputs.task = e.task RETURNING inputs.key, e.task
), k AS (
    DELETE FROM idempotency_keys USING i JOIN tasks t ON t.task = i.task WHERE idempotency_keys.pool = t.pool AND idempotency_keys.key = i.key
), o AS (
    DELETE FROM outputs USING e WHERE outputs.task = e.task
), v AS (
    DELETE FROM events USING e WHERE events.task = e.task
), c AS (
    DELETE FROM context_costs USING e WHERE context_costs.task = e.task
)
DELETE FROM tasks USING e WHERE tasks.task = e.task RETURNING tasks.task";

/// Deletes tasks of the history one by one, the oldest ends first, from whichever of its tables is named.
macro_rules! purging {
    ($table:literal) => {
        concat!(
            "WITH e AS MATERIALIZED (SELECT id, finished_at, pool, key, task FROM ",
            $table,
            " WHERE finished_at < $1 ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
             k AS (DELETE FROM idempotency_keys USING e WHERE idempotency_keys.pool = e.pool AND idempotency_keys.key = e.key AND idempotency_keys.id = e.id), \
             v AS (DELETE FROM events USING e WHERE events.task = e.task) \
             DELETE FROM ",
            $table,
            " h USING e WHERE h.id = e.id AND h.finished_at = e.finished_at RETURNING h.task"
        )
    };
}

const PURGE: &str = purging!("history");
pub(crate) const PURGE_REST: &str = purging!("history_rest");

/// Which row ends that is not written along with others.
pub(crate) struct End<'a> {
    /// Its row, and the epoch of its lease if it has one.
    pub row: i64,
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
            (&end.row as &(dyn ToSql + Sync), Type::INT8),
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
            format!("SELECT {} FROM history t WHERE t.id = $1 AND t.finished_at >= $2", ended_columns())
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
        let sql = "SELECT 1 FROM tasks WHERE id = $1";
        if self.query(sql, &params[..1]).await?.is_empty() { Err(Fault::Conflict) } else { Ok(()) }
    }

    pub async fn purge(&self, before: Timestamp, limit: usize) -> Sql<usize> {
        let (before, mut left) = (before.as_micros(), i64::try_from(limit).unwrap_or(i64::MAX));
        let mut removed = 0;
        for sql in [PURGE_OLD, PURGE] {
            let some = self.run(sql, &[(&before, Type::INT8), (&left, Type::INT8)]).await?;
            removed += some;
            left = left.saturating_sub(i64::try_from(some).unwrap_or(i64::MAX));
        }
        Ok(removed)
    }

    pub async fn prune_events(&self, before: Timestamp, limit: usize) -> Sql<()> {
        let sql = "WITH s AS MATERIALIZED (SELECT finished_at, task FROM tasks_with_events WHERE finished_at < $1 \
                   ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
                   d AS (DELETE FROM tasks_with_events USING s WHERE tasks_with_events.finished_at = s.finished_at AND tasks_with_events.task = s.task) \
                   DELETE FROM events v USING s WHERE v.task = s.task AND v.kind >= $3 RETURNING v.task";
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
