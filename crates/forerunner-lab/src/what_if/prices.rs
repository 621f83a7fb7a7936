//! What each objective would have cost.

use forerunner_forecast::{Decision, Error, Objective, Observation, Policy, PolicyKind, PolicyLimits, build};
use forerunner_sim::{AsLive, Replay, Trace, WaitSummary, perfect, replay};
use serde::Serialize;

/// Seconds at the begin that do not count, unless the history is shorter.
const WARM_UP_S: f64 = 300.0;

/// What one objective would have cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Price {
    /// Share of tasks that is to start on time.
    pub share: f64,
    /// Whether it would have been met.
    pub meets_objective: bool,
    /// Share of tasks that would have been late.
    pub late_share: f64,
    /// How long tasks would have waited.
    pub wait_s: WaitSummary,
    /// Seconds that the agents existed.
    pub agent_seconds: f64,
    /// The same, relative to a planner that knows the future.
    pub ratio_to_perfect: Option<f64>,
    /// Most agents at once.
    pub peak_agents: u32,
}

/// The cost of each requested objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// The policy that was replayed.
    pub policy: &'static str,
    /// Seconds at the begin that do not count.
    pub warm_up_s: f64,
    /// A price for each share, in the requested order.
    pub prices: Vec<Price>,
}

/// Replays `trace` under each share, as the service would have lived through it, with a cooldown of `cooldown_s` seconds.
/// `None` if `is_stopped` answered true before all was replayed.
///
/// # Errors
/// When the limits contradict each other.
pub fn prices(
    trace: &Trace,
    limits: PolicyLimits,
    cooldown_s: f64,
    shares: &[f64],
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Prices>, Error> {
    let warm_up_s = if trace.span_s() < WARM_UP_S { 0.0 } else { WARM_UP_S };
    let kind = PolicyKind::default();
    let price = |&share: &f64| {
        let limits = PolicyLimits { objective: Objective { share, ..limits.objective }, ..limits };
        let settings = Replay { warm_up_s, as_live: Some(AsLive { cooldown_s }), ..Replay::new(limits) };
        if is_stopped() {
            return Ok(None);
        }
        let least_s = perfect(trace, &settings).instance_s;
        let mut policy = CancellablePolicy { policy: build(kind, limits)?, newest: None, is_stopped };
        let report = replay(trace, &mut policy, &settings).report;
        Ok((!is_stopped()).then(|| Price {
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
    Ok(prices.map(|prices| Prices { policy: kind.name(), warm_up_s, prices }))
}

/// A policy that stops deciding: the rest of the replay takes no time, and its result is dropped.
struct CancellablePolicy<'a> {
    policy: Box<dyn Policy>,
    newest: Option<Decision>,
    is_stopped: &'a (dyn Fn() -> bool + Sync),
}

impl Policy for CancellablePolicy<'_> {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn interval_s(&self) -> f64 {
        self.policy.interval_s()
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        match self.newest.as_ref().filter(|_| (self.is_stopped)()) {
            Some(newest) => newest.clone(),
            None => self.newest.insert(self.policy.decide(seen)).clone(),
        }
    }

    fn band_coverage(&self) -> Option<f64> {
        self.policy.band_coverage()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use forerunner_sim::TraceTask;

    use super::*;

    /// A task a second, four seconds each, for ten minutes.
    fn trace() -> Trace {
        let task = |second: u32| TraceTask { arrival_s: second.into(), service_s: 4.0, ..TraceTask::default() };
        Trace::new("history", (0..600).map(task).collect()).unwrap()
    }

    fn limits() -> PolicyLimits {
        PolicyLimits { min: 1, max: 40, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() }
    }

    #[test]
    fn each_share_has_a_price_in_the_order_asked_for() {
        let priced = prices(&trace(), limits(), 5.0, &[0.99, 0.5], &|| false).unwrap().unwrap();
        let shares: Vec<f64> = priced.prices.iter().map(|price| price.share).collect();
        assert_eq!(
            (priced.policy, priced.warm_up_s, shares),
            (PolicyKind::default().name(), WARM_UP_S, vec![0.99, 0.5])
        );
        for price in &priced.prices {
            assert!(price.meets_objective && price.ratio_to_perfect.is_some_and(|ratio| ratio >= 1.0), "{price:?}");
        }
    }

    #[test]
    fn a_replay_that_is_stopped_half_way_has_no_prices() {
        let asked = AtomicU32::new(0);
        let is_stopped = || asked.fetch_add(1, Ordering::Relaxed) > 100;
        assert_eq!(prices(&trace(), limits(), 5.0, &[0.99], &is_stopped).unwrap(), None);
        assert_eq!(prices(&trace(), limits(), 5.0, &[0.99], &|| true).unwrap(), None);
    }
}
