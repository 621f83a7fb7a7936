//! One operation on many tasks: a handful of statements for all of them, whatever their number.
//!
//! Locks are acquired in the order of `context_queue`: the queues of all contexts, then task rows.

use std::collections::{HashMap, HashSet};

use forerunner_core::{ContextId, TaskId, TaskState, Timestamp};
use forerunner_store::{BulkAction, BulkOutcome, BulkRefusal, PoolOutcome};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::{
    failure::{Fault, Sql},
    rows::{QueueEntry, context, get, pool, state, time},
    tables::earliest_end,
    tx::{Param, Tx},
};

/// Removes ended tasks, with all their data; returns their ids and pools.
const DELETE_MANY: &str = "\
WITH h AS (
    DELETE FROM ended WHERE id = ANY ($1) AND finished_at >= $2 RETURNING id, pool, key, finished_at
), k AS (
    DELETE FROM idempotency_keys k USING h WHERE k.pool = ANY (ARRAY[h.pool]) AND k.key = ANY (ARRAY[h.key]) AND k.id = h.id
), v AS (
    DELETE FROM events v USING h WHERE v.id = ANY (ARRAY[h.id])
), s AS (
    DELETE FROM tasks_with_events s USING h WHERE s.finished_at = ANY (ARRAY[h.finished_at]) AND s.id = ANY (ARRAY[h.id])
)
SELECT id, pool FROM h";

/// How often tasks are read again that others changed meanwhile.
const PASSES: usize = 3;

/// A task as far as an operation on many needs to know it.
pub(crate) struct Brief {
    pub entry: QueueEntry,
    pub state: TaskState,
    pub context: Option<ContextId>,
    /// Bytes of its input.
    pub input_bytes: u64,
    pub is_claimable: bool,
}

impl Brief {
    pub fn task(&self) -> TaskId {
        TaskId::from_uuid(self.entry.id)
    }

    /// Notes in `outcome` that the task was changed.
    pub fn note_done(&self, outcome: &mut PoolOutcome) {
        outcome.done.push(self.task());
        outcome.done_bytes += self.input_bytes;
    }
}

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

    /// Removes tasks that have ended; returns those that others changed meanwhile: none.
    async fn delete_many(&self, mut tasks: Vec<TaskId>, outcome: &mut BulkOutcome) -> Sql<Vec<TaskId>> {
        let (ids, earliest) = (uuids(&tasks), earliest(&tasks));
        let params = [(&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY), (&earliest, Type::INT8)];
        let mut removed = HashSet::new();
        for row in &self.query(DELETE_MANY, &params).await? {
            let task = TaskId::from_uuid(get(row, 0)?);
            outcome.pool(&pool(row, 1)?).done.push(task);
            removed.insert(task);
        }
        tasks.retain(|task| !removed.contains(task));
        self.sort_out(tasks, outcome).await?;
        Ok(Vec::new())
    }

    /// Records tasks that were not changed: where they are, or that they do not exist.
    pub(crate) async fn sort_out(&self, tasks: Vec<TaskId>, outcome: &mut BulkOutcome) -> Sql<()> {
        if tasks.is_empty() {
            return Ok(());
        }
        let sql = "SELECT id, state FROM live WHERE id = ANY ($1) UNION ALL \
                   SELECT id, state FROM ended WHERE id = ANY ($1) AND finished_at >= $2";
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
        let sql = "SELECT id, pool, priority, due, state, context, octet_length(input)::int8, \
                   queue_key IS NOT NULL AND state = 1 FROM live WHERE id = ANY ($1) AND state <> 8";
        let ids = uuids(tasks);
        self.query(sql, &[(&ids, Type::UUID_ARRAY)]).await?.iter().map(brief).collect()
    }

    /// Runs a statement that returns ids.
    pub(crate) async fn ids_of(&self, sql: &str, params: &[Param<'_>]) -> Sql<Vec<Uuid>> {
        self.query(sql, params).await?.iter().map(|row| get(row, 0)).collect()
    }
}

/// Notes a task whose state does not allow it; returns whether that is so.
pub(crate) fn refuse(action: &BulkAction, task: &Brief, outcome: &mut BulkOutcome) -> bool {
    let is_refused = !action.applies_to(task.state);
    if is_refused {
        outcome.refused.push(BulkRefusal::of_state(task.task(), task.state));
    }
    is_refused
}

pub(crate) fn uuids(tasks: &[TaskId]) -> Vec<Uuid> {
    tasks.iter().map(|task| *task.as_uuid()).collect()
}

/// A time before which none of the tasks can have ended.
pub(crate) fn earliest(tasks: &[TaskId]) -> i64 {
    tasks.iter().map(|task| earliest_end(*task.as_uuid())).min().unwrap_or(0)
}

/// Reads `id, pool, priority, due, state, context`, the bytes of the input, and whether the task is claimable.
pub(crate) fn brief(row: &Row) -> Sql<Brief> {
    let priority = crate::rows::priority(row, 2)?;
    Ok(Brief {
        entry: QueueEntry { id: get(row, 0)?, pool: pool(row, 1)?, priority, due: time(row, 3)? },
        state: state(row, 4)?,
        context: context(row, 5)?,
        input_bytes: get::<Option<i64>>(row, 6)?.unwrap_or(0).unsigned_abs(),
        is_claimable: get(row, 7)?,
    })
}
