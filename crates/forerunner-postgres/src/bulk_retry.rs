//! Returning many ended tasks to their queues.

use std::{collections::HashSet, sync::LazyLock};

use forerunner_core::{LeaseEpoch, TaskId, TaskState, Timestamp};
use forerunner_store::{BulkAction, BulkOutcome};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    bulk::{Brief, brief, earliest, uuids},
    bulk_contexts::contexts_of,
    ended::recalling,
    events::{Retried, error},
    failure::Sql,
    rows::{get, optional_time, state, time},
    tx::Tx,
};

/// Returns ended tasks in some states to their queues with fresh attempts; returns their earlier rows.
static RETRY_MANY: LazyLock<String> = LazyLock::new(|| {
    let parts = recalling("place", "NULL::bytea", |column| match column {
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
        "WITH h AS (DELETE FROM ended WHERE id = ANY ($1) AND finished_at >= $2 AND state = ANY ($3) RETURNING *, \
         greatest($4::int8, CASE WHEN context IS NOT NULL THEN (SELECT q.due FROM context_queue q WHERE q.pool = ended.pool \
         AND q.context = ended.context AND q.rank <= 1 ORDER BY q.rank DESC, q.due DESC LIMIT 1) END) AS place, \
         CASE WHEN deadline > $4 THEN deadline END AS kept_deadline), {parts}, \
         l AS (INSERT INTO context_queue (pool, context, rank, due, id) \
         SELECT pool, context, 1, place, id FROM h WHERE context IS NOT NULL) \
         SELECT id, pool, priority, place, state, context, octet_length(input)::int8, context IS NULL, epoch, \
         attempt, submitted_at, due, started_at, finished_at, error_kind, error FROM h"
    )
});

impl Tx<'_> {
    /// Sends tasks back to their queues; returns those that others changed meanwhile.
    pub(crate) async fn retry_many(
        &self,
        tasks: Vec<TaskId>,
        now: Timestamp,
        outcome: &mut BulkOutcome,
    ) -> Sql<Vec<TaskId>> {
        let ended = self.ended(&tasks).await?;
        let contexts = contexts_of(&ended);
        self.lock_contexts(&contexts).await?;
        let before = self.heads(&contexts).await?;
        let ids: Vec<_> =
            ended.iter().filter(|task| BulkAction::Retry.applies_to(task.state)).map(Brief::task).collect();
        let back = self.recall_many(&ids, now).await?;
        let known: HashSet<TaskId> = back.iter().map(Brief::task).collect();
        let queued: Vec<_> = back.iter().filter(|task| task.context.is_none()).map(|task| &task.entry).collect();
        self.make_many_ready(&queued).await?;
        for task in &back {
            let changed = outcome.pool(&task.entry.pool);
            task.note_done(changed);
            changed.claimable += i64::from(task.context.is_none());
        }
        self.advance_many(&contexts, &before, outcome).await?;
        let mut left: Vec<TaskId> = tasks.into_iter().filter(|task| !known.contains(task)).collect();
        left.retain(|task| !ids.contains(task));
        self.sort_out(left, outcome).await?;
        Ok(ids.into_iter().filter(|task| !known.contains(task)).collect())
    }

    async fn ended(&self, tasks: &[TaskId]) -> Sql<Vec<Brief>> {
        let sql = "SELECT id, pool, priority, due, state, context, octet_length(input)::int8, false FROM ended \
                   WHERE id = ANY ($1) AND finished_at >= $2 AND state <> 8";
        let (ids, earliest) = (uuids(tasks), earliest(tasks));
        self.query(sql, &[(&ids, Type::UUID_ARRAY), (&earliest, Type::INT8)]).await?.iter().map(brief).collect()
    }

    /// Returns ended tasks to `live`, and records what that undoes.
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
        self.log_retries(&rows.iter().map(retried).collect::<Sql<Vec<_>>>()?, now).await?;
        rows.iter().map(brief).collect()
    }
}

/// Reads what `RETRY_MANY` returns behind the columns of a [`Brief`].
fn retried(row: &Row) -> Sql<Retried> {
    Ok(Retried {
        id: TaskId::from_uuid(get(row, 0)?),
        epoch: LeaseEpoch(get::<i64>(row, 8)?.unsigned_abs()),
        attempt: u32::try_from(get::<i64>(row, 9)?).unwrap_or(u32::MAX),
        submitted_at: time(row, 10)?,
        due: time(row, 11)?,
        started_at: optional_time(row, 12)?,
        finished_at: optional_time(row, 13)?,
        state: state(row, 4)?,
        error: error(row, 14)?,
    })
}
