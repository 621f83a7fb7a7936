//! One operation on many tasks: a handful of statements for all of them, whatever their number.
//!
//! Locks are acquired in the order of the module `tx`: the queues of all contexts, then ready rows, then task rows.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::LazyLock,
};

use forerunner_core::{ContextId, LeaseEpoch, PoolName, TaskId, TaskState, Timestamp, transition};
use forerunner_store::{BulkAction, BulkOutcome, BulkRefusal, PoolOutcome};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::{
    affinity::Which,
    events::{Redriven, error},
    failure::{Fault, Sql},
    history::{Ending, ending, recalling},
    rows::{QueueKey, context, get, optional_time, pool, state, time},
    tables::earliest_end,
    tx::{Param, Tx},
};

/// Ends tasks that wait, unless their state is another one than that given; answers their ids.
static CANCEL_MANY: LazyLock<String> = LazyLock::new(|| {
    ending(&Ending {
        source: "SELECT s.task, s.was, $3::int2 AS state, $4::int8 AS finished_at, $5::text AS error_kind, \
                 $6::text AS error, NULL::text AS output, NULL::int8 AS crashes, NULL::uuid AS agent, \
                 NULL::int8 AS started_at, NULL::text AS log FROM unnest($1::int8[], $2::int2[]) AS s (task, was)",
        these: "t.task = ANY (ARRAY[s.task]) AND t.state::int4 = s.was",
        has_cost: true,
    })
});

/// Returns ended tasks in some states to their queues with fresh attempts; returns their earlier rows.
static RETRY_MANY: LazyLock<String> = LazyLock::new(|| {
    let parts = recalling("place", |column| match column {
        "state" => Some("1"),
        "run_at" => Some("$4"),
        "deadline" => Some("kept_deadline"),
        "attempt" | "crashes" => Some("0"),
        "started_at" | "finished_at" | "agent" | "node" | "error_kind" | "error" | "requests" | "report" => {
            Some("NULL")
        }
        _ => None,
    });
    format!(
        "WITH h AS (DELETE FROM history WHERE id = ANY ($1) AND finished_at >= $2 AND state = ANY ($3) RETURNING *, \
         greatest($4::int8, CASE WHEN context IS NOT NULL THEN (SELECT l.due FROM context_queue l WHERE l.pool = history.pool \
         AND l.context = history.context AND l.rank <= 1 ORDER BY l.rank DESC, l.due DESC LIMIT 1) END) AS place, \
         CASE WHEN deadline > $4 THEN deadline END AS kept_deadline), {parts}, \
         l AS (INSERT INTO context_queue (pool, context, rank, due, task) \
         SELECT pool, context, 1, place, task FROM h WHERE context IS NOT NULL), \
         r AS (INSERT INTO ready (pool, urgency, due, task, deadline) \
         SELECT pool, 9 - priority, place, task, kept_deadline FROM h WHERE context IS NULL) \
         SELECT id, pool, task, priority, place, kept_deadline, state, context, octet_length(input)::int8, epoch, \
         attempt, submitted_at, due, started_at, finished_at, error_kind, error FROM h"
    )
});

/// Removes tasks from the history, with all their data; returns their ids and pools.
const DELETE_MANY: &str = "\
WITH h AS (
    DELETE FROM history WHERE id = ANY ($1) AND finished_at >= $2 RETURNING id, pool, key, task, finished_at
), k AS (
    DELETE FROM idempotency_keys k USING h WHERE k.pool = ANY (ARRAY[h.pool]) AND k.key = ANY (ARRAY[h.key]) AND k.id = h.id
), v AS (
    DELETE FROM events v USING h WHERE v.task = ANY (ARRAY[h.task])
), s AS (
    DELETE FROM tasks_with_events s USING h WHERE s.finished_at = ANY (ARRAY[h.finished_at]) AND s.task = ANY (ARRAY[h.task])
)
SELECT id, pool FROM h";

/// The same for those that ended under an earlier version of the schema.
const DELETE_OLD: &str = "\
WITH t AS (
    DELETE FROM tasks WHERE id = ANY ($1) AND state > 2 RETURNING id, pool, task
), i AS (
    DELETE FROM inputs i USING t WHERE i.task = ANY (ARRAY[t.task]) RETURNING i.key, t.pool, t.id
), k AS (
    DELETE FROM idempotency_keys k USING i WHERE k.pool = ANY (ARRAY[i.pool]) AND k.key = ANY (ARRAY[i.key]) AND k.id = i.id
), o AS (
    DELETE FROM outputs o USING t WHERE o.task = ANY (ARRAY[t.task])
), v AS (
    DELETE FROM events v USING t WHERE v.task = ANY (ARRAY[t.task])
), c AS (
    DELETE FROM context_costs c USING t WHERE c.task = ANY (ARRAY[t.task])
)
SELECT id, pool FROM t";

/// How often tasks are read again that others changed meanwhile.
const PASSES: usize = 3;

/// A task as far as an operation on many needs to know it.
pub(crate) struct Brief {
    pub id: TaskId,
    pub spot: QueueKey,
    pub state: TaskState,
    pub context: Option<ContextId>,
    /// Bytes of its input.
    pub input_bytes: u64,
}

/// The line of a context.
type Line = (PoolName, ContextId);

impl Tx<'_> {
    pub async fn bulk(&self, action: &BulkAction, tasks: &[TaskId], now: Timestamp) -> Sql<BulkOutcome> {
        let mut seen = HashSet::with_capacity(tasks.len());
        let mut open: Vec<TaskId> = tasks.iter().copied().filter(|task| seen.insert(*task)).collect();
        let mut outcome = BulkOutcome::default();
        for _ in 0..PASSES {
            if open.is_empty() {
                return Ok(outcome);
            }
            open = match action {
                BulkAction::Cancel => self.cancel_many(open, now, &mut outcome).await?,
                BulkAction::Retry => self.retry_many(open, now, &mut outcome).await?,
                BulkAction::Delete => self.delete_many(open, &mut outcome).await?,
                BulkAction::Move { to, dry_run } => self.move_many(open, to, *dry_run, &mut outcome).await?,
            };
        }
        if open.is_empty() { Ok(outcome) } else { Err(Fault::Conflict) }
    }

    /// Cancels tasks; answers those that others changed meanwhile.
    async fn cancel_many(&self, tasks: Vec<TaskId>, now: Timestamp, outcome: &mut BulkOutcome) -> Sql<Vec<TaskId>> {
        let mut unfinished = self.unfinished(&tasks).await?;
        let lines = lines_of(&unfinished);
        if !lines.is_empty() {
            self.lock_lines(&lines).await?;
            unfinished = self.unfinished(&tasks).await?;
        }
        let known: HashSet<_> = unfinished.iter().map(|task| task.id).collect();
        self.sort_out(tasks.iter().copied().filter(|task| !known.contains(task)).collect(), outcome).await?;
        let (running, waiting): (Vec<_>, Vec<_>) =
            unfinished.into_iter().filter(|task| !refuse(&BulkAction::Cancel, task, outcome)).partition(is_running);
        let mut open = self.stop_many(&running, outcome).await?;
        let before = self.heads(&lines).await?;
        let ready = self.unready_many(&waiting.iter().map(|task| &task.spot).collect::<Vec<_>>()).await?;
        for spot in waiting.iter().filter(|task| ready.contains(&task.spot.row)) {
            outcome.pool(&spot.spot.pool).claimable -= 1;
        }
        let is_free =
            |task: &&Brief| task.context.is_some() || task.state != TaskState::Queued || ready.contains(&task.spot.row);
        let ended = self.end_many(&waiting.iter().filter(is_free).collect::<Vec<_>>(), now).await?;
        if waiting.iter().any(|task| ready.contains(&task.spot.row) && !ended.contains(&task.spot.row)) {
            return Err(Fault::Conflict);
        }
        let (done, missed): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|task| ended.contains(&task.spot.row));
        self.leave_lines(&done).await?;
        self.advance_many(&lines, &before, outcome).await?;
        for task in done {
            self.tell_end(task.id);
            task.note_done(outcome.pool(&task.spot.pool));
        }
        open.extend(missed.into_iter().map(|task| task.id));
        Ok(open)
    }

    /// Sends tasks back to their queues; answers those that others changed meanwhile.
    async fn retry_many(&self, tasks: Vec<TaskId>, now: Timestamp, outcome: &mut BulkOutcome) -> Sql<Vec<TaskId>> {
        let ended = self.ended(&tasks).await?;
        let lines = lines_of(&ended);
        self.lock_lines(&lines).await?;
        let before = self.heads(&lines).await?;
        let ids: Vec<_> =
            ended.iter().filter(|task| BulkAction::Retry.applies_to(task.state)).map(|task| task.id).collect();
        let back = self.recall_many(&ids, now).await?;
        let known: HashSet<TaskId> = back.iter().map(|task| task.id).collect();
        for task in &back {
            let changed = outcome.pool(&task.spot.pool);
            task.note_done(changed);
            changed.claimable += i64::from(task.context.is_none());
            self.node.cursors.put(&task.spot.pool, task.spot.urgency(), task.spot.place());
        }
        self.advance_many(&lines, &before, outcome).await?;
        let mut left: Vec<TaskId> = tasks.into_iter().filter(|task| !known.contains(task)).collect();
        left.retain(|task| !ids.contains(task));
        self.retry_old(&mut left, now, outcome).await?;
        self.sort_out(left, outcome).await?;
        Ok(ids.into_iter().filter(|task| !known.contains(task)).collect())
    }

    /// Sends tasks back that ended under an earlier version of the schema, one by one.
    async fn retry_old(&self, tasks: &mut Vec<TaskId>, now: Timestamp, outcome: &mut BulkOutcome) -> Sql<()> {
        for task in self.unfinished(tasks).await?.into_iter().filter(|task| BulkAction::Retry.applies_to(task.state)) {
            let gained = self.gained();
            if self.retry(task.id, now).await?.is_ok() {
                let changed = outcome.pool(&task.spot.pool);
                task.note_done(changed);
                changed.claimable += self.gained() - gained;
                tasks.retain(|left| *left != task.id);
            }
        }
        Ok(())
    }

    /// Removes tasks that have ended; answers those that others changed meanwhile: none.
    async fn delete_many(&self, mut tasks: Vec<TaskId>, outcome: &mut BulkOutcome) -> Sql<Vec<TaskId>> {
        for sql in [DELETE_MANY, DELETE_OLD] {
            let (ids, earliest) = (uuids(&tasks), earliest(&tasks));
            let mut params = vec![(&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY)];
            if sql == DELETE_MANY {
                params.push((&earliest, Type::INT8));
            }
            let mut removed = HashSet::new();
            for row in &self.query(sql, &params).await? {
                let task = TaskId::from_uuid(get(row, 0)?);
                outcome.pool(&pool(row, 1)?).done.push(task);
                removed.insert(task);
            }
            tasks.retain(|task| !removed.contains(task));
        }
        self.sort_out(tasks, outcome).await?;
        Ok(Vec::new())
    }

    /// Records tasks that were not changed: where they are, or that they do not exist.
    pub(crate) async fn sort_out(&self, tasks: Vec<TaskId>, outcome: &mut BulkOutcome) -> Sql<()> {
        if tasks.is_empty() {
            return Ok(());
        }
        let sql = "SELECT id, state FROM tasks WHERE id = ANY($1) UNION ALL \
                   SELECT id, state FROM history WHERE id = ANY($1) AND finished_at >= $2";
        let (ids, earliest) = (uuids(&tasks), earliest(&tasks));
        let rows = self.query(sql, &[(&ids, Type::UUID_ARRAY), (&earliest, Type::INT8)]).await?;
        let mut states = HashMap::with_capacity(rows.len());
        for row in &rows {
            states.insert(TaskId::from_uuid(get(row, 0)?), state(row, 1)?);
        }
        for task in tasks {
            match states.get(&task) {
                Some(state) => outcome.refused.push(BulkRefusal::of_state(task, *state)),
                None => outcome.gone.push(task),
            }
        }
        Ok(())
    }

    /// Unfinished tasks. Damaged ones are left out: their rows may contain anything.
    pub(crate) async fn unfinished(&self, tasks: &[TaskId]) -> Sql<Vec<Brief>> {
        let sql = "SELECT id, pool, task, priority, due, deadline, state, context, (SELECT octet_length(i.input)::int8 \
                   FROM inputs i WHERE i.task = ANY (ARRAY[tasks.task])) FROM tasks WHERE id = ANY($1) AND state <> 8";
        let ids = uuids(tasks);
        self.query(sql, &[(&ids, Type::UUID_ARRAY)]).await?.iter().map(brief).collect()
    }

    async fn ended(&self, tasks: &[TaskId]) -> Sql<Vec<Brief>> {
        let sql = "SELECT id, pool, task, priority, due, deadline, state, context, octet_length(input)::int8 FROM history \
                   WHERE id = ANY($1) AND finished_at >= $2 AND state <> 8";
        let (ids, earliest) = (uuids(tasks), earliest(tasks));
        self.query(sql, &[(&ids, Type::UUID_ARRAY), (&earliest, Type::INT8)]).await?.iter().map(brief).collect()
    }

    /// Stores the request to stop running tasks; returns those that no longer run.
    async fn stop_many(&self, running: &[Brief], outcome: &mut BulkOutcome) -> Sql<Vec<TaskId>> {
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<i64> = running.iter().map(|task| task.spot.row).collect();
        let sql = "UPDATE tasks SET cancel_epoch = epoch WHERE task = ANY($1) AND state::int4 = 2 RETURNING task";
        let stopped = self.rows_of(sql, &[(&rows, Type::INT8_ARRAY)]).await?;
        let (stopping, open): (Vec<_>, Vec<_>) = running.iter().partition(|task| stopped.contains(&task.spot.row));
        for task in stopping {
            self.hints().stops.insert(task.id);
            outcome.pool(&task.spot.pool).stopping.push(task.id);
        }
        Ok(open.into_iter().map(|task| task.id).collect())
    }

    /// Makes tasks not claimable; answers the rows of those that were.
    pub(crate) async fn unready_many(&self, spots: &[&QueueKey]) -> Sql<HashSet<i64>> {
        let sql = "DELETE FROM ready r USING unnest($1::text[], $2::int2[], $3::int8[], $4::int8[]) \
                   AS s (pool, urgency, due, task) WHERE r.pool = ANY (ARRAY[s.pool]) AND r.urgency = ANY (ARRAY[s.urgency]) \
                   AND r.due = ANY (ARRAY[s.due]) AND r.task = ANY (ARRAY[s.task]) RETURNING r.task";
        if spots.is_empty() {
            return Ok(HashSet::new());
        }
        self.rows_of(sql, &Places::of(spots).params()).await
    }

    /// Ends tasks that wait, as cancelled; answers the rows of those that were as they were read.
    async fn end_many(&self, tasks: &[&Brief], now: Timestamp) -> Sql<HashSet<i64>> {
        if tasks.is_empty() {
            return Ok(HashSet::new());
        }
        let error = transition::cancelled();
        let rows: Vec<i64> = tasks.iter().map(|task| task.spot.row).collect();
        let states: Vec<i16> = tasks.iter().map(|task| task.state as i16).collect();
        let (to, now) = (TaskState::Cancelled as i16, now.as_micros());
        let params = [
            (&rows as &(dyn ToSql + Sync), Type::INT8_ARRAY),
            (&states, Type::INT2_ARRAY),
            (&to, Type::INT2),
            (&now, Type::INT8),
            (&error.kind.as_str(), Type::TEXT),
            (&error.message, Type::TEXT),
        ];
        let ids: HashSet<Uuid> =
            self.query(&CANCEL_MANY, &params).await?.iter().map(|row| get(row, 0)).collect::<Sql<_>>()?;
        Ok(tasks.iter().filter(|task| ids.contains(task.id.as_uuid())).map(|task| task.spot.row).collect())
    }

    /// Returns ended tasks to their queues, and records what that undoes.
    async fn recall_many(&self, tasks: &[TaskId], now: Timestamp) -> Sql<Vec<Brief>> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let (ids, earliest, now_micros) = (uuids(tasks), earliest(tasks), now.as_micros());
        let states: Vec<i16> = TaskState::ALL
            .into_iter()
            .filter(|state| BulkAction::Retry.applies_to(*state))
            .map(|state| state as i16)
            .collect();
        let params = [
            (&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY),
            (&earliest, Type::INT8),
            (&states, Type::INT2_ARRAY),
            (&now_micros, Type::INT8),
        ];
        let rows = self.query(&RETRY_MANY, &params).await?;
        self.log_redrives(&rows.iter().map(redriven).collect::<Sql<Vec<_>>>()?, now).await?;
        rows.iter().map(brief).collect()
    }

    async fn lock_lines(&self, lines: &[Line]) -> Sql<()> {
        if lines.is_empty() {
            return Ok(());
        }
        // In one order for all, so that two of these wait for each other and do not meet in the middle.
        let sql = "SELECT pg_advisory_xact_lock(key)::text FROM (SELECT DISTINCT hashtextextended(pool || '/' || context, 0) \
                   AS key FROM unnest($1::text[], $2::text[]) AS l (pool, context) ORDER BY key) k";
        let (pools, contexts) = columns(lines);
        self.run(sql, &[(&pools, Type::TEXT_ARRAY), (&contexts, Type::TEXT_ARRAY)]).await.map(drop)
    }

    /// The task of each line that may be claimed, if there is one.
    async fn heads(&self, lines: &[Line]) -> Sql<HashMap<i64, QueueKey>> {
        if lines.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = "SELECT h.pool, h.task, h.priority, h.due, h.deadline FROM unnest($1::text[], $2::text[]) \
                   AS s (pool, context), LATERAL (SELECT l.pool, l.rank, l.due, l.task, t.state, t.priority, t.deadline \
                   FROM context_queue l JOIN tasks t ON t.task = ANY (ARRAY[l.task]) WHERE l.pool = s.pool AND l.context = s.context \
                   ORDER BY l.rank, l.due, l.task LIMIT 1) h WHERE h.rank = 1 AND h.state = 1";
        let (pools, contexts) = columns(lines);
        let rows = self.query(sql, &[(&pools, Type::TEXT_ARRAY), (&contexts, Type::TEXT_ARRAY)]).await?;
        let mut heads = HashMap::with_capacity(rows.len());
        for row in &rows {
            let priority = get::<i16>(row, 2)?.clamp(0, 9) as u8;
            let (due, deadline, task) = (time(row, 3)?, optional_time(row, 4)?, get(row, 1)?);
            heads.insert(task, QueueKey { pool: pool(row, 0)?, row: task, priority, due, deadline });
        }
        Ok(heads)
    }

    async fn leave_lines(&self, tasks: &[Brief]) -> Sql<()> {
        let in_lines: Vec<_> = tasks.iter().filter_map(|task| Some((task, task.context.clone()?))).collect();
        if in_lines.is_empty() {
            return Ok(());
        }
        let sql = "DELETE FROM context_queue l USING unnest($1::text[], $2::text[], $3::int8[]) AS s (pool, context, task) \
                   WHERE l.pool = ANY (ARRAY[s.pool]) AND l.context = ANY (ARRAY[s.context]) AND l.rank IN (0, 1, 2) \
                   AND l.task = s.task RETURNING l.task";
        let rows: Vec<i64> = in_lines.iter().map(|(task, _)| task.spot.row).collect();
        let lines: Vec<Line> = in_lines.into_iter().map(|(task, context)| (task.spot.pool.clone(), context)).collect();
        let (pools, contexts) = columns(&lines);
        let params = [
            (&pools as &(dyn ToSql + Sync), Type::TEXT_ARRAY),
            (&contexts, Type::TEXT_ARRAY),
            (&rows, Type::INT8_ARRAY),
        ];
        self.run(sql, &params).await.map(drop)
    }

    /// Makes the right task of each context's queue claimable. `before` is the result of [`heads`](Self::heads) before
    /// the change.
    async fn advance_many(
        &self,
        lines: &[Line],
        before: &HashMap<i64, QueueKey>,
        outcome: &mut BulkOutcome,
    ) -> Sql<()> {
        let after = self.heads(lines).await?;
        let gone: Vec<&QueueKey> = before.values().filter(|spot| !after.contains_key(&spot.row)).collect();
        let removed = self.unready_many(&gone).await?;
        for spot in gone.into_iter().filter(|spot| removed.contains(&spot.row)) {
            outcome.pool(&spot.pool).claimable -= 1;
        }
        let come: Vec<&QueueKey> = after.values().filter(|spot| !before.contains_key(&spot.row)).collect();
        self.ready_many(&come).await?;
        for spot in come {
            outcome.pool(&spot.pool).claimable += 1;
        }
        Ok(())
    }

    /// Makes the first tasks of lines claimable.
    pub(crate) async fn ready_many(&self, spots: &[&QueueKey]) -> Sql<()> {
        if spots.is_empty() {
            return Ok(());
        }
        let sql = "INSERT INTO ready (pool, urgency, due, task, deadline) SELECT s.* \
                   FROM unnest($1::text[], $2::int2[], $3::int8[], $4::int8[], $5::int8[]) s RETURNING task";
        let deadlines: Vec<Option<i64>> = spots.iter().map(|spot| spot.deadline.map(Timestamp::as_micros)).collect();
        let places = Places::of(spots);
        let mut params = places.params();
        params.push((&deadlines, Type::INT8_ARRAY));
        spots.iter().for_each(|spot| self.node.cursors.put(&spot.pool, spot.urgency(), spot.place()));
        self.run(sql, &params).await?;
        self.leave_to_holder(&Which::Rows(places.rows.clone())).await
    }

    pub(crate) async fn rows_of(&self, sql: &str, params: &[Param<'_>]) -> Sql<HashSet<i64>> {
        self.query(sql, params).await?.iter().map(|row| get(row, 0)).collect()
    }
}

impl Brief {
    /// Notes in `outcome` that the task was changed.
    pub(crate) fn note_done(&self, outcome: &mut PoolOutcome) {
        outcome.done.push(self.id);
        outcome.done_bytes += self.input_bytes;
    }
}

/// The places of tasks among the claimable ones, as columns.
struct Places<'a> {
    pools: Vec<&'a str>,
    urgencies: Vec<i16>,
    dues: Vec<i64>,
    rows: Vec<i64>,
}

impl<'a> Places<'a> {
    fn of(spots: &[&'a QueueKey]) -> Self {
        Self {
            pools: spots.iter().map(|spot| spot.pool.as_str()).collect(),
            urgencies: spots.iter().map(|spot| spot.urgency()).collect(),
            dues: spots.iter().map(|spot| spot.due.as_micros()).collect(),
            rows: spots.iter().map(|spot| spot.row).collect(),
        }
    }

    fn params(&self) -> Vec<Param<'_>> {
        vec![
            (&self.pools, Type::TEXT_ARRAY),
            (&self.urgencies, Type::INT2_ARRAY),
            (&self.dues, Type::INT8_ARRAY),
            (&self.rows, Type::INT8_ARRAY),
        ]
    }
}

fn is_running(task: &Brief) -> bool {
    task.state == TaskState::Running
}

/// Notes a task whose state does not allow it; answers whether that is so.
fn refuse(action: &BulkAction, task: &Brief, outcome: &mut BulkOutcome) -> bool {
    let is_refused = !action.applies_to(task.state);
    if is_refused {
        outcome.refused.push(BulkRefusal::of_state(task.id, task.state));
    }
    is_refused
}

fn lines_of(tasks: &[Brief]) -> Vec<Line> {
    let lines = tasks.iter().filter_map(|task| Some(((task.spot.pool.clone(), task.context.clone()?), ())));
    lines.collect::<BTreeMap<_, _>>().into_keys().collect()
}

fn columns(lines: &[Line]) -> (Vec<&str>, Vec<&str>) {
    lines.iter().map(|(pool, context)| (pool.as_str(), context.as_str())).unzip()
}

fn uuids(tasks: &[TaskId]) -> Vec<Uuid> {
    tasks.iter().map(|task| *task.as_uuid()).collect()
}

/// A time before which none of the tasks can have ended.
fn earliest(tasks: &[TaskId]) -> i64 {
    tasks.iter().map(|task| earliest_end(*task.as_uuid())).min().unwrap_or(0)
}

/// Reads `id, pool, task, priority, due, deadline, state, context` and the bytes of the input.
fn brief(row: &Row) -> Sql<Brief> {
    let priority = get::<i16>(row, 3)?.clamp(0, 9) as u8;
    let spot = QueueKey {
        pool: pool(row, 1)?,
        row: get(row, 2)?,
        priority,
        due: time(row, 4)?,
        deadline: optional_time(row, 5)?,
    };
    let input_bytes = get::<Option<i64>>(row, 8)?.unwrap_or(0).unsigned_abs();
    Ok(Brief {
        id: TaskId::from_uuid(get(row, 0)?),
        spot,
        state: state(row, 6)?,
        context: context(row, 7)?,
        input_bytes,
    })
}

/// Reads what `RETRY_MANY` answers behind those.
fn redriven(row: &Row) -> Sql<Redriven> {
    Ok(Redriven {
        row: get(row, 2)?,
        id: TaskId::from_uuid(get(row, 0)?),
        epoch: LeaseEpoch(get::<i64>(row, 9)?.unsigned_abs()),
        attempt: u32::try_from(get::<i64>(row, 10)?).unwrap_or(u32::MAX),
        submitted_at: time(row, 11)?,
        due: time(row, 12)?,
        started_at: optional_time(row, 13)?,
        finished_at: optional_time(row, 14)?,
        state: state(row, 6)?,
        error: error(row, 15)?,
    })
}
