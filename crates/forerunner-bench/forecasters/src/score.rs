//! How good forecasts were.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::contender::Forecast;

/// Sums over forecasts and actual values.
#[derive(Debug, Default)]
pub struct Score {
    forecasts: u32,
    truth: f64,
    error: f64,
    loss: f64,
    spent: Duration,
}

impl Score {
    /// Adds a forecast, the actual rate, and the time that the forecast took.
    pub fn add(&mut self, forecast: Forecast, truth: f64, spent: Duration) {
        self.forecasts += 1;
        self.truth += truth;
        self.error += (forecast.rate - truth).abs();
        // The pinball loss (Koenker and Bassett 1978): least for the true 90th percentile.
        let over = forecast.high - truth;
        self.loss += if over >= 0.0 { 0.1 * over } else { -0.9 * over };
        self.spent += spent;
    }
}

/// Error and loss in shares of the mean rate, and microseconds a forecast.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let truth = self.truth.max(f64::MIN_POSITIVE);
        let each_us = self.spent.as_secs_f64() * 1e6 / f64::from(self.forecasts.max(1));
        write!(f, "{:.3} | {:.3} | {each_us:.1}", self.error / truth, self.loss / truth)
    }
}

/// Runs `act` and returns how long it took.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    #[allow(clippy::disallowed_methods, reason = "this program measures time and decides nothing by it")]
    let begun = Instant::now();
    (act(), begun.elapsed())
}
