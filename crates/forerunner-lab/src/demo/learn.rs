//! What a policy has learned before the slice begins.

use forerunner_forecast::{Decision, Observation, Policy, PolicyKind, PolicyLimits, build};
use forerunner_sim::{Replay, Trace, TraceTask, replay};

use super::trace::Slice;

/// The knowledge of a policy, and the size it wanted at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The policy.
    pub policy: &'static str,
    /// The saved state.
    pub text: String,
    /// The wanted size.
    pub desired: u32,
}

/// Lets the policy observe the history in virtual time. `None` without history, or for a policy that learns nothing.
///
/// # Errors
/// When the policy rejects the limits.
pub fn learn(kind: PolicyKind, limits: PolicyLimits, slice: &Slice) -> anyhow::Result<Option<Learned>> {
    if slice.history.is_empty() {
        return Ok(None);
    }
    // The tasks of the history load the pool to its end; the policy's decisions about them are dropped.
    let after = slice.tasks.iter().map(|task| TraceTask { arrival_s: task.arrival_s + slice.history_s, ..*task });
    let seen = Trace::new("history", slice.history.iter().copied().chain(after).collect())?;
    let begin = Replay { initial: offered_load(slice), warm_up_s: 0.0, ..Replay::new(limits) };
    let mut pupil = Pupil { policy: build(kind, limits)?, until_s: slice.history_s, learned: None };
    replay(&seen, &mut pupil, &begin);
    Ok(pupil.learned)
}

/// Agents that the history loads on average: about what a pool would have had at its start, so that the policy does not
/// learn from a backlog that never existed.
fn offered_load(slice: &Slice) -> u32 {
    let busy_s: f64 = slice.history.iter().map(|task| task.service_s).sum();
    (busy_s / slice.history_s).ceil() as u32
}

/// A policy whose state is saved at a given time.
struct Pupil {
    policy: Box<dyn Policy>,
    until_s: f64,
    learned: Option<Learned>,
}

impl Policy for Pupil {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn interval_s(&self) -> f64 {
        self.policy.interval_s()
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let decision = self.policy.decide(seen);
        if self.learned.is_none() && seen.t >= self.until_s {
            let (policy, desired) = (self.policy.name(), decision.desired);
            self.learned = self.policy.save().map(|text| Learned { policy, text, desired });
        }
        decision
    }
}
