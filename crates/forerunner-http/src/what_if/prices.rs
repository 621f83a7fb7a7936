//! What each objective would have cost.

use forerunner_forecast::{Decision, Error, Objective, Observation, Policy, PolicyKind, PolicyLimits, build};
use forerunner_sim::{AsLive, Replay, Trace, WaitSummary, perfect, replay};
use serde::Serialize;
use utoipa::ToSchema;

use super::aside::Stop;

/// Seconds at the begin that do not count, unless the history is shorter.
const WARM_UP_S: f64 = 300.0;

/// What one objective would have cost.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Price {
    /// Share of tasks that is to start on time.
    share: f64,
    /// Whether it would have been met.
    meets_objective: bool,
    /// Share of tasks that would have been late.
    late_share: f64,
    /// How long tasks would have waited.
    wait_s: WaitSummary,
    /// Seconds of agents' lives.
    agent_seconds: f64,
    /// That, relative to a planner who knows what comes.
    ratio_to_perfect: Option<f64>,
    /// Most agents at once.
    peak_agents: u32,
}

/// Replays `trace` under each share, as the service would have lived through it. Returns the policy, the warm-up, and the
/// prices in the order of the shares; `None` if it was stopped.
pub(super) fn prices(
    trace: &Trace,
    limits: PolicyLimits,
    as_live: AsLive,
    shares: &[f64],
    stop: &Stop,
) -> Result<Option<Prices>, Error> {
    let warm_up_s = if trace.span_s() < WARM_UP_S { 0.0 } else { WARM_UP_S };
    let kind = PolicyKind::default();
    let price = |&share: &f64| {
        let limits = PolicyLimits { objective: Objective { share, ..limits.objective }, ..limits };
        let settings = Replay { warm_up_s, as_live: Some(as_live), ..Replay::new(limits) };
        if stop.is_due() {
            return Ok(None);
        }
        let least_s = perfect(trace, &settings).instance_s;
        let mut policy = Stoppable { policy: build(kind, limits)?, newest: None, stop };
        let report = replay(trace, &mut policy, &settings).report;
        Ok((!stop.is_due()).then(|| Price {
            share,
            meets_objective: report.meets_objective(),
            late_share: report.late_share,
            wait_s: report.wait_s,
            agent_seconds: report.instance_s,
            ratio_to_perfect: (least_s > 0.0).then(|| report.instance_s / least_s),
            peak_agents: report.peak_pool,
        }))
    };
    let prices: Result<Vec<Option<Price>>, Error> = shares.iter().map(price).collect();
    let prices: Option<Vec<Price>> = prices?.into_iter().collect();
    Ok(prices.map(|prices| (kind.name(), warm_up_s, prices)))
}

/// The policy, the warm-up in seconds, and a price for each share.
pub(super) type Prices = (&'static str, f64, Vec<Price>);

/// A policy that stops thinking: the rest of the replay takes no time, and nobody looks at it.
struct Stoppable<'a> {
    policy: Box<dyn Policy>,
    newest: Option<Decision>,
    stop: &'a Stop,
}

impl Policy for Stoppable<'_> {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn interval_s(&self) -> f64 {
        self.policy.interval_s()
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        match self.newest.as_ref().filter(|_| self.stop.is_due()) {
            Some(newest) => newest.clone(),
            None => self.newest.insert(self.policy.decide(seen)).clone(),
        }
    }

    fn band_coverage(&self) -> Option<f64> {
        self.policy.band_coverage()
    }
}
