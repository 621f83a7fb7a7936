//! Ending attempts.

use std::collections::HashSet;

use forerunner_core::{
    ErrorKind, LeaseEpoch, Next, Payload, TaskError, TaskId, TaskReport, TaskState, Timestamp, Transition,
    transition::{self, Changes, Running},
};
use forerunner_store::{LeaseLost, Settled, Settlement, backend};
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    attempts::with_attempt,
    batch::Member,
    ended::{End, FINISH, error_columns, log_of},
    failure::{Fault, Sql},
    rows::{QueueEntry, Stored, get},
    tx::Tx,
    unread::Unread,
};

/// What becomes of a task by a settlement that needs no lookup: whatever its row has.
fn plain_end(settlement: &Settlement) -> Option<Transition> {
    if is_plain_end(settlement) { transition::settle_any(&settlement.next, settlement.now) } else { None }
}

/// Whether a settlement can be written together with others, without a lookup.
pub(crate) fn is_plain_end(settlement: &Settlement) -> bool {
    let changes_no_more =
        settlement.context.is_none() && settlement.context_cost.is_none() && settlement.report.is_none();
    changes_no_more && transition::needs_no_row(&settlement.next)
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
        (self.context, self.context_cost, self.report) = (None, None, None);
        None
    }
}

impl Tx<'_> {
    /// Ends attempts. In a short transaction, attempts that one statement for all does not end are left open.
    async fn settle(&self, batch: &[&Settlement]) -> Sql<Vec<Option<Result<Settled, LeaseLost>>>> {
        let mut ids = HashSet::with_capacity(batch.len());
        let is_distinct = batch.iter().all(|settlement| ids.insert(settlement.task));
        let ends: Vec<_> = batch.iter().map(|settlement| plain_end(settlement).filter(|_| is_distinct)).collect();
        let done = self.finish_plain(batch, &ends).await?;
        let mut answers = Vec::with_capacity(batch.len());
        for (settlement, end) in batch.iter().zip(ends) {
            answers.push(match end.filter(|_| done.contains(settlement.task.as_uuid())) {
                Some(end) => Some(Ok(Settled { state: end.to, claimable: 0, run_at: None })),
                None if self.is_short => None,
                None => Some(self.settle_one(settlement).await?),
            });
        }
        Ok(answers)
    }

    async fn finish_plain(&self, batch: &[&Settlement], ends: &[Option<Transition>]) -> Sql<HashSet<Uuid>> {
        let (mut ids, mut epochs, mut states, mut times) = (vec![], vec![], vec![], vec![]);
        let (mut kinds, mut errors, mut outputs) = (vec![], vec![], vec![]);
        let (mut agents, mut starts, mut logs) = (vec![], vec![], vec![]);
        for (settlement, end) in batch.iter().zip(ends) {
            let Some(Transition { to, changes, attempt, .. }) = end else { continue };
            let (kind, error) = error_columns(changes.error.value());
            ids.push(*settlement.task.as_uuid());
            epochs.push(settlement.epoch.0 as i64);
            states.push(*to as i16);
            times.push(changes.finished_at.value().map(|at| at.as_micros()));
            kinds.push(kind);
            errors.push(error);
            outputs.push(changes.output.value().map(Payload::as_str));
            agents.push(settlement.started.map(|start| *start.agent.as_uuid()));
            starts.push(settlement.started.map(|start| start.at.as_micros()));
            logs.push(log_of(attempt.as_ref()));
        }
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let params = [
            (&ids as &(dyn ToSql + Sync), Type::UUID_ARRAY),
            (&epochs, Type::INT8_ARRAY),
            (&states, Type::INT2_ARRAY),
            (&times, Type::INT8_ARRAY),
            (&kinds, Type::TEXT_ARRAY),
            (&errors, Type::TEXT_ARRAY),
            (&outputs, Type::TEXT_ARRAY),
            (&agents, Type::UUID_ARRAY),
            (&starts, Type::INT8_ARRAY),
            (&logs, Type::TEXT_ARRAY),
        ];
        let ended: HashSet<Uuid> =
            self.query(&FINISH, &params).await?.iter().map(|row| get(row, 0)).collect::<Sql<_>>()?;
        self.node.cursors.note_leases(-i64::try_from(ended.len()).unwrap_or(i64::MAX));
        self.hints().ended.extend(ended.iter().copied().map(TaskId::from_uuid));
        Ok(ended)
    }

    /// The task if it runs under this epoch, with its context's queue locked.
    pub(crate) async fn leased(&self, task: TaskId, epoch: LeaseEpoch) -> Sql<Option<Stored>> {
        let is_held = |found: &Stored| found.task.state == TaskState::Running && found.task.epoch == epoch;
        let Some(found) = self.find_unfinished(task).await?.filter(is_held) else { return Ok(None) };
        if let Some(reason) = found.damage {
            let unread = Unread { id: *task.as_uuid(), reason, even_running: true };
            return Err(Fault::Damaged(Box::new(unread)));
        }
        let Some(context) = &found.task.context else { return Ok(Some(found)) };
        self.lock_context(&found.task.pool, context).await?;
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
            self.note_context_cost(task, cost).await?;
        }
        if let Some(report) = &settlement.report {
            self.note_report(task, report).await?;
        }
        if let Some(start) = settlement.started {
            self.assign(&[(task, epoch, start)]).await?;
            lease.task.started_at = lease.task.started_at.or(Some(start.at));
        }
        let before = self.gained();
        let transition = transition::settle(Running::of(&lease.task, lease.is_to_stop), &settlement.next, now);
        self.apply(&lease, &transition, now).await?;
        let (state, run_at) = (transition.to, transition.changes.run_at);
        let run_at = run_at.filter(|_| state == TaskState::Scheduled);
        let claimable = usize::try_from(self.gained() - before).unwrap_or(0);
        Ok(Ok(Settled { state, claimable, run_at }))
    }

    async fn note_report(&self, task: TaskId, report: &TaskReport) -> Sql<()> {
        let stored = self.reports(&[*task.as_uuid()]).await?.pop().and_then(|(_, report)| report);
        let report = backend::report_of_attempt(stored, report.clone());
        self.write_reports(&[(*task.as_uuid(), Some(report))]).await
    }

    /// Applies what core decided about a task whose lease has ended.
    pub(crate) async fn apply(&self, lease: &Stored, transition: &Transition, now: Timestamp) -> Sql<()> {
        match transition.ends() {
            true => self.finish(lease, transition).await,
            false => self.wait_again(lease, transition, now).await,
        }
    }

    async fn finish(&self, lease: &Stored, transition: &Transition) -> Sql<()> {
        let end = End { id: *lease.task.id.as_uuid(), epoch: Some(lease.task.epoch), transition };
        self.end(&end).await?;
        self.node.cursors.note_leases(-1);
        self.note_end(lease.task.id);
        let Some(context) = &lease.task.context else { return Ok(()) };
        self.leave_context(&lease.entry(), context).await?;
        self.advance(&lease.task.pool, context, None).await
    }

    /// Puts a task whose attempt ended back among the waiting ones, at the place it had before.
    async fn wait_again(&self, lease: &Stored, transition: &Transition, now: Timestamp) -> Sql<()> {
        let entry = QueueEntry { due: transition.due(lease.due, lease.task.context.is_some()), ..lease.entry() };
        self.write_return(lease, &entry, transition, now).await?;
        self.node.cursors.note_leases(-1);
        // A task that was only prefetched has no events.
        if lease.task.started_at.is_some() || transition.attempt.is_some() {
            self.log_return(lease, transition, now).await?;
        }
        match &lease.task.context {
            Some(context) => {
                self.join_context(&entry, context).await?;
                self.advance(&lease.task.pool, context, None).await
            }
            None if transition.to == TaskState::Queued => self.make_ready(&entry).await,
            None => Ok(()),
        }
    }

    async fn write_return(
        &self,
        lease: &Stored,
        entry: &QueueEntry,
        transition: &Transition,
        now: Timestamp,
    ) -> Sql<()> {
        const SQL: &str = concat!(
            "UPDATE live t SET queue_key = NULL, state = $1, attempt = COALESCE($2, t.attempt), crashes = COALESCE($3, t.crashes), \
             run_at = COALESCE($4, t.run_at), error_kind = COALESCE($5, t.error_kind), error = COALESCE($6, t.error), \
             started_at = CASE WHEN NOT $7 THEN t.started_at END, agent = CASE WHEN NOT $7 THEN t.agent END, \
             node = CASE WHEN NOT $7 THEN t.node END, requests = COALESCE($13, t.requests), due = $14, \
             deadline = COALESCE($15, t.deadline), \
             attempts = CASE WHEN t.started_at IS NULL OR NOT $8 THEN t.attempts ELSE ",
            with_attempt!("$1::int2", "$9::int8", "$5::text", "$6::text", "$10::text", "t.agent", "t.started_at"),
            " END WHERE t.id = $11 AND t.epoch = $12 AND t.state = 2 RETURNING t.id"
        );
        let Changes { attempt, crashes, run_at, deadline, clears_attempt, error, requests, .. } = &transition.changes;
        let deadline = deadline.value().map(|deadline| deadline.as_micros());
        let (requests, due) = (requests.value().map(Payload::as_str), entry.due.as_micros());
        let (to, epoch) = (transition.to as i16, lease.task.epoch.0 as i64);
        let (attempt, crashes) = (attempt.map(i64::from), crashes.map(i64::from));
        let (run_at, ended_at) = (run_at.map(Timestamp::as_micros), now.as_micros());
        let (kind, message) = error_columns(error.value());
        let (is_recorded, log) = (transition.attempt.is_some(), log_of(transition.attempt.as_ref()));
        let params = [
            (&to as &(dyn ToSql + Sync), Type::INT2),
            (&attempt, Type::INT8),
            (&crashes, Type::INT8),
            (&run_at, Type::INT8),
            (&kind, Type::TEXT),
            (&message, Type::TEXT),
            (clears_attempt, Type::BOOL),
            (&is_recorded, Type::BOOL),
            (&ended_at, Type::INT8),
            (&log, Type::TEXT),
            (lease.task.id.as_uuid(), Type::UUID),
            (&epoch, Type::INT8),
            (&requests, Type::TEXT),
            (&due, Type::INT8),
            (&deadline, Type::INT8),
        ];
        if self.run(SQL, &params).await? == 0 { Err(Fault::Conflict) } else { Ok(()) }
    }
}
