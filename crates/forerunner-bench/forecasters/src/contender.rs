//! What forecasts arrival rates.

use std::collections::VecDeque;

use augurs_core::{PairCost, Predict};
use augurs_ets::AutoETS;
use forerunner_forecast::{Objective, Observation, Policy, PolicyKind, PolicyLimits, build};

use crate::STEP_S;

/// A rate and its 90th percentile, per second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forecast {
    pub rate: f64,
    pub high: f64,
}

/// Something that sees counts, one for each step, and forecasts.
pub trait Contender {
    fn name(&self) -> &'static str;
    fn see(&mut self, count: u64);
    /// Forecasts the mean rate of the step that ends `ahead` steps after the newest.
    fn forecast(&mut self, ahead: usize) -> Forecast;
}

/// The forecasts in the decisions of `predictive`. It sees the same counts, distributed over the seconds of the step.
pub struct PredictiveContender {
    policy: Box<dyn Policy>,
    t: f64,
    newest: Forecast,
}

impl PredictiveContender {
    /// A policy whose horizon, a cold start and a tick, ends in the middle of the step to forecast.
    pub fn new(ahead: usize) -> Self {
        let cold_start_s = (ahead as f64 - 0.5) * STEP_S - 1.0;
        let limits = PolicyLimits { min: 0, max: 100_000, cold_start_s, tick_s: 1.0, objective: Objective::default() };
        let policy = build(PolicyKind::default(), limits).expect("the limits are valid");
        Self { policy, t: 0.0, newest: Forecast::default() }
    }

    fn decide(&mut self, arrivals: u64) {
        self.t += 1.0;
        let seen = Observation {
            t: self.t,
            arrivals,
            completions: arrivals,
            mean_service_s: Some(1.0),
            started: arrivals,
            ..Observation::default()
        };
        if let Some(forecast) = self.policy.decide(&seen).forecast {
            self.newest = Forecast { rate: forecast.rate_per_s, high: forecast.rate_high };
        }
    }
}

impl Contender for PredictiveContender {
    fn name(&self) -> &'static str {
        "ours"
    }

    /// The last second is left for the forecast, so that its measurement includes a decision.
    fn see(&mut self, count: u64) {
        let steps = STEP_S as u64;
        for second in 0..steps - 1 {
            self.decide(count * (second + 1) / steps - count * second / steps);
        }
        self.newest.rate = (count - count * (steps - 1) / steps) as f64;
    }

    fn forecast(&mut self, _: usize) -> Forecast {
        let left = self.newest.rate as u64;
        self.decide(left);
        self.newest
    }
}

/// Automatic exponential smoothing without season, fitted anew each time to the last half hour.
#[derive(Default)]
pub struct Ets(VecDeque<f64>);

/// Steps that the model is fitted to.
const FITTED: usize = 180;

impl Contender for Ets {
    fn name(&self) -> &'static str {
        "AutoETS"
    }

    fn see(&mut self, count: u64) {
        self.0.push_back(count as f64 / STEP_S);
        if self.0.len() > FITTED {
            self.0.pop_front();
        }
    }

    fn forecast(&mut self, ahead: usize) -> Forecast {
        let last = self.0.back().copied().unwrap_or(0.0);
        let series = self.0.make_contiguous();
        let fitted = AutoETS::non_seasonal().fit(series);
        // An interval of 80 % ends at the 90th percentile.
        let Ok(forecast) = fitted.and_then(|model| model.predict(ahead, 0.8)) else {
            return Forecast { rate: last, high: last };
        };
        let rate = forecast.point.last().copied().filter(|rate| rate.is_finite()).unwrap_or(last).max(0.0);
        let upper = forecast.intervals.and_then(|intervals| intervals.upper.last().copied());
        Forecast { rate, high: upper.filter(|high| high.is_finite()).unwrap_or(rate).max(rate) }
    }
}

/// The newest rate, with the spread of its recent misses.
#[derive(Default)]
pub struct LastValue(VecDeque<f64>);

impl Contender for LastValue {
    fn name(&self) -> &'static str {
        "last value"
    }

    fn see(&mut self, count: u64) {
        self.0.push_back(count as f64 / STEP_S);
        if self.0.len() > FITTED {
            self.0.pop_front();
        }
    }

    fn forecast(&mut self, ahead: usize) -> Forecast {
        let rate = self.0.back().copied().unwrap_or(0.0);
        let mut misses: Vec<f64> =
            self.0.iter().zip(self.0.iter().skip(ahead)).map(|(before, after)| after - before).collect();
        misses.sort_by(f64::total_cmp);
        let high = misses.get(misses.len() * 9 / 10).copied().unwrap_or(0.0);
        Forecast { rate, high: (rate + high).max(rate) }
    }
}
