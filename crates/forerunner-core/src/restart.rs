//! How often agents may fail before a pool stops replacing them.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Backoff, CircuitState, Error, Timestamp, human_duration};

/// Longest pause between two agents on probation. An open circuit lasts [`RestartPolicy::max_backoff`], but then the
/// agents do not even start. Here the tasks may be at fault, and a good task waits for the next agent.
const PROBATION_PAUSE: Duration = Duration::from_secs(1);

/// How a pool replaces agents that fail.
///
/// An agent *fails* when it does not become ready or dies while idle. A death in a task is blamed on the task, which
/// has a crash limit (see [`crate::RetryPolicy::max_crashes`]), if the agent had finished a task before or the task had
/// crashed an agent before. Any other death in a first task is *unclear*: many of them put new agents on probation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartPolicy {
    /// Failures within `window` that open the circuit, at least 1. As many unclear deaths put new agents on probation.
    pub intensity: u32,
    /// The window that failures are counted in.
    #[serde(with = "human_duration")]
    pub window: Duration,
    /// Delay after the first failure in a row; doubles with each further one.
    #[serde(with = "human_duration")]
    pub backoff: Duration,
    /// Longest delay, and how long an open circuit stays open.
    #[serde(with = "human_duration")]
    pub max_backoff: Duration,
}

impl Default for RestartPolicy {
    /// Five failures in 30 s (Erlang/OTP: 1 in 5 s, Elixir: 3 in 5 s; agents start slower than processes of a VM).
    fn default() -> Self {
        Self {
            intensity: 5,
            window: Duration::from_secs(30),
            backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(30),
        }
    }
}

impl RestartPolicy {
    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first bad one.
    pub fn validate(&self) -> Result<(), Error> {
        if self.intensity == 0 {
            return Err(Error::Setting { key: "restart.intensity", value: "0".into(), rule: "use 1 or more".into() });
        }
        if self.backoff > self.max_backoff {
            return Err(Error::Setting {
                key: "restart.backoff",
                value: crate::format_duration(self.backoff),
                rule: format!("use at most restart.max_backoff = {}", crate::format_duration(self.max_backoff)),
            });
        }
        Ok(())
    }
}

/// What the agent circuit of a pool allows: whether agents may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Agents may be started.
    Closed,
    /// Not before this time: the backoff after a failure.
    BackingOff(Timestamp),
    /// Not before this time: too many failures.
    Open(Timestamp),
    /// The circuit was open: one agent may be started to try.
    HalfOpen,
    /// One agent that has not finished a task yet may live at a time, and none may be started before this time: too many
    /// such agents died in tasks that cost no agent before.
    Probation(Timestamp),
}

impl Circuit {
    /// Returns the state that it is in, of those that all circuits have.
    pub const fn state(self) -> CircuitState {
        match self {
            Self::Closed | Self::BackingOff(_) => CircuitState::Closed,
            Self::Open(_) => CircuitState::Open,
            Self::HalfOpen | Self::Probation(_) => CircuitState::HalfOpen,
        }
    }
}

/// Counts failures against a [`RestartPolicy`].
#[derive(Debug, Clone)]
pub struct RestartBudget {
    policy: RestartPolicy,
    failures: VecDeque<Timestamp>,
    in_a_row: u32,
    wait_until: Option<Timestamp>,
    open_until: Option<Timestamp>,
    /// Unclear deaths since an agent last finished its first task.
    unclear: VecDeque<Timestamp>,
}

impl RestartBudget {
    /// A budget with nothing spent.
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            failures: VecDeque::new(),
            in_a_row: 0,
            wait_until: None,
            open_until: None,
            unclear: VecDeque::new(),
        }
    }

    /// Notes a failure; returns true if it opened the circuit.
    pub fn failed(&mut self, now: Timestamp) -> bool {
        let calm = self.policy.window + self.policy.max_backoff;
        if self.failures.back().is_some_and(|last| now.since(*last) > calm) {
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.wait_until = Some(now + self.doubled(self.in_a_row - 1));
        note(&mut self.failures, now, self.policy.window);
        let was_open = self.open_until.is_some();
        if was_open || self.failures.len() as u64 > u64::from(self.policy.intensity) {
            self.open_until = Some(now + self.policy.max_backoff);
        }
        self.open_until.is_some() && !was_open
    }

    /// Notes that an agent died in its first task, which had cost no agent before; returns true if this put new agents on
    /// probation.
    pub fn died_unclear(&mut self, now: Timestamp) -> bool {
        let was = self.probation(now).is_some();
        note(&mut self.unclear, now, self.policy.window);
        !was && self.probation(now).is_some()
    }

    /// Records that an agent, requested at `asked_at`, proved itself by finishing its first task. Returns true if this
    /// closed the circuit or ended a probation. Only an agent that was requested after the last failure proves that
    /// agents can start.
    pub fn proved(&mut self, asked_at: Timestamp, now: Timestamp) -> bool {
        let was_on_probation = self.probation(now).is_some();
        self.unclear.clear();
        if self.failures.back().is_some_and(|last| asked_at < *last) {
            return was_on_probation && self.open_until.is_none();
        }
        self.in_a_row = 0;
        self.wait_until = None;
        let was_open = self.open_until.take().is_some();
        if was_open {
            self.failures.clear();
        }
        was_open || was_on_probation
    }

    /// Returns what is allowed now.
    pub fn circuit(&self, now: Timestamp) -> Circuit {
        match (self.open_until, self.wait_until, self.probation(now)) {
            (Some(until), ..) if now < until => Circuit::Open(until),
            (Some(_), ..) => Circuit::HalfOpen,
            (None, Some(until), _) if now < until => Circuit::BackingOff(until),
            (None, _, Some(from)) => Circuit::Probation(from),
            (None, _, None) => Circuit::Closed,
        }
    }

    /// Returns when the next agent on probation may start, if new agents are on probation.
    fn probation(&self, now: Timestamp) -> Option<Timestamp> {
        let recent = self.unclear.iter().filter(|at| now.since(**at) <= self.policy.window).count();
        let beyond = u32::try_from(recent).unwrap_or(u32::MAX).checked_sub(self.policy.intensity)?.checked_sub(1)?;
        self.unclear.back().map(|last| *last + self.doubled(beyond).min(PROBATION_PAUSE))
    }

    /// Returns when the probation ends by itself, if nothing else happens.
    pub fn probation_ends(&self, now: Timestamp) -> Option<Timestamp> {
        self.probation(now)?;
        let last_of_excess = self.unclear.len().checked_sub(self.policy.intensity as usize + 1)?;
        self.unclear.get(last_of_excess).map(|at| *at + self.policy.window + Duration::from_micros(1))
    }

    fn doubled(&self, times: u32) -> Duration {
        Backoff { initial: self.policy.backoff, max: self.policy.max_backoff }.after(times)
    }
}

/// Adds a time and forgets those that are older than the window.
fn note(times: &mut VecDeque<Timestamp>, now: Timestamp, window: Duration) {
    times.push_back(now);
    while times.front().is_some_and(|at| now.since(*at) > window) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_micros(secs * 1_000_000)
    }

    #[test]
    fn the_circuit_opens_after_more_failures_than_the_intensity_and_closes_when_one_agent_proves_itself() {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        for second in 0..5 {
            assert!(!budget.failed(at(second)), "failure {second}");
        }
        assert!(budget.failed(at(5)));
        assert_eq!(budget.circuit(at(6)), Circuit::Open(at(35)));
        assert_eq!(budget.circuit(at(36)), Circuit::HalfOpen);
        assert!(budget.proved(at(36), at(36)));
        assert_eq!(budget.circuit(at(36)), Circuit::Closed);
    }

    #[test]
    fn an_agent_from_before_the_failures_does_not_close_the_circuit() {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        for second in 0..6 {
            budget.failed(at(second));
        }
        assert!(!budget.proved(at(4), at(7)));
        assert_eq!(budget.circuit(at(7)), Circuit::Open(at(35)));
        assert!(budget.proved(at(36), at(37)));
    }

    #[test]
    fn a_failed_trial_keeps_the_circuit_open() {
        let mut budget = RestartBudget::new(RestartPolicy { intensity: 1, ..RestartPolicy::default() });
        budget.failed(at(0));
        assert!(budget.failed(at(1)));
        assert!(!budget.failed(at(40)), "it was open already");
        assert_eq!(budget.circuit(at(41)), Circuit::Open(at(70)));
    }

    #[test]
    fn delays_double_and_old_failures_are_forgotten() {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        budget.failed(at(0));
        assert_eq!(budget.circuit(at(0)), Circuit::BackingOff(at(0) + Duration::from_millis(200)));
        budget.failed(at(1));
        assert_eq!(budget.circuit(at(1)), Circuit::BackingOff(at(1) + Duration::from_millis(400)));
        for second in (100..1_000).step_by(10) {
            assert!(!budget.failed(at(second)), "at most four within 30 s");
        }
    }

    #[test]
    fn a_failure_after_a_calm_time_is_the_first_in_a_row() {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        for second in 0..4 {
            budget.failed(at(second));
        }
        budget.failed(at(3_600));
        assert_eq!(budget.circuit(at(3_600)), Circuit::BackingOff(at(3_600) + Duration::from_millis(200)));
    }

    #[test]
    fn unclear_deaths_delay_nothing_until_they_are_many() {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        for second in 0..5 {
            assert!(!budget.died_unclear(at(second)));
            assert_eq!(budget.circuit(at(second)), Circuit::Closed);
        }
        assert!(budget.died_unclear(at(5)));
        assert_eq!(budget.circuit(at(5)), Circuit::Probation(at(5) + Duration::from_millis(200)));
        assert!(!budget.died_unclear(at(6)), "they were on probation already");
        assert_eq!(budget.circuit(at(6)), Circuit::Probation(at(6) + Duration::from_millis(400)));
        for second in 7..20 {
            budget.died_unclear(at(second));
        }
        assert_eq!(budget.circuit(at(20)), Circuit::Probation(at(20)), "the pause is a second at most");
    }

    #[test]
    fn a_probation_ends_with_a_proof_or_when_its_deaths_are_old() {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        for second in 0..6 {
            budget.died_unclear(at(second));
        }
        let ends = budget.probation_ends(at(6)).unwrap();
        assert_eq!(ends, at(30) + Duration::from_micros(1));
        assert!(matches!(budget.circuit(at(30)), Circuit::Probation(_)));
        assert_eq!(budget.circuit(ends), Circuit::Closed);
        budget.died_unclear(at(20));
        assert!(budget.proved(at(0), at(21)));
        assert_eq!((budget.circuit(at(21)), budget.proved(at(0), at(22))), (Circuit::Closed, false));
    }

    #[test]
    fn a_calm_policy_knows_no_probation() {
        let mut budget = RestartBudget::new(RestartPolicy { intensity: u32::MAX, ..RestartPolicy::default() });
        assert!((0..1_000).all(|_| !budget.died_unclear(at(0))));
        assert_eq!(budget.circuit(at(0)), Circuit::Closed);
    }
}
