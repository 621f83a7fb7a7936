//! Ending attempts.

use forerunner_core::{
    LeaseEpoch, Payload, TaskId, TaskReport, TaskState, Timestamp, Transition,
    transition::{self, Changes, Running},
};
use rusqlite::params;

use super::{
    cache::Lease,
    failure::Sql,
    rows::run,
    tx::{Rank, Spot, Tx},
};
use crate::{LeaseLost, Settled, Settlement, Start, rules};

impl Lease {
    /// What decides how the attempt ends.
    pub fn running(&self) -> Running {
        Running { attempt: self.attempt, crashes: self.crashes, is_cancelled: self.stop }
    }

    fn spot(&self) -> Spot {
        Spot { pool: self.pool, row: self.row, priority: self.priority, due: self.due, deadline: self.deadline }
    }
}

impl Tx<'_> {
    pub fn settle(&mut self, batch: &[Settlement]) -> Sql<Vec<Result<Settled, LeaseLost>>> {
        batch.iter().map(|settlement| self.settle_one(settlement)).collect()
    }

    fn settle_one(&mut self, settlement: &Settlement) -> Sql<Result<Settled, LeaseLost>> {
        let Settlement { task, epoch, now, .. } = *settlement;
        let lost = Ok(Err(LeaseLost { task, epoch }));
        let Some(lease) = self.lease_of(task, epoch) else { return lost };
        if let Some(commit) = &settlement.context
            && !self.commit_context(lease.pool, commit, now)?
        {
            return lost;
        }
        if let Some(cost) = &settlement.context_cost {
            self.note_context_cost(lease.row, cost)?;
        }
        if let Some(report) = &settlement.report {
            let report = rules::report_of_attempt(self.report(lease.row)?, TaskReport::clone(report));
            self.write_report(lease.row, Some(&report))?;
        }
        let claimable_before = self.claimable(lease.pool)?;
        let started = self.cache.end_lease(task).or(settlement.started);
        let transition = transition::settle(lease.running(), &settlement.next, now);
        self.apply(&lease, started, &transition, now)?;
        let (state, run_at) = (transition.to, transition.changes.run_at);
        let run_at = run_at.filter(|_| state == TaskState::Scheduled);
        let claimable = self.claimable(lease.pool)? - claimable_before;
        Ok(Ok(Settled { state, claimable: usize::try_from(claimable).unwrap_or(0), run_at }))
    }

    /// The lease of a task that runs under this epoch.
    fn lease_of(&self, task: TaskId, epoch: LeaseEpoch) -> Option<Lease> {
        let lease = self.cache.leases.get(&task)?;
        (lease.epoch == epoch && epoch > self.void_epochs).then(|| lease.clone())
    }

    /// Applies what core decided about a task whose lease has ended.
    pub(super) fn apply(
        &mut self,
        lease: &Lease,
        started: Option<Start>,
        transition: &Transition,
        now: Timestamp,
    ) -> Sql<()> {
        if let Some(end) = &transition.attempt {
            self.note_attempt(lease, started, end, now)?;
        }
        self.cache.count(lease.pool, Some(transition.from), Some(transition.to))?;
        match transition.ends() {
            true => self.finish(lease, started, transition),
            false => self.wait_again(lease, started, transition),
        }
    }

    fn finish(&mut self, lease: &Lease, started: Option<Start>, transition: &Transition) -> Sql<()> {
        let sql = "UPDATE tasks SET state = ?1, finished_at = ?2, error_kind = ?3, error = ?4, agent = ?5, \
                   crashes = ?6, started_at = coalesce(started_at, ?7) WHERE task = ?8";
        let Changes { crashes, finished_at, output, error, .. } = &transition.changes;
        let error = error.value();
        let params = params![
            transition.to.code(),
            finished_at.value().map(|at| at.as_micros()),
            error.map(|error| error.kind.as_str()),
            error.map(|error| error.message.as_str()),
            started.as_ref().map(|start| start.agent.as_uuid().as_bytes()),
            crashes.unwrap_or(lease.crashes),
            started.map(|start| start.at.as_micros()),
            lease.row,
        ];
        run(self.connection, sql, params)?;
        if let Some(output) = output.value() {
            let sql = "INSERT OR REPLACE INTO outputs (task, output) VALUES (?1, ?2)";
            run(self.connection, sql, params![lease.row, output.as_str()])?;
        }
        let Some(context) = &lease.context else { return Ok(()) };
        self.leave_line(&lease.spot(), context)?;
        self.advance(lease.pool, context, None)
    }

    /// Puts a task whose attempt ended back among the waiting ones, at the place it had before.
    fn wait_again(&mut self, lease: &Lease, started: Option<Start>, transition: &Transition) -> Sql<()> {
        let sql = "UPDATE tasks SET state = ?1, attempt = ?2, crashes = ?3, run_at = coalesce(?4, run_at), \
                   error_kind = coalesce(?5, error_kind), error = coalesce(?6, error), started_at = ?7, agent = ?8, \
                   node = ?9, requests = coalesce(?10, requests), due = ?11, deadline = coalesce(?12, deadline) \
                   WHERE task = ?13";
        let Changes { attempt, crashes, run_at, deadline, clears_attempt, error, requests, .. } = &transition.changes;
        let due = transition.due(lease.due, lease.context.is_some());
        let spot = Spot { due, ..lease.spot() };
        let (started, node) = if *clears_attempt { (None, None) } else { (started, lease.node) };
        let started_at = lease.started_at.filter(|_| !clears_attempt).or(started.map(|start| start.at));
        let params = params![
            transition.to.code(),
            attempt.unwrap_or(lease.attempt),
            crashes.unwrap_or(lease.crashes),
            run_at.map(Timestamp::as_micros),
            error.value().map(|error| error.kind.as_str()),
            error.value().map(|error| error.message.as_str()),
            started_at.map(Timestamp::as_micros),
            started.as_ref().map(|start| start.agent.as_uuid().as_bytes()),
            node.as_ref().map(|node| node.as_uuid().as_bytes()),
            requests.value().map(Payload::as_str),
            due.as_micros(),
            deadline.value().map(|deadline| deadline.as_micros()),
            lease.row,
        ];
        run(self.connection, sql, params)?;
        match &lease.context {
            Some(context) => {
                self.rerank(&spot, context, Rank::Running, Rank::Joined)?;
                self.advance(lease.pool, context, None)
            }
            None if transition.to == TaskState::Queued => self.make_ready(&spot),
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
