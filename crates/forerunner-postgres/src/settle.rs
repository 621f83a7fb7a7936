//! Ending attempts.

use std::collections::HashSet;

use forerunner_core::{ErrorKind, LeaseEpoch, Next, TaskError, TaskId, TaskState, Timestamp};
use forerunner_store::{
    LeaseLost, Settled, Settlement,
    backend::{self, Damage},
};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    attempts::with_attempt,
    batch::Member,
    failure::{Fault, Sql},
    history::{End, FINISH},
    rows::{Stored, clean, get},
    tx::Tx,
    unread::Unread,
};

/// Whether a settlement can be written together with others, without a lookup. A crash counts, and is rare.
pub(crate) fn is_plain_end(settlement: &Settlement) -> bool {
    let Next::Finish { error, .. } = &settlement.next else { return false };
    let is_crash = error.as_ref().is_some_and(|error| error.kind.is_crash());
    settlement.context.is_none() && settlement.context_cost.is_none() && !is_crash
}

impl Member for Settlement {
    type Answer = Result<Settled, LeaseLost>;

    async fn store(tx: &Tx<'_>, members: &[&Self]) -> Sql<Vec<Option<Self::Answer>>> {
        tx.settle(members).await
    }

    /// The attempt ends with an error in place of its result.
    fn refuse(&mut self, reason: &str, is_over_limit: bool) -> Option<Self::Answer> {
        let kind = if is_over_limit { ErrorKind::TooLarge } else { ErrorKind::AgentError };
        // In characters that every database has.
        let reason: String = reason.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
        let error = Some(TaskError::new(kind, format!("the database refuses the result of the attempt: {reason}")));
        self.next = Next::Finish { state: TaskState::Failed, output: None, error };
        (self.context, self.context_cost) = (None, None);
        None
    }
}

/// How a task waits for another attempt.
pub(crate) struct Retried<'a> {
    pub(crate) run_at: Timestamp,
    pub(crate) error: &'a TaskError,
    pub(crate) crashes: u32,
    /// Whether the attempt counts.
    pub(crate) counts: bool,
}

impl Tx<'_> {
    /// Ends attempts. In a short transaction, attempts that one statement for all does not end are left open.
    async fn settle(&self, batch: &[&Settlement]) -> Sql<Vec<Option<Result<Settled, LeaseLost>>>> {
        let mut ids = HashSet::with_capacity(batch.len());
        let is_distinct = batch.iter().all(|settlement| ids.insert(settlement.task));
        let done = if is_distinct { self.finish_plain(batch).await? } else { HashSet::new() };
        let mut answers = Vec::with_capacity(batch.len());
        for settlement in batch {
            answers.push(match (&settlement.next, done.contains(settlement.task.as_uuid())) {
                (Next::Finish { state, .. }, true) => {
                    Some(Ok(Settled { state: backend::end_state(*state), claimable: 0, run_at: None }))
                }
                _ if self.is_short => None,
                _ => Some(self.settle_one(settlement).await?),
            });
        }
        Ok(answers)
    }

    async fn finish_plain(&self, batch: &[&Settlement]) -> Sql<HashSet<Uuid>> {
        let (mut ids, mut epochs, mut states, mut ends) = (vec![], vec![], vec![], vec![]);
        let (mut kinds, mut errors, mut outputs) = (vec![], vec![], vec![]);
        let (mut agents, mut starts, mut logs) = (vec![], vec![], vec![]);
        for settlement in batch.iter().filter(|settlement| is_plain_end(settlement)) {
            let Next::Finish { state, output, error } = &settlement.next else { continue };
            ids.push(*settlement.task.as_uuid());
            epochs.push(settlement.epoch.0 as i64);
            states.push(backend::end_state(*state) as i16);
            ends.push(settlement.now.as_micros());
            kinds.push(error.as_ref().map(|error| error.kind.as_str()));
            errors.push(error.as_ref().map(|error| clean(&error.message)));
            outputs.push(output.as_ref().map(|output| output.as_str()));
            agents.push(settlement.started.map(|start| *start.agent.as_uuid()));
            starts.push(settlement.started.map(|start| start.at.as_micros()));
            logs.push(error.as_ref().and_then(|error| error.log.as_deref().map(clean)));
        }
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let params = [
            (&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY),
            (&epochs, Type::INT8_ARRAY),
            (&states, Type::INT2_ARRAY),
            (&ends, Type::INT8_ARRAY),
            (&kinds, Type::TEXT_ARRAY),
            (&errors, Type::TEXT_ARRAY),
            (&outputs, Type::TEXT_ARRAY),
            (&agents, Type::UUID_ARRAY),
            (&starts, Type::INT8_ARRAY),
            (&logs, Type::TEXT_ARRAY),
        ];
        let ended: HashSet<Uuid> =
            self.query(FINISH, &params).await?.iter().map(|row| get(row, 0)).collect::<Sql<_>>()?;
        self.hints().ended.extend(ended.iter().copied().map(TaskId::from_uuid));
        Ok(ended)
    }

    /// The task if it runs under this epoch, with its line locked.
    pub(crate) async fn leased(&self, task: TaskId, epoch: LeaseEpoch) -> Sql<Option<Stored>> {
        let is_held = |found: &Stored| found.task.state == TaskState::Running && found.task.epoch == epoch;
        let Some(found) = self.find_unfinished(task).await?.filter(is_held) else { return Ok(None) };
        if let Some(reason) = found.damage {
            let damage = Damage { row: found.row, reason };
            let unread = Unread { damage, id: *task.as_uuid(), even_running: true };
            return Err(Fault::Damaged(Box::new(unread)));
        }
        let Some(context) = &found.task.context else { return Ok(Some(found)) };
        self.lock_line(&found.task.pool, context).await?;
        Ok(self.find_unfinished(task).await?.filter(is_held))
    }

    async fn settle_one(&self, settlement: &Settlement) -> Sql<Result<Settled, LeaseLost>> {
        let Settlement { task, epoch, now, .. } = *settlement;
        let lost = Ok(Err(LeaseLost { task, epoch }));
        let Some(mut lease) = self.leased(task, epoch).await? else { return lost };
        if let Some(commit) = &settlement.context
            && !self.commit_context(&lease.task.pool, commit, now).await?
        {
            return lost;
        }
        if let Some(commit) = &settlement.context {
            self.note_holder(&lease.task.pool, &commit.context, lease.task.node).await?;
        }
        if let Some(cost) = &settlement.context_cost {
            self.note_context_cost(lease.row, cost).await?;
        }
        if let Some(start) = settlement.started {
            self.assign(&[(task, epoch, start)]).await?;
            lease.task.started_at = lease.task.started_at.or(Some(start.at));
        }
        let before = self.gained();
        let mut run_at = None;
        let state = match &settlement.next {
            Next::Finish { state, output, error } => {
                let state = backend::end_state(*state);
                let output = output.as_ref().map(|output| output.as_str());
                lease.task.crashes += u32::from(error.as_ref().is_some_and(|error| error.kind.is_crash()));
                self.finish(&lease, state, error.as_ref(), output, now).await?;
                state
            }
            // Somebody cancelled it and it ended without a result: that is all there is to do.
            Next::Retry { .. } | Next::Release if lease.is_to_stop => {
                lease.task.crashes += u32::from(matches!(settlement.next, Next::Retry { crash: true, .. }));
                self.finish(&lease, TaskState::Cancelled, Some(&backend::cancelled()), None, now).await?;
                TaskState::Cancelled
            }
            Next::Retry { run_at: at, error, crash, counts } => {
                let state = backend::retry_state(*at, now);
                run_at = (state == TaskState::Scheduled).then_some(*at);
                let crashes = lease.task.crashes + u32::from(*crash);
                if !counts && lease.task.context.is_none() {
                    lease.due = *at;
                }
                let retried = Retried { run_at: *at, error, crashes, counts: *counts };
                self.schedule_retry(&lease, state, &retried, now).await?;
                state
            }
            Next::Release => {
                self.release(&lease, now).await?;
                TaskState::Queued
            }
        };
        let claimable = usize::try_from(self.gained() - before).unwrap_or(0);
        Ok(Ok(Settled { state, claimable, run_at }))
    }

    pub(crate) async fn finish(
        &self,
        lease: &Stored,
        state: TaskState,
        error: Option<&TaskError>,
        output: Option<&str>,
        now: Timestamp,
    ) -> Sql<()> {
        let (crashes, epoch) = (i64::from(lease.task.crashes), lease.task.epoch.0 as i64);
        self.end(&End {
            row: lease.row,
            from: TaskState::Running,
            epoch: Some(epoch),
            to: state,
            at: now,
            error,
            output,
            crashes: Some(crashes),
        })
        .await?;
        self.tell_end(lease.task.id);
        let Some(context) = &lease.task.context else { return Ok(()) };
        self.leave_line(&lease.spot(), context).await?;
        self.advance(&lease.task.pool, context, None).await
    }

    pub(crate) async fn schedule_retry(
        &self,
        lease: &Stored,
        state: TaskState,
        retried: &Retried<'_>,
        at: Timestamp,
    ) -> Sql<()> {
        const SQL: &str = concat!(
            "UPDATE tasks t SET state = $1, run_at = $2, error_kind = $3, error = $4, crashes = $5, \
             attempt = $10, due = $11, attempts = CASE WHEN t.started_at IS NULL OR $10 < t.attempt THEN t.attempts ELSE ",
            with_attempt!("$1::int2", "$8::int8", "$3::text", "$4::text", "$9::text", "t.agent", "t.started_at"),
            " END WHERE task = $6 AND epoch = $7 AND state = 2 RETURNING task"
        );
        let Retried { run_at, error, crashes, counts } = *retried;
        let (code, run_at, crashes) = (state as i16, run_at.as_micros(), i64::from(crashes));
        let attempt = i64::from(lease.task.attempt.saturating_sub(u32::from(!counts)));
        let due = lease.due.as_micros();
        let (message, epoch) = (clean(&error.message), lease.task.epoch.0 as i64);
        let (ended_at, log) = (at.as_micros(), error.log.as_deref().map(clean));
        let params = [
            (&code as &(dyn ToSql + Sync), Type::INT2),
            (&run_at, Type::INT8),
            (&error.kind.as_str(), Type::TEXT),
            (&message, Type::TEXT),
            (&crashes, Type::INT8),
            (&lease.row, Type::INT8),
            (&epoch, Type::INT8),
            (&ended_at, Type::INT8),
            (&log, Type::TEXT),
            (&attempt, Type::INT8),
            (&due, Type::INT8),
        ];
        if self.run(SQL, &params).await? == 0 {
            return Err(Fault::Conflict);
        }
        self.log_return(lease, state, Some(error), at).await?;
        self.wait_again(lease, state).await
    }

    pub(crate) async fn release(&self, lease: &Stored, now: Timestamp) -> Sql<()> {
        let sql = "UPDATE tasks SET state = 1, attempt = $1, crashes = $4, started_at = NULL, agent = NULL, node = NULL \
                   WHERE task = $2 AND epoch = $3 AND state = 2 RETURNING task";
        let (attempt, epoch) = (i64::from(lease.task.attempt.saturating_sub(1)), lease.task.epoch.0 as i64);
        let crashes = i64::from(lease.task.crashes);
        let params = [
            (&attempt as &(dyn ToSql + Sync), Type::INT8),
            (&lease.row, Type::INT8),
            (&epoch, Type::INT8),
            (&crashes, Type::INT8),
        ];
        if self.run(sql, &params).await? == 0 {
            return Err(Fault::Conflict);
        }
        // A task that was only prefetched has no events.
        if lease.task.started_at.is_some() {
            self.log_return(lease, TaskState::Queued, None, now).await?;
        }
        self.wait_again(lease, TaskState::Queued).await
    }

    /// Puts a task whose attempt ended back among the waiting ones, at the place it had before.
    async fn wait_again(&self, lease: &Stored, state: TaskState) -> Sql<()> {
        match &lease.task.context {
            Some(context) => {
                self.join(&lease.spot(), context).await?;
                self.advance(&lease.task.pool, context, None).await
            }
            None if state == TaskState::Queued => self.make_ready(&lease.spot()).await,
            None => Ok(()),
        }
    }
}
