//! A forecast under the control of a test.

use std::{borrow::Cow, sync::Arc};

use parking_lot::Mutex;

use forerunner_forecast::{Decision, Observation, Policy, PolicyLimits, ReasonCode};

/// A policy that wants what the test sets, and records its observations.
///
/// ```
/// use forerunner_runtime::testkit::{Rig, Script, ScriptedForecast};
///
/// # actix_rt::System::new().block_on(async {
/// tokio::time::pause();
/// let forecast = ScriptedForecast::wanting(2);
/// let rig = Rig::new().forecast(&forecast).pool("coder", Script::answers("1"), |pool| pool.max = 9).start().await;
/// rig.until_ready("coder", 2).await;
/// forecast.want(5);
/// rig.until_ready("coder", 5).await;
/// assert!(forecast.seen().iter().any(|seen| seen.ready == 2));
/// rig.stop().await;
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct ScriptedForecast(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    wanted: u32,
    seen: Vec<Observation>,
}

impl ScriptedForecast {
    /// Creates a forecast that wants this many agents from the first sample on.
    pub fn wanting(agents: u32) -> Self {
        Self(Arc::new(Mutex::new(State { wanted: agents, seen: Vec::new() })))
    }

    /// Wants this many agents from the next sample on.
    pub fn want(&self, agents: u32) {
        self.with(|state| state.wanted = agents);
    }

    /// Returns all observations, in order.
    pub fn seen(&self) -> Vec<Observation> {
        self.with(|state| state.seen.clone())
    }

    pub(super) fn policy(&self, limits: PolicyLimits) -> Box<dyn Policy> {
        Box::new(Scripted { forecast: self.clone(), limits })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock())
    }
}

struct Scripted {
    forecast: ScriptedForecast,
    limits: PolicyLimits,
}

impl Policy for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn interval_s(&self) -> f64 {
        self.limits.tick_s
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        let wanted = self.forecast.with(|state| {
            state.seen.push(seen.clone());
            state.wanted
        });
        Decision {
            desired: self.limits.clamp(wanted),
            need: f64::from(wanted),
            reason: ReasonCode::Fixed,
            detail: format!("the script wants {wanted}"),
            rule: Cow::Borrowed("scripted"),
            forecast: None,
        }
    }
}
