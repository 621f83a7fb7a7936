//! What happens to tasks that do not run: cancelling, redriving, sweeping, purging.

use forerunner_core::{
    ContextId, Payload, PoolName, Task, TaskId, TaskState, Timestamp, Transition,
    transition::{self, Cancel},
};
use forerunner_store::{Cancelled, DueTasks, StateConflict, Swept, backend};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    failure::{Fault, Sql},
    history::End,
    line::Rank,
    rows::{QueueKey, context, get, optional_time, priority, state, time, unread},
    tx::Tx,
};

/// A waiting task that a sweep found.
struct Waiting {
    id: TaskId,
    spot: QueueKey,
    state: TaskState,
    context: Option<ContextId>,
    /// Bytes of its input, if it is to expire.
    input_bytes: u64,
}

impl Tx<'_> {
    pub async fn cancel(&self, id: TaskId, now: Timestamp) -> Sql<Result<Cancelled, StateConflict>> {
        let Some(found) = self.find(id).await? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (spot, damage, mut task) = (found.spot(), found.damage, Box::new(found.task));
        let end = match transition::cancel(task.state, now) {
            Cancel::End(end) => *end,
            Cancel::Mark => {
                self.note_stop(spot.row, &task).await?;
                return Ok(Ok(Cancelled::Running(task)));
            }
            Cancel::Ended => return Ok(Ok(Cancelled::Ended(task))),
            Cancel::GiveUp => {
                self.give_up(&spot, &mut task, damage.as_deref().unwrap_or("it was repaired"), now).await?;
                return Ok(Ok(Cancelled::Ended(task)));
            }
        };
        let before = self.gained();
        self.tell_end(id);
        let was_claimable = self.end_waiting(&spot, task.context.as_ref(), &end).await?;
        end.apply(&mut task);
        let claimable = self.gained() - before + i64::from(was_claimable);
        Ok(Ok(Cancelled::Done { task, was_claimable, claimable: usize::try_from(claimable).unwrap_or(0) }))
    }

    /// Ends a task that waits, as core decided; answers whether it was claimable.
    async fn end_waiting(&self, spot: &QueueKey, context: Option<&ContextId>, end: &Transition) -> Sql<bool> {
        let before = match context {
            Some(context) => {
                self.lock_line(&spot.pool, context).await?;
                self.head(&spot.pool, context).await?
            }
            None => None,
        };
        let was_queued = end.from == TaskState::Queued;
        if context.is_none() && was_queued {
            self.make_unready(spot).await?;
        }
        self.end(&End { row: spot.row, epoch: None, transition: end }).await?;
        let Some(context) = context else { return Ok(was_queued) };
        self.leave_line(spot, context).await?;
        self.advance(&spot.pool, context, before.as_ref()).await?;
        Ok(before.is_some_and(|before| before.row == spot.row))
    }

    /// Stores the request to stop a running task, for its node and for any node that would run it again.
    async fn note_stop(&self, row: i64, task: &Task) -> Sql<()> {
        let sql = "UPDATE tasks SET cancel_epoch = epoch WHERE task = $1 AND epoch = $2 AND state = 2 RETURNING task";
        let epoch = task.epoch.0 as i64;
        if self.run(sql, &[(&row, Type::INT8), (&epoch, Type::INT8)]).await? == 0 {
            return Err(Fault::Conflict);
        }
        self.hints().stops.insert(task.id);
        Ok(())
    }

    pub async fn retry(&self, id: TaskId, now: Timestamp) -> Sql<Result<Task, StateConflict>> {
        let Some(found) = self.find(id).await? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (mut spot, damage, mut task) = (found.spot(), found.damage, found.task);
        let was_damaged = task.state == TaskState::Damaged;
        if was_damaged && let Err(mismatch) = self.take_back_repaired(spot.row, &mut task, damage.as_ref()).await? {
            return Ok(Err(mismatch));
        }
        let Some(again) = transition::retry(task.state, task.deadline, now) else {
            return Ok(Err(StateConflict::WrongState { task: id, state: task.state, wish: "retried" }));
        };
        let (ended, ended_as, was_due) = (task.state as i16, task.clone(), spot.due);
        again.apply(&mut task);
        let mut before = None;
        spot.due = now;
        if let Some(context) = &task.context {
            self.lock_line(&spot.pool, context).await?;
            spot.due = self.last_due(&spot.pool, context).await?.map_or(now, |last| last.max(now));
            before = self.head(&spot.pool, context).await?;
        }
        spot.deadline = task.deadline;
        self.recall(&ended_as).await?;
        if !was_damaged {
            self.log_redrive(spot.row, &ended_as, was_due, now).await?;
        }
        let sql = "UPDATE tasks SET state = $1, attempt = $2, crashes = $3, run_at = $4, due = $5, deadline = $6, \
                   started_at = NULL, finished_at = NULL, agent = NULL, node = NULL, error_kind = NULL, error = NULL, \
                   requests = NULL, report = NULL \
                   WHERE task = $7 AND state = $8 RETURNING task";
        let (state, attempt, crashes) = (task.state as i16, i64::from(task.attempt), i64::from(task.crashes));
        let (run_at, due) = (task.run_at.as_micros(), spot.due.as_micros());
        let deadline = spot.deadline.map(Timestamp::as_micros);
        let params = [
            (&state as &(dyn ToSql + Sync), Type::INT2),
            (&attempt, Type::INT8),
            (&crashes, Type::INT8),
            (&run_at, Type::INT8),
            (&due, Type::INT8),
            (&deadline, Type::INT8),
            (&spot.row, Type::INT8),
            (&ended, Type::INT2),
        ];
        if self.run(sql, &params).await? == 0 {
            return Err(Fault::Conflict);
        }
        self.run("DELETE FROM outputs WHERE task = $1 RETURNING task", &[(&spot.row, Type::INT8)]).await?;
        match &task.context {
            Some(context) => {
                self.enter_line(&spot, context, Rank::Joined).await?;
                self.advance(&spot.pool, context, before.as_ref()).await?;
            }
            None => self.make_ready(&spot).await?,
        }
        Ok(Ok(task))
    }

    pub async fn answer(&self, id: TaskId, answered: &Payload, now: Timestamp) -> Sql<Result<Task, StateConflict>> {
        let Some(found) = self.find_in_line(id).await? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (spot, mut task) = (found.spot(), found.task);
        let Some(answer) = transition::answer(task.state, task.attempt, answered.clone()) else {
            return Ok(Err(StateConflict::WrongState { task: id, state: task.state, wish: "answered" }));
        };
        let from = answer.from as i16;
        answer.apply(&mut task);
        let sql = "UPDATE tasks SET state = $1, attempt = $2, requests = $3, started_at = NULL, agent = NULL, \
                   node = NULL WHERE task = $4 AND state = $5 RETURNING task";
        let (state, attempt) = (task.state as i16, i64::from(task.attempt));
        let params = [
            (&state as &(dyn ToSql + Sync), Type::INT2),
            (&attempt, Type::INT8),
            (&answered.as_str(), Type::TEXT),
            (&spot.row, Type::INT8),
            (&from, Type::INT2),
        ];
        if self.run(sql, &params).await? == 0 {
            return Err(Fault::Conflict);
        }
        self.log_answer(spot.row, &task, now).await?;
        match &task.context {
            Some(context) => self.advance(&spot.pool, context, None).await?,
            None => self.make_ready(&spot).await?,
        }
        self.hints().work.insert(spot.pool);
        Ok(Ok(task))
    }

    pub async fn sweep(&self, pool: &PoolName, now: Timestamp) -> Sql<Swept> {
        let before = self.gained();
        let mut swept = Swept::default();
        let late = "SELECT id, task, priority, due, deadline, state, context, (SELECT octet_length(i.input)::int8 \
                    FROM inputs i WHERE i.task = tasks.task) FROM tasks WHERE pool = $1 AND state < 2 \
                    AND deadline IS NOT NULL AND deadline <= $2 ORDER BY deadline, task LIMIT $3";
        let late = self.waiting(late, pool, now).await?;
        // Which of them could be claimed is asked before the first one ends.
        let rows: Vec<_> = late.iter().map(|late| late.spot.row).collect();
        let claimable = self.claimable_of(pool, &rows).await?;
        for late in late {
            self.end_waiting(&late.spot, late.context.as_ref(), &transition::expire(late.state, now)).await?;
            self.tell_end(late.id);
            swept.expired_bytes += late.input_bytes;
            swept.expired.push((late.id, claimable.contains(&late.spot.row)));
        }
        let due = "SELECT id, task, priority, due, deadline, state, context, 0::int8 FROM tasks WHERE pool = $1 AND state = 0 \
                   AND run_at <= $2 ORDER BY run_at, task LIMIT $3";
        for due in self.waiting(due, pool, now).await? {
            self.promote(&due).await?;
            swept.promoted.push(due.id);
        }
        let gained = self.gained() - before + claimable.len() as i64;
        swept.claimable = usize::try_from(gained).unwrap_or(0);
        swept.next_due = self.next_due(pool).await?;
        Ok(swept)
    }

    async fn claimable_of(&self, pool: &PoolName, rows: &[i64]) -> Sql<Vec<i64>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let sql = "SELECT task FROM ready WHERE pool = $1 AND task = ANY($2)";
        let found = self.query(sql, &[(&pool.as_str(), Type::TEXT), (&rows, Type::INT8_ARRAY)]).await?;
        found.iter().map(|row| get(row, 0)).collect()
    }

    async fn waiting(&self, sql: &str, pool: &PoolName, now: Timestamp) -> Sql<Vec<Waiting>> {
        let (now, limit) = (now.as_micros(), backend::SWEEP_LIMIT as i64);
        let params = [(&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT), (&now, Type::INT8), (&limit, Type::INT8)];
        let rows = self.query(sql, &params).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            match read_waiting(row, pool).map_err(|fault| unread(row, [1, 0], fault)) {
                Ok(waiting) => found.push(waiting),
                Err(Fault::Damaged(unread)) => self.note_unread(*unread),
                Err(fault) => return Err(fault),
            }
        }
        Ok(found)
    }

    /// Queues a task whose time has come. After a retry it still has its place in its context's queue.
    async fn promote(&self, due: &Waiting) -> Sql<()> {
        let pool = &due.spot.pool;
        let before = match &due.context {
            Some(context) => {
                self.lock_line(pool, context).await?;
                self.head(pool, context).await?
            }
            None => None,
        };
        let sql = "UPDATE tasks SET state = $1 WHERE task = $2 AND state = $3 AND pool = $4 RETURNING task";
        let Transition { from, to, .. } = transition::promote();
        let (from, to) = (from as i16, to as i16);
        let params = [
            (&to as &(dyn ToSql + Sync), Type::INT2),
            (&due.spot.row, Type::INT8),
            (&from, Type::INT2),
            (&pool.as_str(), Type::TEXT),
        ];
        if self.run(sql, &params).await? == 0 {
            return Err(Fault::Conflict);
        }
        let Some(context) = &due.context else { return self.make_ready(&due.spot).await };
        self.join(&due.spot, context).await?;
        self.advance(pool, context, before.as_ref()).await
    }

    pub async fn due_by(&self, pool: &PoolName, until: Timestamp) -> Sql<Vec<DueTasks>> {
        let sql = "SELECT min(run_at), count(*) - count(context) + count(DISTINCT context) FROM tasks \
                   WHERE pool = $1 AND state = 0 AND run_at <= $2 GROUP BY run_at / 1000000 ORDER BY 1 LIMIT $3";
        let (until, limit) = (until.as_micros(), backend::DUE_LIMIT as i64);
        let params = [(&pool.as_str() as &(dyn ToSql + Sync), Type::TEXT), (&until, Type::INT8), (&limit, Type::INT8)];
        let rows = self.query(sql, &params).await?;
        rows.iter().map(|row| Ok(DueTasks { at: time(row, 0)?, tasks: get::<i64>(row, 1)?.unsigned_abs() })).collect()
    }

    async fn next_due(&self, pool: &PoolName) -> Sql<Option<Timestamp>> {
        let sql = "SELECT least((SELECT min(run_at) FROM tasks WHERE pool = $1 AND state = 0), \
                   (SELECT min(deadline) FROM tasks WHERE pool = $1 AND deadline IS NOT NULL AND state < 2))";
        let rows = self.query(sql, &[(&pool.as_str(), Type::TEXT)]).await?;
        rows.first().map_or(Ok(None), |row| optional_time(row, 0))
    }
}

fn read_waiting(row: &Row, pool: &PoolName) -> Sql<Waiting> {
    let (due, deadline) = (time(row, 3)?, optional_time(row, 4)?);
    Ok(Waiting {
        id: TaskId::from_uuid(get(row, 0)?),
        spot: QueueKey { pool: pool.clone(), row: get(row, 1)?, priority: priority(row, 2)?.get(), due, deadline },
        state: state(row, 5)?,
        context: context(row, 6)?,
        input_bytes: get::<Option<i64>>(row, 7)?.unwrap_or(0).unsigned_abs(),
    })
}
