//! Stops a pool's tasks while what its agents depend on fails, and lets them begin again step by step.

use std::{collections::HashSet, time::Duration};

use super::{
    CircuitState, DependencyReport, DependencySettings,
    excused_failures::ExcusedFailures,
    failure_class::{class_of, retry_after},
    window::RecentTasks,
};
use crate::{AgentId, ErrorKind, TaskError, TaskId, Timestamp};

/// Part of the concurrency before the outage by which the limit grows while it succeeds once over.
const INCREASE: f64 = 1.0 / 8.0;
/// By how much the limit falls with each failure: to three quarters when all tasks of one round fail. With [`INCREASE`]
/// the limit comes to rest at (1 − f) / 2f of the concurrency before, where f is the share that fails: a pool of which
/// 30 % fail stays at its size, one of which 80 % fail at an eighth of it.
const DECREASE: f64 = 0.25;
/// Failures in a row at the lowest limit that open the circuit again.
const MOST_IN_A_ROW: u32 = 4;
/// Without a failure for so long a half-open circuit closes, also where few tasks come.
const CALM: Duration = Duration::from_secs(60);
/// How long a probe may run before another one begins; doubles with each further one, up to eight times as long.
pub(super) const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// Fewest tasks that must have ended before a half-open circuit closes by the share that fails.
const TASKS_TO_CLOSE: usize = 16;
/// Half-life of the concurrency that is remembered of a closed circuit.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A failed attempt.
#[derive(Debug, Clone, Copy)]
pub struct AttemptFailure<'a> {
    /// The task.
    pub task: TaskId,
    /// Its agent.
    pub agent: AgentId,
    /// How it failed.
    pub error: &'a TaskError,
    /// Agents that the pool has.
    pub pool_agents: u32,
}

/// What a failed attempt means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailureVerdict {
    /// If the attempt does not count: when its task may run again at the earliest, from now.
    pub excused: Option<Duration>,
    /// What became of the circuit.
    pub change: Option<CircuitChange>,
}

/// What became of a dependency circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitChange {
    /// No task starts any more but probes.
    Opened,
    /// A part fails: fewer tasks run at once.
    Limited,
    /// A probe succeeded: tasks start again, more and more.
    Recovering,
    /// Nothing is limited any more.
    Closed,
}

/// What is done during an outage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Phase {
    Open { until: Timestamp },
    Probing { since: Timestamp, next_at: Timestamp },
    Limited { limit: f64, not_before: Timestamp, failures_in_a_row: u32 },
}

#[derive(Debug, Clone)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    pub(super) phase: Phase,
    /// When the phase that stops all tasks last began.
    pub(super) opened_at: Timestamp,
    pub(super) class: u64,
    pub(super) error: String,
    /// Tasks that began in this phase. Others began before, and prove nothing of now.
    pub(super) in_flight: HashSet<TaskId>,
    pub(super) last_failure: Timestamp,
    pub(super) failed_in_a_row: u32,
    pub(super) failed_probes: u64,
    pub(super) excused: u64,
}

/// Decides for one pool. Pure: the time comes in with each call.
///
/// - *Closed*: nothing is limited.
/// - *Open*: nothing starts until a probe is due. One task probes at a time.
/// - *Half-open*: a probe runs, or so many tasks run at once as the limit allows. The limit grows by a fixed amount for
///   each round that succeeds, and shrinks by a share for each that fails (Chiu, Jain 1989).
#[derive(Debug, Clone)]
pub struct DependencyCircuit {
    pub(super) settings: DependencySettings,
    recent: RecentTasks,
    excuses: ExcusedFailures,
    /// Most tasks at once of late, while the circuit was closed.
    before: f64,
    before_at: Timestamp,
    pub(super) outage: Option<Outage>,
    pub(super) last_success: Timestamp,
    pub(super) recovered_at: Option<Timestamp>,
}

impl DependencyCircuit {
    /// A closed circuit.
    pub fn new(settings: DependencySettings) -> Self {
        Self {
            settings,
            recent: RecentTasks::default(),
            excuses: ExcusedFailures::default(),
            before: 1.0,
            before_at: Timestamp::default(),
            outage: None,
            last_success: Timestamp::default(),
            recovered_at: None,
        }
    }

    /// Notes that a task begins, the last of so many that run.
    pub fn begin(&mut self, task: TaskId, running: u32, now: Timestamp) {
        let Some(outage) = &mut self.outage else {
            if now != self.before_at {
                let faded = now.since(self.before_at).as_secs_f64() / REMEMBERED.as_secs_f64();
                self.before *= (-faded * std::f64::consts::LN_2).exp();
                self.before_at = now;
            }
            self.before = self.before.max(f64::from(running)).max(1.0);
            return;
        };
        outage.in_flight.insert(task);
        outage.phase = match outage.phase {
            Phase::Open { .. } => Phase::Probing { since: now, next_at: now + PROBE_PATIENCE },
            Phase::Probing { since, .. } => {
                let further = u32::try_from(outage.in_flight.len()).unwrap_or(u32::MAX).saturating_sub(1).min(3);
                Phase::Probing { since, next_at: now + PROBE_PATIENCE * (1 << further) }
            }
            limited @ Phase::Limited { .. } => limited,
        };
    }

    /// Returns how many tasks may begin now; `None` while there is no limit.
    pub fn allowance(&self, now: Timestamp) -> Option<usize> {
        let outage = self.outage.as_ref()?;
        Some(match outage.phase {
            Phase::Open { until: at } | Phase::Probing { next_at: at, .. } => usize::from(now >= at),
            Phase::Limited { not_before, .. } if now < not_before => 0,
            Phase::Limited { limit, .. } => (limit as usize).saturating_sub(outage.in_flight.len()),
        })
    }

    /// Returns when the allowance changes by itself.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let outage = self.outage.as_ref()?;
        Some(match outage.phase {
            Phase::Open { until: at } | Phase::Probing { next_at: at, .. } => at,
            Phase::Limited { not_before, .. } => not_before.max(outage.last_failure + CALM),
        })
    }

    /// Returns when the next task may begin, where that changes by itself.
    pub fn pause_ends(&self, now: Timestamp) -> Option<Timestamp> {
        match self.outage.as_ref()?.phase {
            Phase::Open { until: at } | Phase::Limited { not_before: at, .. } => Some(at).filter(|at| *at > now),
            Phase::Probing { next_at, .. } => Some(next_at),
        }
    }

    /// Closes the circuit if nothing failed for a while.
    pub fn tick(&mut self, now: Timestamp) -> Option<CircuitChange> {
        let outage = self.outage.as_ref()?;
        let is_limited = matches!(outage.phase, Phase::Limited { .. });
        (is_limited && now >= outage.last_failure + CALM).then(|| self.close())
    }

    /// Notes that an attempt succeeded.
    pub fn succeeded(&mut self, task: TaskId, agent: AgentId, now: Timestamp) -> Option<CircuitChange> {
        if !self.settings.enabled {
            return None;
        }
        self.recent.succeeded(task, agent, now);
        self.excuses.succeeded(task);
        self.last_success = now;
        let outage = self.outage.as_mut()?;
        if !outage.in_flight.remove(&task) {
            return None;
        }
        let step = (self.before * INCREASE).max(1.0);
        match &mut outage.phase {
            Phase::Open { .. } => None,
            Phase::Probing { .. } => {
                outage.phase = Phase::Limited { limit: 1.0 + step, not_before: now, failures_in_a_row: 0 };
                outage.failed_in_a_row = 0;
                self.recovered_at = Some(now);
                // Earlier failures prove nothing about the dependency now.
                self.recent.clear();
                Some(CircuitChange::Recovering)
            }
            Phase::Limited { limit, failures_in_a_row, .. } => {
                *failures_in_a_row = 0;
                if outage.in_flight.len() as f64 + 2.0 > *limit / 2.0 {
                    *limit = (*limit + step / *limit).min(4.0 * self.before + 8.0);
                }
                let last = self.recent.all_alike(outage.class);
                let is_calm = last.of >= TASKS_TO_CLOSE && last.share() < self.settings.limit_share / 2.0;
                (is_calm && *limit >= 2.0 * self.before + 1.0).then(|| self.close())
            }
        }
    }

    /// Notes that an attempt failed in a way that another attempt may cure. `jitter` is uniform in [0, 1).
    pub fn failed(&mut self, failure: &AttemptFailure<'_>, jitter: f64, now: Timestamp) -> FailureVerdict {
        if !self.settings.enabled {
            return FailureVerdict::default();
        }
        let class = class_of(failure.error);
        // What hangs may be the task's fault, or the agent's. It opens no circuit, and proves nothing to an open one.
        let is_evidence = failure.error.kind != ErrorKind::Timeout;
        if is_evidence {
            self.recent.failed(failure.task, failure.agent, class, now);
        }
        let is_current = self.outage.as_mut().is_some_and(|outage| outage.in_flight.remove(&failure.task));
        let change = match self.outage.is_some() {
            false if is_evidence => self.begin_outage(class, failure, jitter, now),
            false => None,
            true => self.go_on(class, is_current, failure, jitter, now),
        };
        let excused = self.excuse(class, failure, jitter, now);
        FailureVerdict { excused, change }
    }

    /// Notes that an attempt ended in a way that proves nothing about the dependency.
    pub fn ended(&mut self, task: TaskId, now: Timestamp) {
        let Some(outage) = &mut self.outage else { return };
        let was_current = outage.in_flight.remove(&task);
        if was_current && outage.in_flight.is_empty() && matches!(outage.phase, Phase::Probing { .. }) {
            outage.phase = Phase::Open { until: now + self.settings.probe_initial };
        }
    }

    /// Drops what is known of a task that ended.
    pub fn forget(&mut self, task: TaskId) {
        self.excuses.forget(task);
    }

    /// Moves all times with a clock that was set back.
    pub fn clock_set_back(&mut self, by: Duration) {
        self.before_at = self.before_at - by;
        self.last_success = self.last_success - by;
        self.recovered_at = self.recovered_at.map(|at| at - by);
        let Some(outage) = &mut self.outage else { return };
        (outage.since, outage.opened_at) = (outage.since - by, outage.opened_at - by);
        outage.last_failure = outage.last_failure - by;
        match &mut outage.phase {
            Phase::Open { until: at } | Phase::Limited { not_before: at, .. } => *at = *at - by,
            Phase::Probing { since, next_at } => (*since, *next_at) = (*since - by, *next_at - by),
        }
    }

    /// Returns whether an outage may have begun that is not certain yet: no time to take retries for more load.
    pub fn is_suspicious(&self, now: Timestamp) -> bool {
        self.outage.is_none() && self.recent.is_suspicious(now)
    }

    /// Returns the state of the circuit.
    pub fn report(&self) -> DependencyReport {
        let Some(outage) = &self.outage else {
            return DependencyReport { recovered_at: self.recovered_at, ..DependencyReport::default() };
        };
        let (state, until, limit, probe_since) = match outage.phase {
            Phase::Open { until } => (CircuitState::Open, Some(until), None, None),
            Phase::Probing { since, .. } => (CircuitState::HalfOpen, None, None, Some(since)),
            Phase::Limited { limit, .. } => (CircuitState::HalfOpen, None, Some(limit as u32), None),
        };
        DependencyReport {
            state,
            since: Some(outage.since),
            until,
            error: Some(outage.error.clone()),
            limit,
            failed_share: self.recent.all_alike(outage.class).share(),
            excused_attempts: outage.excused,
            failed_probes: outage.failed_probes,
            probe_since,
            recovered_at: self.recovered_at,
        }
    }

    fn begin_outage(
        &mut self,
        class: u64,
        failure: &AttemptFailure<'_>,
        jitter: f64,
        now: Timestamp,
    ) -> Option<CircuitChange> {
        let (agents, error) = (failure.pool_agents, failure.error.message.clone());
        if self.recent.is_outage(class, self.settings.open_share, agents) {
            let until = now + self.pause(0, failure, jitter);
            self.outage = Some(outage(class, error, until, now));
            return Some(CircuitChange::Opened);
        }
        if !self.recent.is_partial(class, self.settings.limit_share, agents) {
            return None;
        }
        let limit = self.before.max(1.0);
        let phase = Phase::Limited { limit, not_before: now + retry_after(failure), failures_in_a_row: 0 };
        self.outage = Some(Outage { phase, ..outage(class, error, now, now) });
        Some(CircuitChange::Limited)
    }

    fn go_on(
        &mut self,
        class: u64,
        is_current: bool,
        failure: &AttemptFailure<'_>,
        jitter: f64,
        now: Timestamp,
    ) -> Option<CircuitChange> {
        let is_outage = self.recent.is_outage(class, self.settings.open_share, failure.pool_agents);
        let outage = self.outage.as_mut()?;
        outage.last_failure = now;
        let asked = retry_after(failure);
        let opens = match &mut outage.phase {
            Phase::Open { until } => {
                *until = (*until).max(now + asked);
                false
            }
            Phase::Probing { .. } => is_current,
            Phase::Limited { .. } if !is_current => false,
            Phase::Limited { limit, not_before, failures_in_a_row } => {
                *limit = (*limit - DECREASE).max(1.0);
                *not_before = (*not_before).max(now + asked);
                *failures_in_a_row += 1;
                is_outage || (*limit <= 1.0 && *failures_in_a_row >= MOST_IN_A_ROW)
            }
        };
        if !opens {
            return None;
        }
        let was_probe = matches!(outage.phase, Phase::Probing { .. });
        outage.failed_probes += u64::from(was_probe);
        outage.failed_in_a_row = if was_probe { outage.failed_in_a_row + 1 } else { 0 };
        outage.error.clone_from(&failure.error.message);
        outage.in_flight.clear();
        outage.opened_at = now;
        let earlier = outage.failed_in_a_row;
        let until = now + self.pause(earlier, failure, jitter);
        if let Some(outage) = &mut self.outage {
            outage.phase = Phase::Open { until };
        }
        (!was_probe).then_some(CircuitChange::Opened)
    }

    /// How long an open circuit waits for its next probe.
    fn pause(&self, earlier: u32, failure: &AttemptFailure<'_>, jitter: f64) -> Duration {
        let backoff = self.settings.backoff().after(earlier);
        backoff.mul_f64(0.75 + 0.25 * jitter.clamp(0.0, 1.0)).max(retry_after(failure))
    }

    fn excuse(&mut self, class: u64, failure: &AttemptFailure<'_>, jitter: f64, now: Timestamp) -> Option<Duration> {
        let declared = failure.error.dependency.is_some();
        let delay = match &self.outage {
            Some(outage) => {
                let alike = class == outage.class || declared || failure.error.kind == ErrorKind::Timeout;
                let is_within = now.since(outage.since) < self.settings.outage_limit;
                (alike && is_within).then_some(Duration::ZERO)?
            }
            // The agent knows whose fault it is, before the pool can.
            None if declared => retry_after(failure).max(Duration::from_millis(500).mul_f64(1.0 + jitter)),
            None => return None,
        };
        let is_excused = self.excuses.excuse(failure.task);
        if let Some(outage) = self.outage.as_mut().filter(|_| is_excused) {
            outage.excused += 1;
        }
        is_excused.then_some(delay)
    }

    fn close(&mut self) -> CircuitChange {
        self.outage = None;
        self.recent.clear();
        CircuitChange::Closed
    }
}

/// An outage in which nothing starts before `until`.
pub(super) fn outage(class: u64, error: String, until: Timestamp, now: Timestamp) -> Outage {
    Outage {
        since: now,
        phase: Phase::Open { until },
        opened_at: now,
        class,
        error,
        in_flight: HashSet::new(),
        last_failure: now,
        failed_in_a_row: 0,
        failed_probes: 0,
        excused: 0,
    }
}
