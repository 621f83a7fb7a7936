//! What one decision is made from, and how it is told.

use crate::{Observation, ReasonCode, forecaster::RateForecast, service::ServiceForecast, sizing::Load};

/// What one decision is made from.
pub(super) struct Picture {
    pub cold_s: f64,
    pub horizon_s: f64,
    pub rate: RateForecast,
    pub surge: bool,
    pub service: ServiceForecast,
    /// The load at the horizon.
    pub load: Load,
    pub z: f64,
    pub hold_s: f64,
}

/// Sizes that different layers ask for, in agents.
pub(super) struct Needs {
    /// Of the forecast, or of the surge that overrides it.
    pub forecast: f64,
    /// Of the backlog; 0 without one.
    pub backlog: f64,
    /// Greatest between now and the horizon: below this the pool must not shrink.
    pub on_the_way: f64,
}

impl Needs {
    pub fn greatest(&self) -> f64 {
        self.forecast.max(self.backlog)
    }
}

/// Agents that bring a backlog down: those there are, plus enough for what they cannot take.
///
/// Within a cold start the idle agents take a task each, the busy ones as many as they finish, and the starting ones, which
/// are ready half-way on average, half as many, but at least one.
/// What then still waits is drained over the longer of a cold start and a task. 0 without tasks left over.
pub(super) fn backlog_need(seen: &Observation, picture: &Picture) -> f64 {
    if seen.queue_depth == 0 {
        return 0.0;
    }
    let (cold_s, service_s) = (picture.cold_s, picture.service.mean_s);
    let busy = f64::from(seen.in_flight.saturating_sub(seen.draining));
    let rounds = cold_s / service_s;
    let taken = f64::from(seen.ready) + f64::from(seen.starting) * (0.5 * rounds).max(1.0) + busy * rounds;
    let left = f64::from(seen.queue_depth) + picture.load.rate * cold_s - taken;
    if left <= 0.0 {
        return 0.0;
    }
    f64::from(seen.size()) + left * service_s / cold_s.max(service_s)
}

/// The numbers that decided, in words.
pub(super) fn explain(seen: &Observation, picture: &Picture, need: f64, desired: u32, reason: ReasonCode) -> String {
    let Picture { rate, load, service, horizon_s, hold_s, .. } = picture;
    let need = need.ceil();
    let mut text = format!(
        "{:.1} tasks/s expected in {horizon_s:.1} s (band {:.1}-{:.1}) x {:.1} s each: {need:.0} needed; {} now",
        load.rate,
        rate.low,
        rate.high,
        service.mean_s,
        seen.size(),
    );
    let more = match reason {
        ReasonCode::Surge => format!("; arrivals outran the forecast of {:.1}/s", rate.rate),
        ReasonCode::Backlog => format!("; {} waiting", seen.queue_depth),
        ReasonCode::Hold => format!("; {desired} kept, needed within the last {hold_s:.0} s"),
        ReasonCode::ForecastDown => format!("; not more than {desired} needed for {hold_s:.0} s"),
        ReasonCode::Bounded => format!("; the limit is {desired}"),
        ReasonCode::Learning => "; too little history to shrink by".to_owned(),
        _ => return text,
    };
    text.push_str(&more);
    text
}
