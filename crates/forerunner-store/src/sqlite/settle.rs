//! Ending attempts.

use forerunner_core::{LeaseEpoch, Next, Payload, TaskError, TaskId, TaskState, Timestamp};
use rusqlite::params;

use super::{
    cache::Lease,
    failure::Sql,
    rows::run,
    tx::{Rank, Spot, Tx},
};
use crate::{LeaseLost, Settled, Settlement, Start, rules};

impl Lease {
    fn spot(&self) -> Spot {
        Spot { pool: self.pool, row: self.row, priority: self.priority, due: self.due, deadline: self.deadline }
    }
}

/// The state of a task after its attempt.
pub(super) struct Ended<'a> {
    pub(super) state: TaskState,
    pub(super) error: Option<&'a TaskError>,
    pub(super) output: Option<&'a Payload>,
    pub(super) finished_at: Option<Timestamp>,
}

impl Tx<'_> {
    pub fn settle(&mut self, batch: &[Settlement]) -> Sql<Vec<Result<Settled, LeaseLost>>> {
        batch.iter().map(|settlement| self.settle_one(settlement)).collect()
    }

    fn settle_one(&mut self, settlement: &Settlement) -> Sql<Result<Settled, LeaseLost>> {
        let Settlement { task, epoch, now, .. } = *settlement;
        let lost = Ok(Err(LeaseLost { task, epoch }));
        let Some(mut lease) = self.lease_of(task, epoch) else { return lost };
        if let Some(commit) = &settlement.context
            && !self.commit_context(lease.pool, commit, now)?
        {
            return lost;
        }
        if let Some(cost) = &settlement.context_cost {
            self.note_context_cost(lease.row, cost)?;
        }
        let claimable_before = self.claimable(lease.pool)?;
        let started = self.cache.end_lease(task).or(settlement.started);
        if let Some(end) = rules::kept_end(&settlement.next, lease.stop, now) {
            self.note_attempt(&lease, started, end, now)?;
        }
        let mut run_at = None;
        let state = match &settlement.next {
            Next::Finish { state, output, error } => {
                let state = rules::end_state(*state);
                lease.crashes += u32::from(error.as_ref().is_some_and(|error| error.kind.is_crash()));
                let ended = Ended { state, error: error.as_ref(), output: output.as_ref(), finished_at: Some(now) };
                self.finish(&lease, &ended, started)?;
                state
            }
            // Somebody cancelled it and it ended without a result: that is all there is to do.
            Next::Retry { .. } | Next::Release if lease.stop => {
                lease.crashes += u32::from(matches!(settlement.next, Next::Retry { crash: true, .. }));
                self.end_cancelled(&lease, started, now)?;
                TaskState::Cancelled
            }
            Next::Retry { run_at: at, error, crash, counts } => {
                lease.attempt = lease.attempt.saturating_sub(u32::from(!counts));
                if !counts && lease.context.is_none() {
                    lease.due = *at;
                }
                let state = rules::retry_state(*at, now);
                run_at = (state == TaskState::Scheduled).then_some(*at);
                self.schedule_retry(&lease, state, *at, error, *crash, started)?;
                state
            }
            Next::Release => {
                self.release(&lease)?;
                TaskState::Queued
            }
        };
        let claimable = self.claimable(lease.pool)? - claimable_before;
        Ok(Ok(Settled { state, claimable: usize::try_from(claimable).unwrap_or(0), run_at }))
    }

    /// The lease of a task that runs under this epoch.
    fn lease_of(&self, task: TaskId, epoch: LeaseEpoch) -> Option<Lease> {
        let lease = self.cache.leases.get(&task)?;
        (lease.epoch == epoch && epoch > self.void_epochs).then(|| lease.clone())
    }

    pub(super) fn finish(&mut self, lease: &Lease, ended: &Ended<'_>, started: Option<Start>) -> Sql<()> {
        let sql = "UPDATE tasks SET state = ?1, finished_at = ?2, error_kind = ?3, error = ?4, agent = ?5, \
                   crashes = ?6, started_at = coalesce(started_at, ?7) WHERE task = ?8";
        let params = params![
            ended.state as u8,
            ended.finished_at.map(Timestamp::as_micros),
            ended.error.map(|error| error.kind.as_str()),
            ended.error.map(|error| error.message.as_str()),
            started.as_ref().map(|start| start.agent.as_uuid().as_bytes()),
            lease.crashes,
            started.map(|start| start.at.as_micros()),
            lease.row,
        ];
        run(self.connection, sql, params)?;
        if let Some(output) = ended.output {
            let sql = "INSERT OR REPLACE INTO outputs (task, output) VALUES (?1, ?2)";
            run(self.connection, sql, params![lease.row, output.as_str()])?;
        }
        self.cache.count(lease.pool, Some(TaskState::Running), Some(ended.state))?;
        let Some(context) = &lease.context else { return Ok(()) };
        self.leave_line(&lease.spot(), context)?;
        self.advance(lease.pool, context, None)
    }

    pub(super) fn end_cancelled(&mut self, lease: &Lease, started: Option<Start>, now: Timestamp) -> Sql<()> {
        let (state, error) = (TaskState::Cancelled, rules::cancelled());
        self.finish(lease, &Ended { state, error: Some(&error), output: None, finished_at: Some(now) }, started)
    }

    fn schedule_retry(
        &mut self,
        lease: &Lease,
        state: TaskState,
        run_at: Timestamp,
        error: &TaskError,
        crash: bool,
        started: Option<Start>,
    ) -> Sql<()> {
        let sql = "UPDATE tasks SET state = ?1, run_at = ?2, error_kind = ?3, error = ?4, crashes = ?5, agent = ?6, \
                   started_at = coalesce(started_at, ?7), attempt = ?9, due = ?10 WHERE task = ?8";
        let params = params![
            state as u8,
            run_at.as_micros(),
            error.kind.as_str(),
            error.message,
            lease.crashes + u32::from(crash),
            started.as_ref().map(|start| start.agent.as_uuid().as_bytes()),
            started.map(|start| start.at.as_micros()),
            lease.row,
            lease.attempt,
            lease.due.as_micros(),
        ];
        run(self.connection, sql, params)?;
        self.wait_again(lease, state)
    }

    pub(super) fn release(&mut self, lease: &Lease) -> Sql<()> {
        let sql = "UPDATE tasks SET state = 1, attempt = ?1, started_at = NULL, agent = NULL, node = NULL \
                   WHERE task = ?2";
        run(self.connection, sql, params![lease.attempt.saturating_sub(1), lease.row])?;
        self.wait_again(lease, TaskState::Queued)
    }

    /// Puts a task whose attempt ended back among the waiting ones, at the place it had before.
    pub(super) fn wait_again(&mut self, lease: &Lease, state: TaskState) -> Sql<()> {
        self.cache.count(lease.pool, Some(TaskState::Running), Some(state))?;
        match &lease.context {
            Some(context) => {
                self.rerank(&lease.spot(), context, Rank::Running, Rank::Joined)?;
                self.advance(lease.pool, context, None)
            }
            None if state == TaskState::Queued => self.make_ready(&lease.spot()),
            None => Ok(()),
        }
    }

    /// Notes which agent runs a task: in memory, until the attempt ends.
    pub fn assign(&mut self, assignments: &[(TaskId, LeaseEpoch, Start)]) {
        let held = assignments.iter().filter(|(task, epoch, _)| self.lease_of(*task, *epoch).is_some());
        let held: Vec<_> = held.map(|(task, epoch, start)| (*task, (*epoch, *start))).collect();
        let mut agents = self.cache.agents.lock();
        agents.extend(held);
    }
}
