//! Tasks with unreadable rows: set aside, restored once they are repaired, or given up.

use forerunner_core::{ContextId, PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{
    StateConflict,
    backend::{Damage, given_up},
};
use tokio_postgres::types::{ToSql, Type};

use crate::{
    failure::{Fault, Sql},
    history::End,
    rows::{QueueKey, clean, get, label_pair, labels_text, micros},
    tx::Tx,
    unread::Unread,
};

const DAMAGED: i16 = TaskState::Damaged as i16;

impl Tx<'_> {
    /// Sets tasks aside that cannot be read: nobody claims, sweeps or waits for them any more. Answers which those were.
    pub async fn set_aside(&self, unread: &[Unread]) -> Sql<Vec<Damage>> {
        let mut left = unread.to_vec();
        let mut done = Vec::new();
        while let Some(one) = left.pop() {
            let Some(lines) = self.move_aside(&one).await? else { continue };
            done.push(one.damage);
            for (pool, context) in lines {
                // The next of a line may be damaged as well.
                left.extend(self.next_of_line(&pool, &context).await?);
            }
        }
        Ok(done)
    }

    /// Marks a task and removes it from all orders; returns the queues of contexts that it was in, or `None` if it was
    /// not to be marked.
    async fn move_aside(&self, one: &Unread) -> Sql<Option<Vec<(PoolName, ContextId)>>> {
        let row = one.damage.row;
        let which = [(&row as &(dyn ToSql + Sync), Type::INT8)];
        let lines = self.query("SELECT pool, context FROM line WHERE task = $1", &which).await?;
        let lines = lines.iter().filter_map(|row| {
            let (pool, context) = (get::<String>(row, 0).ok()?, get::<String>(row, 1).ok()?);
            Some((PoolName::new(pool).ok()?, ContextId::new(context).ok()?))
        });
        let lines: Vec<_> = lines.collect();
        for (pool, context) in &lines {
            self.lock_line(pool, context).await?;
        }
        if !self.mark(one).await? {
            return Ok(None);
        }
        let ready = self.run("DELETE FROM ready WHERE task = $1 RETURNING task", &which).await?;
        self.gained.fetch_sub(ready as i64, std::sync::atomic::Ordering::Relaxed);
        self.run("DELETE FROM line WHERE task = $1 RETURNING task", &which).await?;
        Ok(Some(lines))
    }

    /// Writes down that a task is damaged; answers whether it was not before.
    async fn mark(&self, one: &Unread) -> Sql<bool> {
        const SQL: &str = "\
            WITH t AS (SELECT task, state FROM tasks WHERE id = $2 AND state <> $3 AND (state <> 2 OR $4) FOR UPDATE), \
            h AS (SELECT task, state FROM history WHERE id = $2 AND state <> $3 FOR UPDATE), \
            a AS (UPDATE tasks SET state = $3 FROM t WHERE tasks.task = t.task), \
            b AS (UPDATE history SET state = $3 FROM h WHERE history.id = $2) \
            INSERT INTO damaged (task, id, was, reason) SELECT $1, $2, f.state, $5 \
            FROM (SELECT * FROM t UNION ALL SELECT * FROM h) f LIMIT 1 \
            ON CONFLICT (task) DO UPDATE SET was = excluded.was, reason = excluded.reason RETURNING task";
        let reason = clean(&one.damage.reason);
        let params = [
            (&one.damage.row as &(dyn ToSql + Sync), Type::INT8),
            (&one.id, Type::UUID),
            (&DAMAGED, Type::INT2),
            (&one.even_running, Type::BOOL),
            (&reason, Type::TEXT),
        ];
        let is_new = self.run(SQL, &params).await? > 0;
        if is_new {
            self.tell_end(TaskId::from_uuid(one.id));
        }
        Ok(is_new)
    }

    /// Makes the first of a line claimable, if it may be; answers what is wrong with it if it cannot be read.
    async fn next_of_line(&self, pool: &PoolName, context: &ContextId) -> Sql<Option<Unread>> {
        let spot = match self.head(pool, context).await {
            Ok(Some(spot)) => spot,
            Ok(None) => return Ok(None),
            Err(Fault::Damaged(unread)) => return Ok(Some(*unread)),
            Err(fault) => return Err(fault),
        };
        let is_ready = "SELECT 1 FROM ready WHERE pool = $1 AND urgency = $2 AND due = $3 AND task = $4";
        let (urgency, due) = (spot.urgency(), spot.due.as_micros());
        let params = [
            (&spot.pool.as_str() as &(dyn ToSql + Sync), Type::TEXT),
            (&urgency, Type::INT2),
            (&due, Type::INT8),
            (&spot.row, Type::INT8),
        ];
        if self.query(is_ready, &params).await?.is_empty() {
            self.make_ready(&spot).await?;
        }
        self.hints().work.insert(pool.clone());
        Ok(None)
    }

    /// How many tasks are set aside.
    pub async fn count_damaged(&self) -> Sql<u64> {
        let rows = self.query("SELECT count(*) FROM damaged", &[]).await?;
        rows.first().map_or(Ok(0), |row| Ok(get::<i64>(row, 0)?.unsigned_abs()))
    }

    /// Restores a repaired task to its state, if that is an end; returns the reason if its row is still unreadable.
    pub async fn take_back_repaired(
        &self,
        row: i64,
        task: &mut Task,
        damage: Option<&String>,
    ) -> Sql<Result<(), StateConflict>> {
        if let Some(reason) = damage {
            return Ok(Err(StateConflict::Damaged { task: task.id, reason: reason.clone() }));
        }
        let rows = self.query("DELETE FROM damaged WHERE task = $1 RETURNING was", &[(&row, Type::INT8)]).await?;
        let was = rows.first().map(|row| get::<i16>(row, 0)).transpose()?;
        let was = was.and_then(|code| TaskState::ALL.get(usize::try_from(code).ok()?)).copied();
        if let Some(was) = was.filter(|was| was.is_terminal() && *was != TaskState::Damaged) {
            let code = was as i16;
            let params = [(&code as &(dyn ToSql + Sync), Type::INT2), (task.id.as_uuid(), Type::UUID)];
            for table in ["tasks", "history"] {
                self.run(&format!("UPDATE {table} SET state = $1 WHERE id = $2 RETURNING task"), &params).await?;
            }
            task.state = was;
        }
        Ok(Ok(()))
    }

    /// Gives up a damaged task: what could be read of it is written anew, as a task that was cancelled.
    pub async fn give_up(&self, spot: &QueueKey, task: &mut Task, reason: &str, now: Timestamp) -> Sql<()> {
        let error = given_up(reason);
        (task.state, task.finished_at, task.error) = (TaskState::Cancelled, Some(now), Some(error.clone()));
        let is_unfinished = self.rewrite(spot, task).await?;
        if is_unfinished {
            self.rewrite_input(spot.row, task).await?;
            let (from, to) = (TaskState::Damaged, TaskState::Cancelled);
            let error = Some(&error);
            let end = End { row: spot.row, from, epoch: None, to, at: now, error, output: None, crashes: None };
            self.end(&end).await?;
        } else {
            self.rewrite_ended(spot, task).await?;
        }
        self.run("DELETE FROM damaged WHERE task = $1 RETURNING task", &[(&spot.row, Type::INT8)]).await?;
        self.tell_end(task.id);
        Ok(())
    }

    /// Answers whether the task is among those that have not ended.
    async fn rewrite(&self, spot: &QueueKey, task: &Task) -> Sql<bool> {
        let sql = "UPDATE tasks SET pool = $2, context = $3, priority = $4, due = $5, run_at = $6, deadline = $7, attempt = $8, \
                   crashes = $9, epoch = $10, started_at = $11 WHERE task = $1 RETURNING task";
        let n = Narrow::of(spot, task);
        Ok(self.run(sql, &n.params(&spot.row)).await? > 0)
    }

    async fn rewrite_input(&self, row: i64, task: &Task) -> Sql<()> {
        let sql = "INSERT INTO inputs (task, submitted_at, timeout, max_attempts, max_crashes, backoff_initial, backoff_max, \
                   input, labels, label_pairs, key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (task) \
                   DO UPDATE SET submitted_at = excluded.submitted_at, timeout = excluded.timeout, \
                   max_attempts = excluded.max_attempts, max_crashes = excluded.max_crashes, \
                   backoff_initial = excluded.backoff_initial, backoff_max = excluded.backoff_max, input = excluded.input, \
                   labels = excluded.labels, label_pairs = excluded.label_pairs, key = excluded.key RETURNING task";
        let wide = Wide::of(task);
        self.run(sql, &wide.params(&row)).await.map(drop)
    }

    async fn rewrite_ended(&self, spot: &QueueKey, task: &Task) -> Sql<()> {
        let sql = "UPDATE history SET pool = $2, context = $3, priority = $4, due = $5, run_at = $6, deadline = $7, attempt = $8, \
                   crashes = $9, epoch = $10, started_at = $11 WHERE task = $1 AND id = $12 RETURNING task";
        let n = Narrow::of(spot, task);
        let id = [(task.id.as_uuid() as &(dyn ToSql + Sync), Type::UUID)];
        let params: Vec<_> = n.params(&spot.row).into_iter().chain(id.iter().cloned()).collect();
        self.run(sql, &params).await?;
        let sql = "UPDATE history SET submitted_at = $2, timeout = $3, max_attempts = $4, max_crashes = $5, backoff_initial = $6, \
                   backoff_max = $7, input = $8, labels = $9, label_pairs = $10, key = $11 \
                   WHERE task = $1 AND id = $12 RETURNING task";
        let wide = Wide::of(task);
        let params: Vec<_> = wide.params(&spot.row).into_iter().chain(id.iter().cloned()).collect();
        self.run(sql, &params).await?;
        // The time of its end determines its partition, and stays.
        let sql = "UPDATE history SET state = $1, agent = NULL, node = NULL, output = NULL, cost = NULL, log = NULL, \
                   error_kind = $2, error = $3 WHERE id = $4 RETURNING task";
        let (state, error) = (task.state as i16, task.error.as_ref());
        let (kind, message) = (error.map(|error| error.kind.as_str()), error.map(|error| clean(&error.message)));
        let params = [
            (&state as &(dyn ToSql + Sync), Type::INT2),
            (&kind, Type::TEXT),
            (&message, Type::TEXT),
            (task.id.as_uuid(), Type::UUID),
        ];
        self.run(sql, &params).await.map(drop)
    }
}

/// The columns that change during a task's life.
struct Narrow<'a> {
    pool: &'a str,
    context: Option<&'a str>,
    priority: i16,
    times: [i64; 2],
    deadline: Option<i64>,
    counts: [i64; 3],
    started_at: Option<i64>,
}

impl<'a> Narrow<'a> {
    fn of(spot: &QueueKey, task: &'a Task) -> Self {
        Self {
            pool: task.pool.as_str(),
            context: task.context.as_ref().map(ContextId::as_str),
            priority: task.priority.get().into(),
            times: [spot.due.as_micros(), task.run_at.as_micros()],
            deadline: task.deadline.map(Timestamp::as_micros),
            counts: [task.attempt.into(), task.crashes.into(), task.epoch.0 as i64],
            started_at: task.started_at.map(Timestamp::as_micros),
        }
    }

    fn params<'b>(&'b self, row: &'b i64) -> Vec<(&'b (dyn ToSql + Sync), Type)> {
        let [due, run_at] = &self.times;
        let [attempt, crashes, epoch] = &self.counts;
        vec![
            (row, Type::INT8),
            (&self.pool, Type::TEXT),
            (&self.context, Type::TEXT),
            (&self.priority, Type::INT2),
            (due, Type::INT8),
            (run_at, Type::INT8),
            (&self.deadline, Type::INT8),
            (attempt, Type::INT8),
            (crashes, Type::INT8),
            (epoch, Type::INT8),
            (&self.started_at, Type::INT8),
        ]
    }
}

/// The columns that never change.
struct Wide<'a> {
    numbers: [i64; 6],
    input: &'a str,
    labels: Option<String>,
    pairs: Option<Vec<String>>,
    key: Option<&'a str>,
}

impl<'a> Wide<'a> {
    fn of(task: &'a Task) -> Self {
        let retry = &task.retry;
        let pairs: Vec<_> = task.labels.iter().map(|(key, value)| label_pair(key, value)).collect();
        Self {
            numbers: [
                task.submitted_at.as_micros(),
                micros(task.timeout),
                retry.max_attempts.into(),
                retry.max_crashes.into(),
                micros(retry.initial),
                micros(retry.max),
            ],
            input: task.input.as_str(),
            labels: labels_text(&task.labels),
            pairs: (!pairs.is_empty()).then_some(pairs),
            key: task.idempotency_key.as_ref().map(|key| key.as_str()),
        }
    }

    fn params<'b>(&'b self, row: &'b i64) -> Vec<(&'b (dyn ToSql + Sync), Type)> {
        let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![(row, Type::INT8)];
        params.extend(self.numbers.iter().map(|number| (number as &(dyn ToSql + Sync), Type::INT8)));
        let rest: [(&(dyn ToSql + Sync), Type); 4] = [
            (&self.input, Type::TEXT),
            (&self.labels, Type::TEXT),
            (&self.pairs, Type::TEXT_ARRAY),
            (&self.key, Type::TEXT),
        ];
        params.extend(rest);
        params
    }
}
