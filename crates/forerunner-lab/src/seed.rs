//! Policies that have seen a recording: what a new pool can begin with.

use forerunner_forecast::{Decision, Observation, Policy, PolicyKind, PolicyLimits, WhatIf, build};
use forerunner_sim::{AsLive, Replay, Trace, replay};

/// Seconds that an idle agent stays in cooldown in the replay that a policy learns from: the default of a pool.
const COOLDOWN_S: f64 = 5.0;

/// What a policy knows after a recording, and the size that it wanted at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedState {
    /// The name of the policy.
    pub policy: &'static str,
    /// What it has learned, as it saves it; `None` for a policy that saves nothing.
    pub text: Option<String>,
    /// The wanted size.
    pub desired: u32,
}

/// A policy that has seen a recording, and the size that it wanted last.
pub struct TrainedPolicy {
    /// The policy.
    pub policy: Box<dyn Policy>,
    /// The wanted size.
    pub desired: u32,
}

impl TrainedPolicy {
    /// Returns what it knows.
    pub fn learned(&self) -> LearnedState {
        LearnedState { policy: self.policy.name(), text: self.policy.save(), desired: self.desired }
    }
}

/// Lets a policy size a pool in virtual time until `until_s` seconds of the trace.
///
/// # Errors
/// When the policy rejects its settings or the limits.
pub fn train(
    kind: PolicyKind,
    limits: PolicyLimits,
    trace: &Trace,
    until_s: f64,
) -> Result<TrainedPolicy, forerunner_forecast::Error> {
    Ok(train_policy(build(kind, limits)?, limits, trace, until_s, &|| false))
}

/// The same with a policy that has been made. When `is_stopped` answers true it learns no more, and the rest of the trace takes
/// no time.
pub fn train_policy(
    policy: Box<dyn Policy>,
    limits: PolicyLimits,
    trace: &Trace,
    until_s: f64,
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> TrainedPolicy {
    let settings = Replay {
        initial: offered_load(trace, until_s),
        warm_up_s: 0.0,
        as_live: Some(AsLive { cooldown_s: COOLDOWN_S }),
        ..Replay::new(limits)
    };
    let mut training = TrainingPolicy { policy, until_s, last: None, is_stopped };
    replay(trace, &mut training, &settings);
    let desired = training.last.map_or(limits.min, |decision| decision.desired);
    TrainedPolicy { policy: training.policy, desired: limits.clamp(desired) }
}

/// Agents that the recording loads on average: about what a pool would have had at its begin, so that the policy does
/// not learn from a backlog that never existed.
pub fn offered_load(trace: &Trace, until_s: f64) -> u32 {
    let seen = trace.tasks().iter().filter(|task| task.arrival_s < until_s);
    (seen.map(|task| task.service_s).sum::<f64>() / until_s.max(1.0)).ceil() as u32
}

/// A policy that is asked until a given time. What comes later it does not see.
struct TrainingPolicy<'a> {
    policy: Box<dyn Policy>,
    until_s: f64,
    last: Option<Decision>,
    is_stopped: &'a (dyn Fn() -> bool + Sync),
}

impl Policy for TrainingPolicy<'_> {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn interval_s(&self) -> f64 {
        self.policy.interval_s()
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        match &self.last {
            Some(last) if seen.t > self.until_s || (self.is_stopped)() => last.clone(),
            _ => self.last.insert(self.policy.decide(seen)).clone(),
        }
    }
}

/// A policy that continues where a recording ended: its clock is that of the recording.
pub struct OffsetPolicy {
    policy: Box<dyn Policy>,
    since_s: f64,
}

impl OffsetPolicy {
    /// Continues from `since_s` seconds of the recording.
    pub const fn new(policy: Box<dyn Policy>, since_s: f64) -> Self {
        Self { policy, since_s }
    }
}

impl Policy for OffsetPolicy {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn interval_s(&self) -> f64 {
        self.policy.interval_s()
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        self.policy.decide(&Observation { t: seen.t + self.since_s, ..seen.clone() })
    }

    fn band_coverage(&self) -> Option<f64> {
        self.policy.band_coverage()
    }

    fn what_if(&self, shares: &[f64]) -> Vec<WhatIf> {
        self.policy.what_if(shares)
    }
}

#[cfg(test)]
mod tests {
    use forerunner_forecast::Objective;
    use forerunner_sim::TraceTask;

    use super::*;

    #[test]
    fn a_policy_learns_until_the_given_time_and_no_further() {
        // A task a second of four seconds; after ten minutes ten times as many.
        let task = |i: u32| {
            let arrival_s = if i < 600 { f64::from(i) } else { 600.0 + f64::from(i - 600) / 10.0 };
            TraceTask { arrival_s, service_s: 4.0, ..TraceTask::default() }
        };
        let trace = Trace::new("t", (0..1_200).map(task).collect()).expect("tasks");
        let limits = PolicyLimits { min: 1, max: 90, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() };
        let desired = |until_s| train(PolicyKind::default(), limits, &trace, until_s).expect("valid").learned();
        let (before, after) = (desired(599.0), desired(650.0));
        assert!((5..=12).contains(&before.desired), "{}", before.desired);
        assert!(after.desired > 30, "{}", after.desired);
        let mut pool = build(PolicyKind::default(), limits).expect("valid");
        assert!(pool.restore(&before.text.expect("it saves what it learned"), 0.0));
    }
}
