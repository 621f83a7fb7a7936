//! The dependency circuit of a queue: tasks begin as far as it allows, and each end of an attempt is its input.

use std::time::Duration;

use actix::{Context, Handler};
use forerunner_core::{
    AttemptFailure, CircuitChange, DependencyReport, ErrorKind, Outcome, QueueEvent, Task, Timestamp,
};

use super::{
    QueueActor,
    messages::{DependencyChanged, FollowDependency, Ran},
};

/// How much later than the next probe a task of a conversation may run again that failed as a probe: it keeps its place, and
/// others are to be tried before it.
const AFTER_PROBE: Duration = Duration::from_secs(1);

impl QueueActor {
    /// Records how an attempt ended; returns when its task may run again if the attempt does not count.
    pub(super) fn judge(
        &mut self,
        task: &Task,
        outcome: &Outcome,
        ran: Option<Ran>,
        now: Timestamp,
    ) -> Option<Duration> {
        let change = match (outcome, ran) {
            (Outcome::Succeeded(_), Some(ran)) => self.dependency.succeeded(task.id, ran.agent, now),
            (Outcome::Failed(error), Some(ran)) if may_be_outage(error.kind) => {
                let pool_agents = self.facts.agents;
                let failure = AttemptFailure { task: task.id, agent: ran.agent, error, pool_agents };
                let verdict = self.dependency.failed(&failure, self.jitter.next(), now);
                self.note_change(verdict.change);
                return verdict.excused.map(|delay| self.delay_of(task, delay, now));
            }
            _ => {
                self.dependency.ended(task.id, now);
                None
            }
        };
        self.note_change(change);
        None
    }

    fn delay_of(&self, task: &Task, delay: Duration, now: Timestamp) -> Duration {
        match self.dependency.pause_ends(now).filter(|_| task.context.is_some()) {
            Some(ends) => delay.max(ends.since(now) + AFTER_PROBE),
            None => delay,
        }
    }

    /// Lets as many tasks begin as the circuit allows now, and checks again when that changes.
    pub(super) fn steer(&mut self, ctx: &mut Context<Self>) {
        let now = self.deps.now();
        let change = self.dependency.tick(now);
        self.note_change(change);
        let allowance = self.dependency.allowance(now);
        if allowance.is_none() && !self.is_limited {
            return;
        }
        if allowance.is_some() && !self.is_limited {
            self.tune_prefetch(ctx);
            self.release_all_prefetched(ctx);
        }
        self.is_limited = allowance.is_some();
        self.apply(QueueEvent::SetAllowance(allowance), ctx);
        if let Some(at) = self.dependency.wake_at().filter(|at| *at > now) {
            self.wake_at(at, ctx);
        }
    }

    /// Logs and counts what became of the circuit, and lets other nodes know.
    fn note_change(&mut self, change: Option<CircuitChange>) {
        let Some(change) = change else { return };
        let (pool, report) = (&self.deps.name, self.dependency.report());
        let (error, limit) = (report.error.as_deref().unwrap_or_default(), report.limit);
        match change {
            CircuitChange::Opened => {
                self.metrics.dependency.opened.increment(1);
                tracing::warn!(
                    %pool,
                    error,
                    "tasks fail alike on several agents; the dependency circuit opens and tasks wait; see `dependency` in the configuration"
                );
            }
            CircuitChange::Limited => tracing::warn!(
                %pool,
                error,
                limit,
                failed_share = report.failed_share,
                "a part of the tasks fails alike; the dependency circuit limits how many run at once"
            ),
            CircuitChange::Recovering => {
                tracing::info!(%pool, limit, "a probe succeeded; tasks begin again step by step");
            }
            CircuitChange::Closed => tracing::info!(%pool, "the dependency circuit is closed"),
        }
        if let Some(changed) = self.links.as_ref().and_then(|links| links.dependency_changed.as_ref()) {
            changed.do_send(DependencyChanged);
        }
    }

    /// Returns the state of the circuit.
    pub(super) fn dependency_report(&self) -> DependencyReport {
        self.dependency.report()
    }
}

/// Whether an attempt that failed in this way is evidence about what its agent depends on. Crashes are the agent
/// circuit's.
const fn may_be_outage(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::AgentError | ErrorKind::Timeout)
}

impl Handler<FollowDependency> for QueueActor {
    type Result = ();

    fn handle(&mut self, msg: FollowDependency, ctx: &mut Self::Context) {
        let change = self.dependency.follow(&msg.others, msg.before, self.deps.now());
        self.note_change(change);
        self.steer(ctx);
    }
}
