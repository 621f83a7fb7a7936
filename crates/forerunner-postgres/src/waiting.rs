//! What happens to tasks that do not run: cancelling, retrying, sweeping, purging.

use std::sync::atomic::Ordering;

use forerunner_core::{
    Answered, ContextId, LeaseEpoch, PoolName, Task, TaskId, TaskState, Timestamp, Transition,
    transition::{self, Cancel},
};
use forerunner_store::{Cancelled, DueTasks, StateConflict, Swept, backend};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::{
    context_queue::Rank,
    ended::End,
    failure::{Fault, Sql},
    rows::{QueueEntry, context, get, optional_time, priority, state, time, unread},
    tx::Tx,
};

/// A waiting task that a sweep found.
struct Waiting {
    entry: QueueEntry,
    state: TaskState,
    context: Option<ContextId>,
    /// Bytes of its input, if it is to expire.
    input_bytes: u64,
}

impl Tx<'_> {
    pub async fn cancel(&self, id: TaskId, now: Timestamp) -> Sql<Result<Cancelled, StateConflict>> {
        let Some(found) = self.find(id).await? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (entry, damage, mut task) = (found.entry(), found.damage, Box::new(found.task));
        let end = match transition::cancel(task.state, now) {
            Cancel::End(end) => *end,
            Cancel::Mark => {
                self.note_cancel(&task).await?;
                return Ok(Ok(Cancelled::Running(task)));
            }
            Cancel::Ended => return Ok(Ok(Cancelled::Ended(task))),
            Cancel::GiveUp => {
                self.give_up(&entry, &mut task, damage.as_deref().unwrap_or("it was repaired"), now).await?;
                return Ok(Ok(Cancelled::Ended(task)));
            }
        };
        let before = self.gained();
        self.note_end(id);
        let was_claimable = self.end_waiting(&entry, task.context.as_ref(), &end).await?;
        end.apply(&mut task);
        let claimable = self.gained() - before + i64::from(was_claimable);
        Ok(Ok(Cancelled::Done { task, was_claimable, claimable: usize::try_from(claimable).unwrap_or(0) }))
    }

    /// Ends a task that waits, as core decided; returns whether it was claimable.
    async fn end_waiting(&self, entry: &QueueEntry, context: Option<&ContextId>, end: &Transition) -> Sql<bool> {
        let Some(context) = context else {
            // Its state is tested, so nobody can have claimed it meanwhile.
            self.end(&End { id: entry.id, epoch: None, transition: end }).await?;
            let was_queued = end.from == TaskState::Queued;
            self.gained.fetch_sub(i64::from(was_queued), Ordering::Relaxed);
            return Ok(was_queued);
        };
        self.lock_context(&entry.pool, context).await?;
        let before = self.head(&entry.pool, context).await?;
        self.end(&End { id: entry.id, epoch: None, transition: end }).await?;
        self.leave_context(entry, context).await?;
        let was_head = before.as_ref().is_some_and(|before| before.id == entry.id);
        if was_head {
            self.gained.fetch_sub(1, Ordering::Relaxed);
        }
        self.advance(&entry.pool, context, before.filter(|_| !was_head).as_ref()).await?;
        Ok(was_head)
    }

    /// Stores the request to stop a running task, for its node and for any node that would run it again.
    async fn note_cancel(&self, task: &Task) -> Sql<()> {
        if self.note_cancels(&[*task.id.as_uuid()], Some(task.epoch)).await?.is_empty() {
            return Err(Fault::Conflict);
        }
        self.hints().stops.insert(task.id);
        Ok(())
    }

    /// Stores requests to stop running tasks; returns those that run.
    pub(crate) async fn note_cancels(&self, ids: &[Uuid], epoch: Option<LeaseEpoch>) -> Sql<Vec<Uuid>> {
        let sql = "WITH t AS (UPDATE live SET cancel_epoch = epoch WHERE id = ANY ($1) AND state = 2 \
                   AND epoch = COALESCE($2, epoch) RETURNING id, node), \
                   c AS (INSERT INTO cancellations (node, id) SELECT node, id FROM t WHERE node IS NOT NULL \
                   ON CONFLICT DO NOTHING) SELECT id FROM t";
        let epoch = epoch.map(|epoch| epoch.0 as i64);
        self.ids_of(sql, &[(&ids, Type::UUID_ARRAY), (&epoch, Type::INT8)]).await
    }

    pub async fn retry(&self, id: TaskId, now: Timestamp) -> Sql<Result<Task, StateConflict>> {
        let Some(found) = self.find(id).await? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (mut entry, damage, mut task) = (found.entry(), found.damage, found.task);
        let was_damaged = task.state == TaskState::Damaged;
        if was_damaged && let Err(mismatch) = self.take_back_repaired(&mut task, damage.as_ref()).await? {
            return Ok(Err(mismatch));
        }
        let Some(again) = transition::retry(task.state, task.deadline, now) else {
            return Ok(Err(StateConflict::WrongState { task: id, state: task.state, wish: "retried" }));
        };
        let (ended, ended_as, was_due) = (task.state as i16, task.clone(), entry.due);
        again.apply(&mut task);
        let mut before = None;
        entry.due = now;
        if let Some(context) = &task.context {
            self.lock_context(&entry.pool, context).await?;
            entry.due = self.last_due(&entry.pool, context).await?.map_or(now, |last| last.max(now));
            before = self.head(&entry.pool, context).await?;
        }
        self.recall(&ended_as).await?;
        if !was_damaged {
            self.log_retry(&ended_as, was_due, now).await?;
        }
        let sql = "UPDATE live SET state = $1, attempt = $2, crashes = $3, run_at = $4, due = $5, deadline = $6, queue_key = NULL, \
                   started_at = NULL, finished_at = NULL, agent = NULL, node = NULL, error_kind = NULL, error = NULL, \
                   requests = NULL, report = NULL \
                   WHERE id = $7 AND state = $8 RETURNING id";
        let (state, attempt, crashes) = (task.state as i16, i64::from(task.attempt), i64::from(task.crashes));
        let (run_at, due) = (task.run_at.as_micros(), entry.due.as_micros());
        let deadline = task.deadline.map(Timestamp::as_micros);
        let params = [
            (&state as &(dyn ToSql + Sync), Type::INT2),
            (&attempt, Type::INT8),
            (&crashes, Type::INT8),
            (&run_at, Type::INT8),
            (&due, Type::INT8),
            (&deadline, Type::INT8),
            (&entry.id, Type::UUID),
            (&ended, Type::INT2),
        ];
        if self.run(sql, &params).await? == 0 {
            return Err(Fault::Conflict);
        }
        match &task.context {
            Some(context) => {
                self.enter_context(&entry, context, Rank::Joined).await?;
                self.advance(&entry.pool, context, before.as_ref()).await?;
            }
            None => self.make_ready(&entry).await?,
        }
        Ok(Ok(task))
    }

    pub async fn answer(&self, answered: &Answered, now: Timestamp) -> Sql<Result<Task, StateConflict>> {
        let id = answered.task;
        let Some(found) = self.find_in_context(id).await? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (entry, mut task) = (found.entry(), found.task);
        let Some(answer) = transition::answer(&task, answered) else {
            return Ok(Err(StateConflict::WrongState { task: id, state: task.state, wish: "answered" }));
        };
        let from = answer.from as i16;
        answer.apply(&mut task);
        let sql = "UPDATE live SET state = $1, attempt = $2, requests = $3, deadline = $6, started_at = NULL, \
                   agent = NULL, node = NULL WHERE id = $4 AND state = $5 AND requests = $7 RETURNING id";
        let deadline = task.deadline.map(Timestamp::as_micros);
        let (state, attempt) = (task.state as i16, i64::from(task.attempt));
        let params = [
            (&state as &(dyn ToSql + Sync), Type::INT2),
            (&attempt, Type::INT8),
            (&answered.requests.as_str(), Type::TEXT),
            (&entry.id, Type::UUID),
            (&from, Type::INT2),
            (&deadline, Type::INT8),
            (&answered.asked.as_str(), Type::TEXT),
        ];
        if self.run(sql, &params).await? == 0 {
            return Err(Fault::Conflict);
        }
        self.log_answer(&task, now).await?;
        match &task.context {
            Some(context) => self.advance(&entry.pool, context, None).await?,
            None => self.make_ready(&entry).await?,
        }
        self.hints().work.insert(entry.pool);
        Ok(Ok(task))
    }

    pub async fn sweep(&self, pool: &PoolName, now: Timestamp) -> Sql<Swept> {
        let before = self.gained();
        let mut swept = Swept::default();
        let late = "SELECT id, priority, due, state, context, octet_length(input)::int8 FROM live WHERE pool = $1 \
                    AND state < 2 AND deadline IS NOT NULL AND deadline <= $2 ORDER BY deadline, id LIMIT $3";
        let late = self.waiting(late, pool, now).await?;
        // Which of them could be claimed is asked before the first one ends.
        let ids: Vec<_> = late.iter().map(|late| late.entry.id).collect();
        let claimable = self.claimable_of(&ids).await?;
        for late in late {
            self.end_waiting(&late.entry, late.context.as_ref(), &transition::expire(late.state, now)).await?;
            let task = TaskId::from_uuid(late.entry.id);
            self.note_end(task);
            swept.expired_bytes += late.input_bytes;
            swept.expired.push((task, claimable.contains(&late.entry.id)));
        }
        let due = "SELECT id, priority, due, state, context, 0::int8 FROM live WHERE pool = $1 \
                   AND wakes_at IS NOT NULL AND wakes_at <= $2 ORDER BY wakes_at, id LIMIT $3";
        for due in self.waiting(due, pool, now).await? {
            self.promote(&due).await?;
            swept.promoted.push(TaskId::from_uuid(due.entry.id));
        }
        let gained = self.gained() - before + claimable.len() as i64;
        swept.claimable = usize::try_from(gained).unwrap_or(0);
        swept.next_due = self.next_due(pool).await?;
        Ok(swept)
    }

    async fn waiting(&self, sql: &str, pool: &PoolName, now: Timestamp) -> Sql<Vec<Waiting>> {
        let (now, limit) = (now.as_micros(), backend::SWEEP_LIMIT as i64);
        let params = [(&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT), (&now, Type::INT8), (&limit, Type::INT8)];
        let rows = self.query(sql, &params).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            match read_waiting(row, pool).map_err(|fault| unread(row, 0, fault)) {
                Ok(waiting) => found.push(waiting),
                Err(Fault::Damaged(unread)) => self.note_unread(*unread),
                Err(fault) => return Err(fault),
            }
        }
        Ok(found)
    }

    /// Queues a task whose time has come. After a retry it still has its place in its context's queue.
    async fn promote(&self, due: &Waiting) -> Sql<()> {
        let pool = &due.entry.pool;
        let before = match &due.context {
            Some(context) => {
                self.lock_context(pool, context).await?;
                self.head(pool, context).await?
            }
            None => None,
        };
        let sql = "UPDATE live SET state = $1 WHERE id = $2 AND state = $3 AND pool = $4 RETURNING id";
        let Transition { from, to, .. } = transition::promote();
        let (from, to) = (from as i16, to as i16);
        let params = [
            (&to as &(dyn ToSql + Sync), Type::INT2),
            (&due.entry.id, Type::UUID),
            (&from, Type::INT2),
            (&pool.as_str(), Type::TEXT),
        ];
        if self.run(sql, &params).await? == 0 {
            return Err(Fault::Conflict);
        }
        let Some(context) = &due.context else { return self.make_ready(&due.entry).await };
        self.join_context(&due.entry, context).await?;
        self.advance(pool, context, before.as_ref()).await
    }

    pub async fn due_by(&self, pool: &PoolName, until: Timestamp) -> Sql<Vec<DueTasks>> {
        let sql = "SELECT min(wakes_at), count(*) - count(context) + count(DISTINCT context) FROM live \
                   WHERE pool = $1 AND wakes_at IS NOT NULL AND wakes_at <= $2 GROUP BY wakes_at / 1000000 ORDER BY 1 \
                   LIMIT $3";
        let (until, limit) = (until.as_micros(), backend::DUE_LIMIT as i64);
        let params = [(&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT), (&until, Type::INT8), (&limit, Type::INT8)];
        let rows = self.query(sql, &params).await?;
        rows.iter().map(|row| Ok(DueTasks { at: time(row, 0)?, tasks: get::<i64>(row, 1)?.unsigned_abs() })).collect()
    }

    async fn next_due(&self, pool: &PoolName) -> Sql<Option<Timestamp>> {
        let sql = "SELECT least((SELECT min(wakes_at) FROM live WHERE pool = $1 AND wakes_at IS NOT NULL), \
                   (SELECT min(deadline) FROM live WHERE pool = $1 AND deadline IS NOT NULL AND state < 2))";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT)]).await?;
        rows.first().map_or(Ok(None), |row| optional_time(row, 0))
    }
}

fn read_waiting(row: &Row, pool: &PoolName) -> Sql<Waiting> {
    let (priority, due) = (priority(row, 1)?, time(row, 2)?);
    Ok(Waiting {
        entry: QueueEntry { pool: pool.clone(), id: get(row, 0)?, priority, due },
        state: state(row, 3)?,
        context: context(row, 4)?,
        input_bytes: get::<Option<i64>>(row, 5)?.unwrap_or(0).unsigned_abs(),
    })
}
