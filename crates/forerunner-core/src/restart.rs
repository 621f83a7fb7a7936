//! How often agents may fail before a pool stops replacing them.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Error, Timestamp, human_duration};

/// How a pool replaces agents that fail.
///
/// An agent *fails* when it does not become ready, dies while idle, or dies in its first task. A death in a later task
/// is blamed on the task, which has a crash limit of its own (see [`crate::RetryPolicy::max_crashes`]).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartPolicy {
    /// Failures within `window` that open the circuit, at least 1.
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

/// What the budget allows now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// Agents may be started.
    Free,
    /// Not before this time: the backoff after a failure.
    Wait(Timestamp),
    /// Not before this time: too many failures.
    Open(Timestamp),
    /// The circuit was open: one agent may be started to try.
    Trial,
}

/// Counts failures against a [`RestartPolicy`].
#[derive(Debug, Clone)]
pub struct RestartBudget {
    policy: RestartPolicy,
    failures: VecDeque<Timestamp>,
    in_a_row: u32,
    wait_until: Option<Timestamp>,
    open_until: Option<Timestamp>,
}

impl RestartBudget {
    /// A budget with nothing spent.
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, failures: VecDeque::new(), in_a_row: 0, wait_until: None, open_until: None }
    }

    /// Notes a failure; returns true if it opened the circuit.
    pub fn failed(&mut self, now: Timestamp) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let doublings = self.in_a_row.saturating_sub(1).min(31);
        let delay = self.policy.backoff.saturating_mul(1 << doublings).min(self.policy.max_backoff);
        self.wait_until = Some(now + delay);
        self.failures.push_back(now);
        self.forget_old(now);
        let was_open = self.open_until.is_some();
        if was_open || self.failures.len() as u64 > u64::from(self.policy.intensity) {
            self.open_until = Some(now + self.policy.max_backoff);
        }
        self.open_until.is_some() && !was_open
    }

    /// Notes that an agent proved itself by finishing a task; returns true if it closed the circuit.
    pub fn proved(&mut self) -> bool {
        self.in_a_row = 0;
        self.wait_until = None;
        if self.open_until.take().is_some() {
            self.failures.clear();
            return true;
        }
        false
    }

    /// Returns what is allowed now.
    pub fn allowance(&self, now: Timestamp) -> Allowance {
        match (self.open_until, self.wait_until) {
            (Some(until), _) if now < until => Allowance::Open(until),
            (Some(_), _) => Allowance::Trial,
            (None, Some(until)) if now < until => Allowance::Wait(until),
            (None, _) => Allowance::Free,
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        while self.failures.front().is_some_and(|at| now.since(*at) > self.policy.window) {
            self.failures.pop_front();
        }
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
        assert_eq!(budget.allowance(at(6)), Allowance::Open(at(35)));
        assert_eq!(budget.allowance(at(36)), Allowance::Trial);
        assert!(budget.proved());
        assert_eq!(budget.allowance(at(36)), Allowance::Free);
    }

    #[test]
    fn a_failed_trial_keeps_the_circuit_open() {
        let mut budget = RestartBudget::new(RestartPolicy { intensity: 1, ..RestartPolicy::default() });
        budget.failed(at(0));
        assert!(budget.failed(at(1)));
        assert!(!budget.failed(at(40)), "it was open already");
        assert_eq!(budget.allowance(at(41)), Allowance::Open(at(70)));
    }

    #[test]
    fn delays_double_and_old_failures_are_forgotten() {
        let mut budget = RestartBudget::new(RestartPolicy::default());
        budget.failed(at(0));
        assert_eq!(budget.allowance(at(0)), Allowance::Wait(at(0) + Duration::from_millis(200)));
        budget.failed(at(1));
        assert_eq!(budget.allowance(at(1)), Allowance::Wait(at(1) + Duration::from_millis(400)));
        for second in (100..1_000).step_by(10) {
            assert!(!budget.failed(at(second)), "at most four within 30 s");
        }
    }
}
