//! Cancelling many tasks.

use std::{collections::HashSet, sync::LazyLock};

use forerunner_core::{TaskId, TaskState, Timestamp, transition};
use forerunner_store::{BulkAction, BulkOutcome};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    bulk::{Brief, refuse},
    bulk_contexts::contexts_of,
    ended::ending,
    failure::Sql,
    tx::Tx,
};

/// Ends tasks that wait, unless their state is another one than that given; returns their ids.
static CANCEL_MANY: LazyLock<String> = LazyLock::new(|| {
    ending(
        "(SELECT s.id, s.was, $3::int2 AS state, $4::int8 AS finished_at, $5::text AS error_kind, $6::text AS error, \
         NULL::text AS output, NULL::int8 AS crashes, NULL::uuid AS agent, NULL::int8 AS started_at, \
         NULL::text AS log FROM unnest($1::uuid[], $2::int2[]) AS s (id, was)) s",
        "t.id = ANY (ARRAY[s.id]) AND t.state = s.was",
    )
});

impl Tx<'_> {
    /// Cancels tasks; returns those that others changed meanwhile.
    pub(crate) async fn cancel_many(
        &self,
        tasks: Vec<TaskId>,
        now: Timestamp,
        outcome: &mut BulkOutcome,
    ) -> Sql<Vec<TaskId>> {
        let mut unfinished = self.unfinished(&tasks).await?;
        let contexts = contexts_of(&unfinished);
        if !contexts.is_empty() {
            self.lock_contexts(&contexts).await?;
            unfinished = self.unfinished(&tasks).await?;
        }
        let known: HashSet<_> = unfinished.iter().map(Brief::task).collect();
        self.sort_out(tasks.iter().copied().filter(|task| !known.contains(task)).collect(), outcome).await?;
        let (running, waiting): (Vec<_>, Vec<_>) = unfinished
            .into_iter()
            .filter(|task| !refuse(&BulkAction::Cancel, task, outcome))
            .partition(|task| task.state == TaskState::Running);
        let mut open = self.stop_many(&running, outcome).await?;
        let mut before = self.heads(&contexts).await?;
        let ended = self.end_many(&waiting, now).await?;
        let (done, missed): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|task| ended.contains(&task.entry.id));
        self.leave_contexts(&done).await?;
        for task in &done {
            before.remove(&task.entry.id);
            outcome.pool(&task.entry.pool).claimable -= i64::from(task.is_claimable);
        }
        self.advance_many(&contexts, &before, outcome).await?;
        for task in done {
            self.note_end(task.task());
            task.note_done(outcome.pool(&task.entry.pool));
        }
        open.extend(missed.iter().map(Brief::task));
        Ok(open)
    }

    /// Stores the request to stop running tasks; returns those that no longer run.
    async fn stop_many(&self, running: &[Brief], outcome: &mut BulkOutcome) -> Sql<Vec<TaskId>> {
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = running.iter().map(|task| task.entry.id).collect();
        let stopped = self.note_cancels(&ids, None).await?;
        let (stopping, open): (Vec<_>, Vec<_>) = running.iter().partition(|task| stopped.contains(&task.entry.id));
        for task in stopping {
            self.hints().stops.insert(task.task());
            outcome.pool(&task.entry.pool).stopping.push(task.task());
        }
        Ok(open.into_iter().map(Brief::task).collect())
    }

    /// Ends tasks that wait, as cancelled; returns those that were as they were read.
    async fn end_many(&self, tasks: &[Brief], now: Timestamp) -> Sql<HashSet<Uuid>> {
        if tasks.is_empty() {
            return Ok(HashSet::new());
        }
        let error = transition::cancelled();
        let ids: Vec<Uuid> = tasks.iter().map(|task| task.entry.id).collect();
        let states: Vec<i16> = tasks.iter().map(|task| task.state as i16).collect();
        let (to, now) = (TaskState::Cancelled as i16, now.as_micros());
        let params = [
            (&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY),
            (&states, Type::INT2_ARRAY),
            (&to, Type::INT2),
            (&now, Type::INT8),
            (&error.kind.as_str(), Type::TEXT),
            (&error.message, Type::TEXT),
        ];
        Ok(self.ids_of(&CANCEL_MANY, &params).await?.into_iter().collect())
    }
}
