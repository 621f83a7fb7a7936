//! A small bank of rate forecasts, the one in charge chosen by its recent error at the horizon.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    period_detector::PeriodDetector,
    rate::{DampedHolt, Ewma, sane},
    window::{Sample, Window},
};

/// Seconds per step of the series that forecasts are made from and judged against.
const STEP_S: f64 = 10.0;
/// Steps that the recent peak covers.
const PEAK_STEPS: usize = 6;
/// Time constants of the averages, in seconds.
const TAUS_S: [f64; 4] = [15.0, 60.0, 300.0, 900.0];
pub(crate) const MEMBERS: usize = 6;
/// Weight of the past in a forecast's recent error: about 30 steps, the rolling window.
const KEEP_ERROR: f64 = 1.0 - 1.0 / 30.0;
/// A challenger takes over only when its error is this much smaller, so that equals do not take turns.
const TAKE_OVER: f64 = 0.95;
/// Steps that the dispersion remembers.
const DISPERSION_STEPS: f64 = 60.0;
/// More dispersion than this does not widen margins further: one freak step would, for ten minutes.
const MAX_DISPERSION: f64 = 8.0;
/// Half-width of the normal 90 % band, where calibration starts.
const BAND_START: f64 = 1.6449;
/// Share of steps that should fall outside each edge of the band.
const TAIL: f64 = 0.05;
/// Longest queue of forecasts still to be judged; a horizon of twenty minutes.
const MAX_PENDING: usize = 128;

/// Which forecast is in charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// Exponential average over 15 s.
    Ewma15,
    /// Exponential average over 60 s.
    Ewma60,
    /// Exponential average over 300 s.
    Ewma300,
    /// Exponential average over 900 s.
    Ewma900,
    /// Damped Holt on steps of 10 s.
    Holt,
    /// Greatest of the last six steps of 10 s.
    Peak,
}

const RULES: [Rule; MEMBERS] = [Rule::Ewma15, Rule::Ewma60, Rule::Ewma300, Rule::Ewma900, Rule::Holt, Rule::Peak];
/// In charge until errors have been measured: quick enough for a start, calm enough for chance.
const DEFAULT_RULE: usize = 1;

impl Rule {
    /// Returns the name used in explanations and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ewma15 => "ewma15",
            Self::Ewma60 => "ewma60",
            Self::Ewma300 => "ewma300",
            Self::Ewma900 => "ewma900",
            Self::Holt => "holt",
            Self::Peak => "peak",
        }
    }
}

/// Expected arrivals per second at the horizon.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateForecast {
    /// Expected arrivals per second.
    pub rate: f64,
    /// Lower edge of the 90 % band of a ten-second rate.
    pub low: f64,
    /// Upper edge of the 90 % band of a ten-second rate.
    pub high: f64,
    /// Index of dispersion of ten-second counts about the forecast: 1 for Poisson arrivals and a perfect forecast,
    /// more for bursts and for forecasts that miss. From 0 to 8.
    pub dispersion: f64,
    /// The forecast in charge.
    pub rule: Rule,
}

impl RateForecast {
    /// What is forecast before anything was observed.
    pub const NOTHING: Self = Self { rate: 0.0, low: 0.0, high: 0.0, dispersion: 1.0, rule: RULES[DEFAULT_RULE] };
}

/// Forecasts waiting for the step they are about.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Pending {
    step: u64,
    members: [f64; MEMBERS],
    rate: f64,
    low: f64,
    high: f64,
}

/// The bank. Deterministic; knows time only through the window it reads.
///
/// Averages move at every observation, everything else when a step of ten seconds is complete: the step judges the
/// forecasts made for it one horizon earlier, moves the edges of the band and feeds the trend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecaster {
    averages: [Ewma; 4],
    holt: DampedHolt,
    peaks: VecDeque<f64>,
    recall: PeriodDetector,
    next_step: u64,
    pending: VecDeque<Pending>,
    errors: [f64; MEMBERS],
    judged: u64,
    covered: u64,
    chosen: usize,
    band: (f64, f64),
    dispersion: f64,
}

impl Forecaster {
    /// Makes a bank that has seen nothing; `now` is the time of the window it will read.
    pub fn new(now: f64) -> Self {
        Self {
            averages: TAUS_S.map(Ewma::new),
            holt: DampedHolt::new(),
            peaks: VecDeque::with_capacity(PEAK_STEPS + 1),
            recall: PeriodDetector::new(),
            next_step: step_of(now),
            pending: VecDeque::with_capacity(16),
            errors: [0.0; MEMBERS],
            judged: 0,
            covered: 0,
            chosen: DEFAULT_RULE,
            band: (-BAND_START, BAND_START),
            dispersion: 1.0,
        }
    }

    /// Records `arrivals` over the last `dt` seconds, which `window` has recorded already.
    ///
    /// `horizon_s` is how far ahead forecasts are wanted, and so judged.
    pub fn observe(&mut self, window: &Window, arrivals: f64, dt: f64, horizon_s: f64) {
        if dt > 0.0 {
            self.averages.iter_mut().for_each(|average| average.observe(arrivals / dt, dt));
        }
        let current = step_of(window.now());
        // After a gap longer than the window, only the steps that the window still has can be read.
        self.next_step = self.next_step.max(current.saturating_sub((window.span_s() / STEP_S) as u64));
        while self.next_step < current {
            self.close_step(window, horizon_s);
        }
    }

    /// Forecasts the rate `horizon_s` seconds ahead; `None` before the first arrival interval was observed.
    pub fn forecast(&self, window: &Window, horizon_s: f64) -> Option<RateForecast> {
        let members = self.members(window.now(), horizon_s)?;
        let rate = members[self.chosen];
        let (low, high) = self.edges(rate);
        Some(RateForecast { rate, low, high, dispersion: self.dispersion, rule: RULES[self.chosen] })
    }

    /// Index of dispersion of ten-second counts about the forecast in charge: see [`RateForecast::dispersion`].
    pub(crate) fn dispersion(&self) -> f64 {
        self.dispersion
    }

    /// Share of judged steps that fell inside the band, once there were any. Aims at 0.9.
    pub fn coverage(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.covered as f64 / self.judged as f64)
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.averages.iter().all(Ewma::is_sound)
            && self.holt.is_sound()
            && self.recall.is_sound()
            && self.chosen < MEMBERS
            && self.errors.iter().all(|e| e.is_finite())
            && self.dispersion.is_finite()
            && self.peaks.iter().all(|p| p.is_finite())
            && self.pending.len() <= MAX_PENDING
    }

    /// Gives up on forecasts whose step nobody observed, and leaves out the steps up to `now`.
    pub(crate) fn skip_to(&mut self, now: f64) {
        self.next_step = self.next_step.max(step_of(now));
        self.pending.retain(|p| p.step >= self.next_step);
    }

    fn close_step(&mut self, window: &Window, horizon_s: f64) {
        let step = self.next_step;
        self.next_step += 1;
        let (count, observed_s) = window.total(Sample::Arrivals, step * STEP_S as u64, (step + 1) * STEP_S as u64);
        if observed_s < STEP_S / 2.0 {
            return;
        }
        let actual = count / observed_s;
        while let Some(made) = self.pending.front().copied().filter(|p| p.step <= step) {
            self.pending.pop_front();
            if made.step == step {
                self.judge(&made, actual);
            }
        }
        self.holt.observe(actual);
        self.recall.observe(step, actual);
        self.peaks.push_back(actual);
        if self.peaks.len() > PEAK_STEPS {
            self.peaks.pop_front();
        }
        let end = (step + 1) as f64 * STEP_S;
        if let (Some(members), true) = (self.members(end, horizon_s), self.pending.len() < MAX_PENDING) {
            let rate = members[self.chosen];
            let (low, high) = self.edges(rate);
            self.pending.push_back(Pending { step: step_of(end + horizon_s), members, rate, low, high });
        }
    }

    fn judge(&mut self, made: &Pending, actual: f64) {
        for (error, member) in self.errors.iter_mut().zip(made.members) {
            *error = sane(*error * KEEP_ERROR + (member - actual).abs());
        }
        self.judged += 1;
        self.covered += u64::from((made.low..=made.high).contains(&actual));
        let best = (0..MEMBERS).min_by(|&a, &b| self.errors[a].total_cmp(&self.errors[b])).unwrap_or(DEFAULT_RULE);
        if self.judged >= 3 && self.errors[best] < TAKE_OVER * self.errors[self.chosen] {
            self.chosen = best;
        }
        let miss = sane((actual - made.rate) / deviation(made.rate));
        self.calibrate(miss);
        let weight = 1.0 / (self.judged as f64 + 5.0).min(DISPERSION_STEPS);
        let squared = (miss * miss).min(5.0 * MAX_DISPERSION);
        self.dispersion = (self.dispersion + weight * (squared - self.dispersion)).clamp(0.0, MAX_DISPERSION);
    }

    /// Moves each edge towards its quantile: the Robbins-Monro recursion (1951) in the form of adaptive conformal
    /// inference (Gibbs & Candès 2021), which keeps its coverage when the process changes.
    fn calibrate(&mut self, miss: f64) {
        const STEP: f64 = 0.15;
        let outside = |is: bool| if is { 1.0 } else { 0.0 };
        let (low, high) = self.band;
        let low = low - STEP * (1.0 + low.abs()) * (outside(miss < low) - TAIL);
        let high = high + STEP * (1.0 + high.abs()) * (outside(miss > high) - TAIL);
        self.band = (low.clamp(-50.0, 0.0), high.clamp(0.0, 50.0));
    }

    fn edges(&self, rate: f64) -> (f64, f64) {
        let sigma = deviation(rate);
        ((rate + self.band.0 * sigma).max(0.0), rate + self.band.1 * sigma)
    }

    /// The rate at the same point of the period before, if there is a period.
    pub(crate) fn recalled(&self, at: f64) -> Option<f64> {
        self.recall.forecast(step_of(at))
    }

    /// What each forecast predicts at time `now` for `now + horizon_s`.
    pub(crate) fn members(&self, now: f64, horizon_s: f64) -> Option<[f64; MEMBERS]> {
        let mut members = [0.0; MEMBERS];
        for (member, average) in members.iter_mut().zip(&self.averages) {
            *member = average.value()?;
        }
        // The level of the trend belongs to the middle of the last complete step.
        let middle = (self.next_step as f64 - 0.5) * STEP_S;
        members[4] = self.holt.forecast((now + horizon_s - middle) / STEP_S).unwrap_or(members[1]);
        members[5] = self.peaks.iter().copied().reduce(f64::max).unwrap_or(members[0]);
        Some(members)
    }
}

/// Standard deviation of a ten-second rate under Poisson arrivals; that of one task where none is expected.
fn deviation(rate: f64) -> f64 {
    (rate.max(1.0 / STEP_S) / STEP_S).sqrt()
}

fn step_of(t: f64) -> u64 {
    (t / STEP_S).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Observation;

    /// Feeds `rate(t)` arrivals a second for `seconds` and returns the bank and its window.
    fn fed(seconds: u32, horizon_s: f64, rate: impl Fn(f64) -> u64) -> (Forecaster, Window) {
        let (mut bank, mut window) = (Forecaster::new(0.0), Window::new(300, 0.0));
        for t in 1..=seconds {
            let seen = Observation { arrivals: rate(f64::from(t)), ..Observation::default() };
            window.record(f64::from(t), 0.0, &seen);
            bank.observe(&window, seen.arrivals as f64, 1.0, horizon_s);
        }
        (bank, window)
    }

    #[test]
    fn a_constant_rate_is_forecast_as_it_is() {
        let (bank, window) = fed(600, 11.0, |_| 5);
        let forecast = bank.forecast(&window, 11.0).expect("observed");
        assert!((forecast.rate - 5.0).abs() < 1e-6, "{forecast:?}");
        assert!(forecast.low <= 5.0 && forecast.high >= 5.0);
        assert!(forecast.dispersion < 0.2, "no noise at all: {forecast:?}");
    }

    #[test]
    fn on_a_ramp_the_trend_takes_charge() {
        let (bank, window) = fed(600, 31.0, |t| (t / 2.0) as u64);
        let forecast = bank.forecast(&window, 31.0).expect("observed");
        assert_eq!(forecast.rule, Rule::Holt);
        assert!(forecast.rate > 300.0, "300/s now and rising: {forecast:?}");
    }

    #[test]
    fn the_first_second_gives_a_forecast() {
        let (bank, window) = fed(1, 3.0, |_| 7);
        assert!((bank.forecast(&window, 3.0).expect("observed").rate - 7.0).abs() < 1e-9);
        assert_eq!(Forecaster::new(0.0).forecast(&Window::new(300, 0.0), 3.0), None);
    }

    #[test]
    fn the_band_learns_its_coverage_on_bursty_counts() {
        // Every third second brings nine tasks in a row of quiet ones, shifted by a fixed pattern: far from Poisson.
        let (bank, _) = fed(20_000, 11.0, |t| if (t as u64).wrapping_mul(2_654_435_761) % 97 < 11 { 27 } else { 0 });
        let coverage = bank.coverage().expect("judged");
        assert!((0.87..0.93).contains(&coverage), "{coverage}");
    }
}
