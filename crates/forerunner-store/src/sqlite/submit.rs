//! Accepting and claiming.

use std::sync::LazyLock;

use forerunner_core::{IdempotencyKey, NodeId, Task, TaskId, TaskState, Timestamp};
use rusqlite::{params, params_from_iter};

use super::{
    cache::Lease,
    failure::Sql,
    ready::ReadyKey,
    rows::{AFTER, Stored, damage_in, damaged_row, depth as row_depth, param, run, stored, task_columns, value},
    tx::{Rank, Spot, Tx},
};
use crate::{
    Claim, EnqueueOutcome, KeyedTask, Refusal, Submission,
    columns::{Cell, Part, cell_of_new, column_list, columns_of, columns_of_new},
    damage::Damage,
    rules,
};

/// What the order of claimable tasks leads to first.
#[derive(Default)]
struct Ready {
    found: Vec<Stored>,
    damaged: Vec<Damage>,
    /// The keys of the damaged ones.
    unread: Vec<ReadyKey>,
    /// Those that disagree with the task that they name.
    wrong: Vec<ReadyKey>,
}

impl Tx<'_> {
    pub fn enqueue(&mut self, batch: &[Submission]) -> Sql<Vec<Result<EnqueueOutcome, Refusal>>> {
        batch.iter().map(|submission| self.accept(submission)).collect()
    }

    fn accept(&mut self, submission: &Submission) -> Sql<Result<EnqueueOutcome, Refusal>> {
        let task = &submission.task;
        let pool = self.pool_or_new(&task.pool)?;
        if let Some(answer) = self.known_by_key(pool, submission)? {
            return Ok(answer);
        }
        if let Err(refusal) = self.check_bounds(pool, submission)? {
            return Ok(Err(refusal));
        }
        let depth = match task.parent.map(|parent| self.child_depth(parent, submission)).transpose()? {
            Some(Err(refusal)) => return Ok(Err(refusal)),
            Some(Ok(depth)) => depth,
            None => 0,
        };
        let state = rules::first_state(task);
        let (mut due, mut claimable) = (rules::first_due(task), state == TaskState::Queued);
        if claimable
            && let Some(context) = &task.context
            && let Some(last) = self.last_due(pool, context)?
        {
            // Somebody is ahead. A clock that went back must not let this one push in front.
            (due, claimable) = (due.max(last), false);
        }
        let row = self.cache.next_row;
        let deadline = task.deadline;
        let spot = Spot { pool, row, priority: task.priority.get(), due, deadline };
        if !self.insert_task(task, &spot, (state, depth))? {
            let known = self.find(task.id)?;
            return known
                .map(|known| Ok(EnqueueOutcome::Known(Box::new(known.task))))
                .ok_or(rusqlite::Error::QueryReturnedNoRows);
        }
        self.cache.next_row += 1;
        self.insert_input(task, row)?;
        self.insert_key(pool, submission, row)?;
        if let Some(context) = &task.context {
            self.enter_line(&spot, context, if state == TaskState::Queued { Rank::Joined } else { Rank::Delayed })?;
        }
        if claimable {
            self.make_ready(&spot)?;
        }
        self.cache.count(pool, None, Some(state))?;
        Ok(Ok(EnqueueOutcome::New { task: task.id, state, claimable, depth }))
    }

    fn child_depth(&self, parent: TaskId, submission: &Submission) -> Sql<Result<u32, Refusal>> {
        let sql = "SELECT depth FROM tasks WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([parent.as_uuid().as_bytes()])?;
        // A child cannot build on an unreadable depth.
        let found = rows.next()?.and_then(|row| row_depth(row, 0).ok());
        Ok(rules::child_depth(parent, found, submission.bounds))
    }

    fn check_bounds(&self, pool: i64, submission: &Submission) -> Sql<Result<(), Refusal>> {
        let Submission { task, bounds, .. } = submission;
        if let Some((context, full)) = task.context.as_ref().zip(bounds.contexts_full) {
            let sql = "SELECT 1 FROM contexts WHERE pool = ?1 AND name = ?2 \
                       UNION ALL SELECT 1 FROM context_queue WHERE pool = ?1 AND context = ?2 LIMIT 1";
            if value::<i64>(self.connection, sql, params![pool, context.as_str()])?.is_none() {
                return Ok(Err(rules::contexts_full(&task.pool, context, full)));
            }
        }
        Ok(Ok(()))
    }

    fn known_by_key(&self, pool: i64, submission: &Submission) -> Sql<Option<Result<EnqueueOutcome, Refusal>>> {
        let Some(key) = &submission.task.idempotency_key else { return Ok(None) };
        let Some(KeyedTask { task, fingerprint }) = self.keyed(pool, key)? else { return Ok(None) };
        Ok(Some(match fingerprint == submission.fingerprint {
            true => Ok(EnqueueOutcome::Known(Box::new(task))),
            false => Err(Refusal::KeyReused { key: key.clone(), task: task.id }),
        }))
    }

    /// The task that has a key.
    pub fn keyed(&self, pool: i64, key: &IdempotencyKey) -> Sql<Option<KeyedTask>> {
        let sql = "SELECT t.id, k.fingerprint, t.task FROM idempotency_keys k CROSS JOIN tasks t ON t.task = k.task \
                   WHERE k.pool = ?1 AND k.key = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![pool, key.as_str()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let id = super::rows::uuid(row, 0).map_err(|error| damaged_row(row, 2, &error))?;
        let id = forerunner_core::TaskId::from_uuid(id);
        // One that cannot be read is of no other submission.
        let fingerprint = row.get(1).unwrap_or_default();
        Ok(self.find(id)?.map(|known| KeyedTask { task: known.task, fingerprint }))
    }

    /// Writes the narrow row, unless the id is known.
    fn insert_task(&self, task: &Task, spot: &Spot, (state, depth): (TaskState, u32)) -> Sql<bool> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let columns = column_list(columns_of_new(Part::Task), |column| column.name.to_owned());
            let places = places(4 + columns_of_new(Part::Task).count());
            format!("INSERT INTO tasks (task, id, pool, due, {columns}) VALUES ({places}) ON CONFLICT (id) DO NOTHING")
        });
        let own = [spot.row.into(), param(Cell::Id(*task.id.as_uuid())), spot.pool.into(), spot.due.as_micros().into()];
        let cells = columns_of_new(Part::Task).map(|column| param(cell_of_new(column, task, state, depth)));
        Ok(run(self.connection, &SQL, params_from_iter(own.into_iter().chain(cells)))? > 0)
    }

    /// Writes the wide row, and the labels to find it by.
    pub(super) fn insert_input(&self, task: &Task, row: i64) -> Sql<()> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let columns = column_list(columns_of(Part::Input), |column| column.name.to_owned());
            format!("INSERT INTO inputs (task, {columns}) VALUES ({})", places(1 + columns_of(Part::Input).count()))
        });
        let cells = columns_of(Part::Input).map(|column| param(column.cell(task)));
        run(self.connection, &SQL, params_from_iter([row.into()].into_iter().chain(cells)))?;
        for (key, value) in &task.labels {
            let sql = "INSERT OR REPLACE INTO labels (key, value, id) VALUES (?1, ?2, ?3)";
            run(self.connection, sql, params![key, value, task.id.as_uuid().as_bytes()])?;
        }
        Ok(())
    }

    fn insert_key(&self, pool: i64, submission: &Submission, row: i64) -> Sql<()> {
        let Some(key) = &submission.task.idempotency_key else { return Ok(()) };
        // A key whose task is gone, or has lost its id, is free.
        let sql = "INSERT OR REPLACE INTO idempotency_keys (pool, key, task, fingerprint) VALUES (?1, ?2, ?3, ?4)";
        run(self.connection, sql, params![pool, key.as_str(), row, submission.fingerprint]).map(drop)
    }

    pub fn claim(&mut self, claim: &Claim) -> Sql<Vec<Task>> {
        let Some(pool) = self.cache.pool(&claim.pool).filter(|_| claim.limit > 0) else {
            self.renew(claim.node, claim.lease_until, false)?;
            return Ok(Vec::new());
        };
        let found = if self.claimable(pool)? > 0 { self.first_readable(pool, claim)? } else { Vec::new() };
        self.renew(claim.node, claim.lease_until, !found.is_empty())?;
        let Some(last) = found.last().map(Stored::spot) else { return Ok(Vec::new()) };
        self.take_ready(pool, &last, found.len(), claim.now)?;
        found.into_iter().enumerate().map(|(place, stored)| self.lease(stored, claim, place)).collect()
    }

    /// Lets all leases of a node live on. It is written only along with new leases: after a restart all are void.
    pub fn renew(&mut self, node: NodeId, lease_until: Timestamp, write: bool) -> Sql<()> {
        let until = self.cache.nodes.entry(node).or_default();
        *until = lease_until.max(*until);
        if write {
            let sql = "INSERT INTO nodes (node, lease_until) VALUES (?1, ?2) \
                       ON CONFLICT (node) DO UPDATE SET lease_until = max(lease_until, excluded.lease_until)";
            run(self.connection, sql, params![node.as_uuid().as_bytes(), until.as_micros()])?;
        }
        Ok(())
    }

    /// The first claimable tasks, once those that cannot be read and those in a wrong place are out of the way.
    fn first_readable(&mut self, pool: i64, claim: &Claim) -> Sql<Vec<Stored>> {
        loop {
            let Ready { found, damaged, unread, wrong } = self.first_ready(pool, claim)?;
            if damaged.is_empty() && wrong.is_empty() {
                return Ok(found);
            }
            self.set_aside(&damaged)?;
            // A task that was set aside before has a place too.
            unread.iter().try_for_each(|key| self.remove_ready(pool, key))?;
            self.correct_ready(pool, &wrong)?;
        }
    }

    fn first_ready(&self, pool: i64, claim: &Claim) -> Sql<Ready> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let columns = task_columns("NULL");
            format!(
                "SELECT {columns}, r.urgency, r.due, r.task FROM ready r LEFT JOIN tasks t ON t.task = r.task \
                 LEFT JOIN inputs i ON i.task = r.task WHERE r.pool = ?1 AND (r.deadline IS NULL OR r.deadline > ?2) \
                 ORDER BY r.urgency, r.due, r.task LIMIT ?3"
            )
        });
        let mut statement = self.connection.prepare_cached(&SQL)?;
        let limit = i64::try_from(claim.limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![pool, claim.now.as_micros(), limit])?;
        let mut ready = Ready::default();
        while let Some(row) = rows.next()? {
            let key = ReadyKey::read(row, AFTER)?;
            match stored(row, |_| Some(claim.pool.clone())) {
                Ok(stored) if is_claimable(&stored, pool, &key) => ready.found.push(stored),
                Ok(_) => ready.wrong.push(key),
                Err(error) => {
                    let damage = damage_in(&error).cloned().ok_or(error)?;
                    ready.damaged.push(Damage { row: key.row, ..damage });
                    ready.unread.push(key);
                }
            }
        }
        Ok(ready)
    }

    /// Removes from the claimable ones what [`first_ready`](Self::first_ready) found, in one statement.
    fn take_ready(&mut self, pool: i64, last: &Spot, found: usize, now: Timestamp) -> Sql<()> {
        let sql = "DELETE FROM ready WHERE pool = ?1 AND (urgency, due, task) <= (?2, ?3, ?4) \
                   AND (deadline IS NULL OR deadline > ?5)";
        let params = params![pool, 9 - last.priority, last.due.as_micros(), last.row, now.as_micros()];
        let removed = run(self.connection, sql, params)?;
        debug_assert_eq!(removed, found, "the same condition finds and removes");
        self.cache.pool_at(pool)?.claimable -= removed as i64;
        Ok(())
    }

    pub(super) fn lease(&mut self, found: Stored, claim: &Claim, place: usize) -> Sql<Task> {
        let spot = found.spot();
        let mut task = found.task;
        task.state = TaskState::Running;
        task.epoch.0 = task.epoch.0.max(self.epoch_floor) + 1;
        task.attempt += 1;
        task.started_at = rules::starts(claim, place, task.crashes).then_some(claim.now);
        task.node = Some(claim.node);
        task.agent = None;
        let sql = "UPDATE tasks SET state = 2, epoch = ?1, attempt = ?2, started_at = ?3, node = ?4, agent = NULL \
                   WHERE task = ?5";
        let node = claim.node.as_uuid().as_bytes();
        let started_at = task.started_at.map(Timestamp::as_micros);
        run(self.connection, sql, params![task.epoch.0 as i64, task.attempt, started_at, node, spot.row])?;
        if let Some(context) = &task.context {
            self.rerank(&spot, context, Rank::Joined, Rank::Running)?;
            (task.context_born, task.context_version, task.context_free_at) =
                self.context_version(spot.row, spot.pool, context)?;
        }
        self.cache.count(spot.pool, Some(TaskState::Queued), Some(TaskState::Running))?;
        let lease = Lease {
            row: spot.row,
            pool: spot.pool,
            epoch: task.epoch,
            priority: spot.priority,
            due: spot.due,
            deadline: spot.deadline,
            attempt: task.attempt,
            crashes: task.crashes,
            max_crashes: task.retry.max_crashes,
            context: task.context.clone(),
            node: task.node,
            started_at: task.started_at,
            stop: false,
        };
        self.cache.leases.insert(task.id, lease);
        Ok(task)
    }
}

/// Returns the parameters of a statement: `?1` to `?count`.
fn places(count: usize) -> String {
    (1..=count).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ")
}

/// Whether a task may be claimed where the order names it.
fn is_claimable(stored: &Stored, pool: i64, key: &ReadyKey) -> bool {
    stored.task.state == TaskState::Queued && stored.pool == pool && key.is_of(&stored.spot())
}
