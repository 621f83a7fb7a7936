//! What happens to tasks that do not run: cancelling, redriving, sweeping, purging.

use std::time::Duration;

use forerunner_core::{
    Answered, ContextId, Labels, Task, TaskId, TaskState, Timestamp,
    transition::{self, Cancel},
};
use rusqlite::{Row, params};

use super::{
    failure::Sql,
    rows::{self, damage_in, damaged_row, labels, optional_time, priority, run, state, time, uuid, value},
    tx::{Rank, Spot, Tx},
};
use crate::{Cancelled, StateConflict, Swept, damage::Damage, rules};

/// A waiting task that a sweep found.
struct Waiting {
    id: TaskId,
    spot: Spot,
    state: TaskState,
    context: Option<ContextId>,
    was_claimable: bool,
    /// Bytes of its input, if it is to expire.
    input_bytes: u64,
}

/// A task past its retention; without what cannot be read.
struct PastRetention {
    row: i64,
    id: Option<TaskId>,
    pool: i64,
    state: Option<TaskState>,
}

impl Tx<'_> {
    pub fn cancel(&mut self, id: TaskId, now: Timestamp) -> Sql<Result<Cancelled, StateConflict>> {
        let Some(found) = self.find(id)? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (spot, damage, mut task) = (found.spot(), found.damage, Box::new(found.task));
        let end = match transition::cancel(task.state, now) {
            Cancel::End(end) => *end,
            Cancel::Mark => {
                if let Some(lease) = self.cache.leases.get_mut(&id) {
                    lease.stop = true;
                }
                return Ok(Ok(Cancelled::Running(task)));
            }
            Cancel::Ended => return Ok(Ok(Cancelled::Ended(task))),
            Cancel::GiveUp => {
                self.give_up(&spot, &mut task, damage.as_deref().unwrap_or("it was repaired"), now)?;
                return Ok(Ok(Cancelled::Ended(task)));
            }
        };
        let claimable_before = self.claimable(spot.pool)?;
        let was_claimable = self.end_waiting(&spot, task.context.as_ref(), &end)?;
        end.apply(&mut task);
        let claimable = self.claimable(spot.pool)? - claimable_before + i64::from(was_claimable);
        Ok(Ok(Cancelled::Done { task, was_claimable, claimable: usize::try_from(claimable).unwrap_or(0) }))
    }

    pub fn retry(&mut self, id: TaskId, now: Timestamp) -> Sql<Result<Task, StateConflict>> {
        let Some(found) = self.find(id)? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (mut spot, damage, mut task) = (found.spot(), found.damage, found.task);
        if task.state == TaskState::Damaged
            && let Err(mismatch) = self.take_back_repaired(&spot, &mut task, damage.as_ref())?
        {
            return Ok(Err(mismatch));
        }
        let Some(again) = transition::retry(task.state, task.deadline, now) else {
            return Ok(Err(StateConflict::WrongState { task: id, state: task.state, wish: "retried" }));
        };
        self.cache.count(spot.pool, Some(again.from), Some(again.to))?;
        again.apply(&mut task);
        let context = task.context.as_ref();
        let last = context.map(|context| self.last_due(spot.pool, context)).transpose()?.flatten();
        spot.due = last.map_or(task.run_at, |last| last.max(task.run_at));
        spot.deadline = task.deadline;
        let sql = "UPDATE tasks SET state = ?1, attempt = ?2, crashes = ?3, run_at = ?4, due = ?5, deadline = ?6, \
                   started_at = NULL, finished_at = NULL, agent = NULL, node = NULL, error_kind = NULL, error = NULL, \
                   requests = NULL \
                   WHERE task = ?7";
        let deadline = spot.deadline.map(Timestamp::as_micros);
        let (run_at, due) = (task.run_at.as_micros(), spot.due.as_micros());
        let params = params![task.state.code(), task.attempt, task.crashes, run_at, due, deadline, spot.row];
        let before = context.map(|context| self.head(spot.pool, context)).transpose()?.flatten();
        run(self.connection, sql, params)?;
        run(self.connection, "DELETE FROM outputs WHERE task = ?1", [spot.row])?;
        match context {
            Some(context) => {
                self.enter_line(&spot, context, Rank::Joined)?;
                self.advance(spot.pool, context, before)?;
            }
            None => self.make_ready(&spot)?,
        }
        Ok(Ok(task))
    }

    pub fn answer(&mut self, answered: &Answered) -> Sql<Result<Task, StateConflict>> {
        let id = answered.task;
        let Some(found) = self.find(id)? else { return Ok(Err(StateConflict::NoTask { task: id })) };
        let (mut spot, mut task) = (found.spot(), found.task);
        let Some(answer) = transition::answer(&task, answered) else {
            return Ok(Err(StateConflict::WrongState { task: id, state: task.state, wish: "answered" }));
        };
        self.cache.count(spot.pool, Some(answer.from), Some(answer.to))?;
        answer.apply(&mut task);
        let sql = "UPDATE tasks SET state = ?1, attempt = ?2, requests = ?3, deadline = ?4, started_at = NULL, \
                   agent = NULL, node = NULL WHERE task = ?5";
        let (requests, deadline) = (answered.requests.as_str(), task.deadline.map(Timestamp::as_micros));
        run(self.connection, sql, params![task.state.code(), task.attempt, requests, deadline, spot.row])?;
        spot.deadline = task.deadline;
        match &task.context {
            Some(context) => self.advance(spot.pool, context, None)?,
            None => self.make_ready(&spot)?,
        }
        Ok(Ok(task))
    }

    pub fn sweep(&mut self, pool: i64, now: Timestamp) -> Sql<Swept> {
        let claimable_before = self.claimable(pool)?;
        let mut swept = Swept::default();
        let mut left = 0;
        for late in self.readable(|tx| tx.past_deadline(pool, now))? {
            self.end_waiting(&late.spot, late.context.as_ref(), &transition::expire(late.state, now))?;
            left += i64::from(late.was_claimable);
            swept.expired.push((late.id, late.was_claimable));
            swept.expired_bytes += late.input_bytes;
        }
        for due in self.readable(|tx| tx.due(pool, now))? {
            self.promote(&due)?;
            swept.promoted.push(due.id);
        }
        let claimable = self.claimable(pool)? + left - claimable_before;
        swept.claimable = usize::try_from(claimable).unwrap_or(0);
        swept.next_due = [self.next_run_at(pool)?, self.next_deadline(pool)?].into_iter().flatten().min();
        Ok(swept)
    }

    pub fn clock_set_back(&mut self, now: Timestamp, by: Duration) -> Sql<usize> {
        let shift = "UPDATE tasks SET run_at = run_at - ?1 WHERE state = 0 AND attempt > 0 AND run_at > ?2";
        let by_micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        let shifted = match rules::due_before_set_back(now, by) {
            Some(earliest) => run(self.connection, shift, params![by_micros, earliest.as_micros()])?,
            None => 0,
        };
        let bound = "UPDATE tasks SET run_at = ?1 + 2 * i.backoff_max FROM inputs i WHERE i.task = tasks.task \
                     AND state = 0 AND attempt > 0 AND run_at > ?1 + 2 * i.backoff_max";
        Ok(shifted.max(run(self.connection, bound, [now.as_micros()])?))
    }

    /// The result of a scan, once unreadable rows are out of the way.
    fn readable(&mut self, look: impl Fn(&Self) -> Sql<(Vec<Waiting>, Vec<Damage>)>) -> Sql<Vec<Waiting>> {
        loop {
            let (found, damaged) = look(self)?;
            if damaged.is_empty() || self.set_aside(&damaged)? == 0 {
                return Ok(found);
            }
        }
    }

    fn past_deadline(&self, pool: i64, now: Timestamp) -> Sql<(Vec<Waiting>, Vec<Damage>)> {
        self.waiting(
            "SELECT t.id, t.task, t.priority, t.due, t.deadline, t.state, t.context, EXISTS (SELECT 1 FROM ready r \
             WHERE r.pool = t.pool AND r.urgency = 9 - t.priority AND r.due = t.due AND r.task = t.task), \
             (SELECT octet_length(i.input) FROM inputs i WHERE i.task = t.task) FROM tasks t WHERE t.pool = ?1 AND t.state < 2 AND t.deadline IS NOT NULL AND t.deadline <= ?2 \
             ORDER BY t.deadline, t.task LIMIT ?3",
            pool,
            now,
        )
    }

    fn due(&self, pool: i64, now: Timestamp) -> Sql<(Vec<Waiting>, Vec<Damage>)> {
        self.waiting(
            "SELECT id, task, priority, due, deadline, state, context, 0, 0 FROM tasks \
             WHERE pool = ?1 AND state = 0 AND run_at <= ?2 ORDER BY run_at, task LIMIT ?3",
            pool,
            now,
        )
    }

    fn waiting(&self, sql: &str, pool: i64, now: Timestamp) -> Sql<(Vec<Waiting>, Vec<Damage>)> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![pool, now.as_micros(), rules::SWEEP_LIMIT as i64])?;
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            match read_waiting(row, pool).map_err(|error| damaged_row(row, 1, &error)) {
                Ok(waiting) => found.push(waiting),
                Err(error) => damaged.push(damage_in(&error).cloned().ok_or(error)?),
            }
        }
        Ok((found, damaged))
    }

    /// Queues a task whose time has come. After a retry it still has its place in its context's queue.
    fn promote(&mut self, due: &Waiting) -> Sql<()> {
        let before = due.context.as_ref().map(|context| self.head(due.spot.pool, context)).transpose()?.flatten();
        let promoted = transition::promote();
        run(self.connection, "UPDATE tasks SET state = ?1 WHERE task = ?2", params![promoted.to.code(), due.spot.row])?;
        self.cache.count(due.spot.pool, Some(promoted.from), Some(promoted.to))?;
        let Some(context) = &due.context else { return self.make_ready(&due.spot) };
        self.rerank(&due.spot, context, Rank::Delayed, Rank::Joined)?;
        self.advance(due.spot.pool, context, before)
    }

    /// When the next delayed task is due.
    pub fn next_run_at(&self, pool: i64) -> Sql<Option<Timestamp>> {
        let sql = "SELECT min(run_at) FROM tasks WHERE pool = ?1 AND state = 0";
        Ok(value::<Option<i64>>(self.connection, sql, [pool])?.flatten().map(Timestamp::from_micros))
    }

    fn next_deadline(&self, pool: i64) -> Sql<Option<Timestamp>> {
        let sql = "SELECT min(deadline) FROM tasks WHERE pool = ?1 AND deadline IS NOT NULL AND state < 2";
        Ok(value::<Option<i64>>(self.connection, sql, [pool])?.flatten().map(Timestamp::from_micros))
    }

    pub fn purge(&mut self, before: Timestamp, limit: usize) -> Sql<usize> {
        let ended = self.ended_before(before, limit)?;
        for PastRetention { row, id, pool, state } in &ended {
            self.purge_one(*row, *id, *pool)?;
            match self.cache.pool_at(*pool) {
                Ok(_) => self.cache.count(*pool, *state, None)?,
                Err(_) => self.cache.astray -= i64::from(*state == Some(TaskState::Damaged)),
            }
        }
        Ok(ended.len())
    }

    fn ended_before(&self, before: Timestamp, limit: usize) -> Sql<Vec<PastRetention>> {
        let sql = "SELECT task, id, pool, state FROM tasks WHERE finished_at IS NOT NULL AND finished_at < ?1 \
                   ORDER BY finished_at LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![before.as_micros(), limit], |row| {
            let (id, state) = (uuid(row, 1).ok().map(TaskId::from_uuid), state(row, 3).ok());
            Ok(PastRetention { row: row.get(0)?, id, pool: row.get(2)?, state })
        })?;
        rows.collect()
    }

    /// Removes a task that has ended, with all its data.
    pub(super) fn purge_one(&self, row: i64, id: Option<TaskId>, pool: i64) -> Sql<()> {
        let sql = "DELETE FROM inputs WHERE task = ?1 RETURNING labels, key";
        let mut statement = self.connection.prepare_cached(sql)?;
        // An unreadable one is found by a scan of all, which takes long and is rare.
        let found = statement.query_map([row], |row| Ok((row.get(0), row.get(1))))?.next().transpose()?;
        let (text, key): (Sql<Option<String>>, Sql<Option<String>>) = found.unwrap_or((Ok(None), Ok(None)));
        let named = text.and_then(|text| text.map(|text| labels(0, &text)).transpose());
        if let Some(id) = id {
            self.purge_labels(id, named.ok().map(Option::unwrap_or_default))?;
        }
        match key {
            Ok(None) => {}
            Ok(Some(key)) => {
                run(self.connection, "DELETE FROM idempotency_keys WHERE pool = ?1 AND key = ?2", params![pool, key])?;
            }
            Err(_) => drop(run(self.connection, "DELETE FROM idempotency_keys WHERE task = ?1", [row])?),
        }
        run(self.connection, "DELETE FROM damaged WHERE task = ?1", [row])?;
        run(self.connection, "DELETE FROM outputs WHERE task = ?1", [row])?;
        run(self.connection, "DELETE FROM context_costs WHERE task = ?1", [row])?;
        run(self.connection, "DELETE FROM attempts WHERE task = ?1", [row])?;
        run(self.connection, "DELETE FROM tasks WHERE task = ?1", [row]).map(drop)
    }
    fn purge_labels(&self, id: TaskId, named: Option<Labels>) -> Sql<()> {
        let id = id.as_uuid().as_bytes();
        let Some(named) = named else {
            return run(self.connection, "DELETE FROM labels WHERE id = ?1", [id]).map(drop);
        };
        for (key, value) in named {
            let sql = "DELETE FROM labels WHERE key = ?1 AND value = ?2 AND id = ?3";
            run(self.connection, sql, params![key, value, id])?;
        }
        Ok(())
    }
}

fn read_waiting(row: &Row<'_>, pool: i64) -> Sql<Waiting> {
    let (due, deadline) = (time(row, 3)?, optional_time(row, 4)?);
    Ok(Waiting {
        id: TaskId::from_uuid(uuid(row, 0)?),
        spot: Spot { pool, row: row.get(1)?, priority: priority(row, 2)?.get(), due, deadline },
        state: state(row, 5)?,
        context: rows::context(row, 6)?,
        was_claimable: row.get(7)?,
        input_bytes: row.get::<_, Option<i64>>(8)?.map_or(0, i64::unsigned_abs),
    })
}
