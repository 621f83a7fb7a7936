//! Changing a task that waits.

use forerunner_core::{ApiKeyName, ContextId, TaskId, TaskReport, TaskState, Timestamp};
use forerunner_store::{StateConflict, TaskChange, Updated, backend};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::{
    context_queue::Rank,
    failure::{Fault, Sql},
    rows::{QueueEntry, Stored, clean, get},
    tx::Tx,
};

impl Tx<'_> {
    pub async fn note_cancellation(&self, tasks: &[TaskId], by: Option<&ApiKeyName>) -> Sql<()> {
        let ids: Vec<_> = tasks.iter().map(|task| *task.as_uuid()).collect();
        let stored = self.reports(&ids).await?;
        let noted: Vec<_> = stored.into_iter().map(|(id, report)| (id, backend::cancellation_by(report, by))).collect();
        self.write_reports(&noted).await
    }

    /// What unfinished tasks reported, with their rows locked; `None` also for what nobody can read.
    pub(crate) async fn reports(&self, ids: &[Uuid]) -> Sql<Vec<(Uuid, Option<TaskReport>)>> {
        let sql = "SELECT id, report FROM live WHERE id = ANY ($1) ORDER BY id FOR UPDATE";
        let rows = self.query(sql, &[(&ids, Type::UUID_ARRAY)]).await?;
        let read = |row: &Row| {
            let text = get::<Option<String>>(row, 1)?;
            Ok((get(row, 0)?, text.and_then(|text| serde_json::from_str(&text).ok())))
        };
        rows.iter().map(read).collect()
    }

    pub(crate) async fn write_reports(&self, reports: &[(Uuid, Option<TaskReport>)]) -> Sql<()> {
        if reports.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = reports.iter().map(|(id, _)| *id).collect();
        let mut texts = Vec::with_capacity(reports.len());
        for (_, report) in reports {
            let text = report.as_ref().map(serde_json::to_string).transpose();
            let text = text.map_err(|error| Fault::unreadable(error.to_string()))?;
            texts.push(text.map(|text| clean(&text)));
        }
        let sql = "UPDATE live t SET report = s.report FROM unnest($1::uuid[], $2::text[]) AS s (id, report) \
                   WHERE t.id = ANY (ARRAY[s.id]) RETURNING t.id";
        let params = [(&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY), (&texts, Type::TEXT_ARRAY)];
        self.run(sql, &params).await.map(drop)
    }

    pub async fn update(&self, id: TaskId, change: TaskChange, now: Timestamp) -> Sql<Result<Updated, StateConflict>> {
        let Some(found) = self.find_in_context(id).await? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (old, mut task) = (found.entry(), Box::new(found.task));
        let (from, context) = (task.state, task.context.clone());
        if !matches!(from, TaskState::Scheduled | TaskState::Queued) {
            return Ok(Err(StateConflict::WrongState { task: id, state: from, wish: "changed" }));
        }
        let gained = self.gained();
        let (head, has_place) = match &context {
            Some(context) => (self.head(&old.pool, context).await?, self.has_place(&old, context).await?),
            None => (None, false),
        };
        let mut entry = old.clone();
        if let Some(priority) = change.priority {
            (task.priority, entry.priority) = (priority, priority);
        }
        if let Some(run_at) = change.run_at {
            let moved = backend::moved(&task, old.due, has_place, run_at, now);
            (task.state, task.run_at, entry.due) = (moved.state, moved.run_at, moved.due);
        }
        let is_head = head.as_ref().is_some_and(|head| head.id == old.id);
        if is_head || (context.is_none() && from == TaskState::Queued) {
            self.make_unready(old.id).await?;
        }
        if let Some(context) = &context {
            self.leave_context(&old, context).await?;
            if !has_place && task.state == TaskState::Queued {
                let last = self.last_due(&old.pool, context).await?;
                entry.due = last.map_or(entry.due, |last| last.max(entry.due));
            }
        }
        self.write_change(&entry, (from, task.state), task.run_at).await?;
        match &context {
            Some(context) => {
                let is_joined = has_place || task.state == TaskState::Queued;
                self.enter_context(&entry, context, if is_joined { Rank::Joined } else { Rank::Delayed }).await?;
                self.advance(&entry.pool, context, head.filter(|_| !is_head).as_ref()).await?;
            }
            None if task.state == TaskState::Queued => self.make_ready(&entry).await?,
            None => {}
        }
        let claimable = self.gained() - gained;
        if claimable > 0 {
            self.hints().work.insert(entry.pool);
        }
        Ok(Ok(Updated { task, claimable }))
    }

    /// Reads a task, with its context's queue locked.
    pub(crate) async fn find_in_context(&self, id: TaskId) -> Sql<Option<Stored>> {
        let Some(found) = self.find(id).await? else { return Ok(None) };
        let Some(context) = &found.task.context else { return Ok(Some(found)) };
        self.lock_context(&found.task.pool, context).await?;
        self.find(id).await
    }

    /// Whether a waiting task has its place in its context's queue, or is yet to become due for the first time.
    async fn has_place(&self, entry: &QueueEntry, context: &ContextId) -> Sql<bool> {
        let sql = "SELECT rank FROM context_queue WHERE pool = $1 AND context = $2 AND rank IN (1, 2) AND id = $3";
        let params = [
            (&entry.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&context.as_str(), Type::TEXT),
            (&entry.id, Type::UUID),
        ];
        let rows = self.query(sql, &params).await?;
        rows.first().map_or(Ok(false), |row| Ok(get::<i16>(row, 0)? != Rank::Delayed as i16))
    }

    async fn write_change(&self, entry: &QueueEntry, (from, to): (TaskState, TaskState), run_at: Timestamp) -> Sql<()> {
        let sql = "UPDATE live SET state = $1, priority = $2, due = $3, run_at = $4 WHERE id = $5 AND state = $6 \
                   AND pool = $7 RETURNING id";
        let (from, to, priority) = (from as i16, to as i16, i16::from(entry.priority.get()));
        let (due, run_at) = (entry.due.as_micros(), run_at.as_micros());
        let params = [
            (&to as &(dyn ToSql + Sync), Type::INT2),
            (&priority, Type::INT2),
            (&due, Type::INT8),
            (&run_at, Type::INT8),
            (&entry.id, Type::UUID),
            (&from, Type::INT2),
            (&entry.pool.as_str(), Type::TEXT),
        ];
        if self.run(sql, &params).await? == 0 { Err(Fault::Conflict) } else { Ok(()) }
    }
}
