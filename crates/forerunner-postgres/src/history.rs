//! Tasks that have ended: moved out of the tables that change, into the partition of the time of their end.
//!
//! A task that ends moves from `tasks` and `inputs` to one row of `history`. That costs no more than a change of its
//! row, which writes all its index entries anew. Nothing is deleted later: partitions are dropped (`partitions`).

use forerunner_core::{Task, TaskError, TaskId, TaskState, Timestamp};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    attempts::with_attempt,
    failure::{Fault, Sql},
    rows::{Stored, clean, stored_or_damaged},
    tables::{PROGRESS, earliest_end},
    tx::Tx,
};

/// The columns of `task_columns!`, in its order, for `history t`, and the cost of its context.
macro_rules! ended_columns {
    () => {
        "t.task, t.id, t.pool, t.state, t.context, t.priority, t.due, t.run_at, t.deadline, t.attempt, t.crashes, \
         t.epoch, t.started_at, t.finished_at, t.agent, t.node, t.error_kind, t.error, t.submitted_at, t.timeout, \
         t.max_attempts, t.max_crashes, t.backoff_initial, t.backoff_max, t.input, t.labels, t.key, \
         NULL::int8 AS stop_epoch, t.output, t.parent, t.depth, t.cost"
    };
}
pub(crate) use ended_columns;

/// Moves ended tasks into the history. `s` has the tasks and their ends; returns their ids. The last two arguments name
/// the source of their contexts' costs, and remove it.
///
/// All parts of the statement see what was there before it, so what one part deletes another may read.
macro_rules! ending {
    ($source:literal, $these:literal, $cost:literal, $forget_cost:literal) => {
        concat!(
            "WITH s AS MATERIALIZED (",
            $source,
            "), d AS (DELETE FROM tasks t USING s WHERE ",
            $these,
            " RETURNING t.task, t.id, t.pool, s.state, t.context, t.priority, t.due, t.run_at, t.deadline, t.attempt, \
             COALESCE(s.crashes, t.crashes) AS crashes, t.epoch, t.parent, t.depth, COALESCE(t.started_at, s.started_at) AS started_at, \
             s.finished_at, COALESCE(s.agent, t.agent) AS agent, t.node, s.error_kind, s.error, s.output, \
             CASE WHEN s.state = 3 OR t.state::int4 <> 2 OR COALESCE(t.started_at, s.started_at) IS NULL THEN t.attempts ELSE ",
            with_attempt!(
                "s.state",
                "s.finished_at",
                "s.error_kind",
                "s.error",
                "s.log",
                "COALESCE(s.agent, t.agent)",
                "COALESCE(t.started_at, s.started_at)"
            ),
            " END AS attempts), \
             i AS (DELETE FROM inputs i USING d WHERE i.task = ANY (ARRAY[d.task]) RETURNING d.*, i.submitted_at, i.timeout, \
             i.max_attempts, i.max_crashes, i.backoff_initial, i.backoff_max, i.input, i.labels, i.label_pairs, i.key), \
             h AS (INSERT INTO history (task, id, pool, state, context, priority, due, run_at, deadline, attempt, crashes, \
             epoch, started_at, finished_at, agent, node, error_kind, error, submitted_at, timeout, max_attempts, \
             max_crashes, backoff_initial, backoff_max, input, labels, label_pairs, key, output, attempts, parent, depth, cost, log) \
             SELECT task, id, pool, state, context, priority, due, run_at, deadline, attempt, crashes, epoch, started_at, \
             finished_at, agent, node, error_kind, error, submitted_at, timeout, max_attempts, max_crashes, \
             backoff_initial, backoff_max, input, labels, label_pairs, key, output, attempts, parent, depth, ",
            $cost,
            ", (SELECT jsonb_agg(jsonb_build_array(v.seq, v.at, v.kind, v.attempt, v.error_kind, v.text) ORDER BY v.seq) \
             FROM events v WHERE v.task = i.task AND v.kind < 8) FROM i), ",
            $forget_cost,
            "v AS (DELETE FROM events v USING d WHERE v.task = ANY (ARRAY[d.task]) AND v.kind < 8), \
             w AS (INSERT INTO spoken (finished_at, task) SELECT d.finished_at, d.task FROM d \
             WHERE EXISTS (SELECT FROM events v WHERE v.task = d.task AND v.kind >= 8)) \
             SELECT id FROM d"
        )
    };
}
pub(crate) use ending;

/// Ends attempts of tasks without a context, many at a time; answers which were still leased.
///
/// Rows are found in the order of ids, which one index alone has: any other index with the id would do for a plan that
/// expects an empty table (`link`). The state is cast so that no partial index of running tasks serves: each of them
/// would be compared with each end.
pub(crate) const FINISH: &str = ending!(
    "SELECT s.*, NULL::int8 AS crashes, t.task FROM unnest($1::uuid[], $2::int8[], $3::int2[], $4::int8[], $5::text[], $6::text[], \
     $7::text[], $8::uuid[], $9::int8[], $10::text[]) AS s (id, epoch, state, finished_at, error_kind, error, output, agent, \
     started_at, log), \
     LATERAL (SELECT task FROM tasks WHERE id BETWEEN s.id AND s.id ORDER BY id LIMIT 1) t",
    "t.task = ANY (ARRAY[s.task]) AND t.epoch = s.epoch AND t.state::int4 = 2 AND t.context IS NULL",
    "NULL",
    ""
);

const END: &str = ending!(
    "SELECT $1::int8 AS task, $2::int2 AS state, $3::int8 AS finished_at, $4::text AS error_kind, $5::text AS error, \
     $6::text AS output, $7::int8 AS crashes, NULL::uuid AS agent, NULL::int8 AS started_at, $10::text AS log",
    "t.task = ANY (ARRAY[s.task]) AND t.state::int4 = $8 AND t.epoch = COALESCE($9, t.epoch)",
    "(SELECT c.cost FROM context_costs c WHERE c.task = i.task)",
    "c AS (DELETE FROM context_costs c USING d WHERE c.task = ANY (ARRAY[d.task])), "
);

/// Returns an ended task to the tables of unfinished ones, without its output.
const RECALL: &str = "\
WITH h AS (
    DELETE FROM history WHERE id = $1 AND finished_at = $2 RETURNING *
), t AS (
    INSERT INTO tasks (task, id, pool, state, context, priority, due, run_at, deadline, attempt, crashes, epoch,
        started_at, finished_at, agent, node, error_kind, error, attempts, parent, depth)
    SELECT task, id, pool, state, context, priority, due, run_at, deadline, attempt, crashes, epoch, started_at,
        finished_at, agent, node, error_kind, error, attempts, parent, depth FROM h
), i AS (
    INSERT INTO inputs (task, submitted_at, timeout, max_attempts, max_crashes, backoff_initial, backoff_max, input,
        labels, label_pairs, key)
    SELECT task, submitted_at, timeout, max_attempts, max_crashes, backoff_initial, backoff_max, input, labels,
        label_pairs, key FROM h
), c AS (
    INSERT INTO context_costs (task, cost) SELECT task, cost FROM h WHERE cost IS NOT NULL
), e AS (
    INSERT INTO events (task, seq, at, kind, attempt, error_kind, text)
    SELECT h.task, (e->>0)::int8, (e->>1)::int8, (e->>2)::int2, (e->>3)::int8, e->>4, e->>5
    FROM h, jsonb_array_elements(h.log) e
), s AS (
    DELETE FROM spoken USING h WHERE spoken.finished_at = h.finished_at AND spoken.task = h.task
)
SELECT task FROM h";

/// Deletes what ended under an earlier version of the schema, the oldest ends first.
pub(crate) const PURGE_OLD: &str = "\
WITH e AS MATERIALIZED (
    SELECT task FROM tasks WHERE finished_at IS NOT NULL AND finished_at < $1
    ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED
), i AS (
    DELETE FROM inputs USING e WHERE inputs.task = e.task RETURNING inputs.key, e.task
), k AS (
    DELETE FROM keys USING i JOIN tasks t ON t.task = i.task WHERE keys.pool = t.pool AND keys.key = i.key
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
             k AS (DELETE FROM keys USING e WHERE keys.pool = e.pool AND keys.key = e.key AND keys.id = e.id), \
             v AS (DELETE FROM events USING e WHERE events.task = e.task) \
             DELETE FROM ",
            $table,
            " h USING e WHERE h.id = e.id AND h.finished_at = e.finished_at RETURNING h.task"
        )
    };
}

const PURGE: &str = purging!("history");
pub(crate) const PURGE_REST: &str = purging!("history_rest");

/// How a task ends that is not written along with others.
pub(crate) struct End<'a> {
    /// Its row, the state that it must be in, and under which lease if under any.
    pub row: i64,
    pub from: TaskState,
    pub epoch: Option<i64>,
    /// What it ends in and when.
    pub to: TaskState,
    pub at: Timestamp,
    pub error: Option<&'a TaskError>,
    pub output: Option<&'a str>,
    /// Its crashes, if they have changed.
    pub crashes: Option<i64>,
}

impl Tx<'_> {
    /// Ends a task, unless it is not as it was read: [`Fault::Conflict`].
    pub async fn end(&self, end: &End<'_>) -> Sql<()> {
        let (to, at, from) = (end.to as i16, end.at.as_micros(), end.from as i16);
        let (kind, message) =
            (end.error.map(|error| error.kind.as_str()), end.error.map(|error| clean(&error.message)));
        let log = end.error.and_then(|error| error.log.as_deref().map(clean));
        let params = [
            (&end.row as &(dyn ToSql + Sync), Type::INT8),
            (&to, Type::INT2),
            (&at, Type::INT8),
            (&kind, Type::TEXT),
            (&message, Type::TEXT),
            (&end.output, Type::TEXT),
            (&end.crashes, Type::INT8),
            (&from, Type::INT2),
            (&end.epoch, Type::INT8),
            (&log, Type::TEXT),
        ];
        if self.run(END, &params).await? == 0 { Err(Fault::Conflict) } else { Ok(()) }
    }

    /// Reads an ended task, with the cost of its context.
    pub async fn find_ended(&self, task: TaskId) -> Sql<Option<Stored>> {
        const SQL: &str =
            concat!("SELECT ", ended_columns!(), " FROM history t WHERE t.id = $1 AND t.finished_at >= $2");
        let earliest = earliest_end(*task.as_uuid());
        let rows = self.query(SQL, &[(task.as_uuid(), Type::UUID), (&earliest, Type::INT8)]).await?;
        rows.first().map(stored_or_damaged).transpose()
    }

    /// Returns an ended task to the unfinished ones, unless it is there already. [`Fault::Conflict`] when it was
    /// removed meanwhile.
    pub async fn recall(&self, task: &Task) -> Sql<()> {
        let Some(finished_at) = task.finished_at.map(Timestamp::as_micros) else { return Ok(()) };
        let params = [(task.id.as_uuid() as &(dyn ToSql + Sync), Type::UUID), (&finished_at, Type::INT8)];
        if self.run(RECALL, &params).await? > 0 {
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
        let sql = "WITH s AS MATERIALIZED (SELECT finished_at, task FROM spoken WHERE finished_at < $1 \
                   ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED), \
                   d AS (DELETE FROM spoken USING s WHERE spoken.finished_at = s.finished_at AND spoken.task = s.task) \
                   DELETE FROM events v USING s WHERE v.task = s.task AND v.kind >= $3 RETURNING v.task";
        let (before, limit) = (before.as_micros(), i64::try_from(limit).unwrap_or(i64::MAX));
        let params = [(&before as &(dyn ToSql + Sync), Type::INT8), (&limit, Type::INT8), (&PROGRESS, Type::INT2)];
        self.run(sql, &params).await.map(drop)
    }
}
