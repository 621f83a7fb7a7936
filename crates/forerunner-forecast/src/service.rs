//! How long tasks stay on an agent: the mean, where it is heading, and who is still there a while from now.

use serde::{Deserialize, Serialize};

use crate::{
    Observation,
    rate::sane,
    trend::Trend,
    window::{Sample, Window},
};

/// Time constant of the decayed sums, in seconds.
const TAU_S: f64 = 180.0;
/// The same for the longer past.
const SLOW_TAU_S: f64 = 900.0;
/// Durations kept for the residual life.
const RECENT: usize = 512;
/// Fewest durations the residual life is read from; with fewer it is taken as exponential.
const FEW: usize = 20;
/// Seconds a task is taken to need before the first has completed; weighs as much as [`PRIOR_WEIGHT`] tasks.
const PRIOR_S: f64 = 5.0;
const PRIOR_WEIGHT: f64 = 0.5;
/// Standard errors a trend must be away from none before it is believed.
const CLEAR: f64 = 3.0;

/// What is expected of a task's time on an agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServiceForecast {
    /// Expected seconds on an agent at the horizon, above 0.
    pub mean_s: f64,
    /// Standard deviation of one task's seconds, as seen lately.
    pub sd_s: f64,
    /// Change of the mean, in seconds per second, over the window; 0 while unclear.
    pub trend: f64,
    /// Whether the size of contexts decided the change expected until the horizon.
    pub by_context: bool,
}

/// Decayed mean and empirical distribution of durations, with context size as a predictor where it helps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceModel {
    sums: Decayed,
    /// Decayed count and sum of the durations over the longer past.
    slow: (f64, f64),
    recent: Vec<f64>,
    next: usize,
    completed: f64,
}

/// Exponentially decayed sums over completions: of weight, time, duration y, context x, and what a line needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Decayed {
    n: f64,
    age: f64,
    y: f64,
    yy: f64,
    /// Weight of the observations that named a context size.
    m: f64,
    x: f64,
    my: f64,
    xx: f64,
    xy: f64,
    error_plain: f64,
    error_context: f64,
}

impl Decayed {
    fn decay(&mut self, dt: f64) {
        let keep = (-dt.max(0.0) / TAU_S).exp();
        self.age = sane((self.age + self.n * dt.max(0.0)) * keep);
        for sum in [&mut self.n, &mut self.y, &mut self.yy, &mut self.m, &mut self.x, &mut self.my] {
            *sum = sane(*sum * keep);
        }
        for sum in [&mut self.xx, &mut self.xy, &mut self.error_plain, &mut self.error_context] {
            *sum = sane(*sum * keep);
        }
    }

    /// Slope of duration on context size, in seconds per token.
    fn slope(&self) -> Option<f64> {
        let sxx = self.xx - self.x * self.x / self.m;
        let sxy = self.xy - self.x * self.my / self.m;
        (self.m > 5.0 && sxx > 1e-9 * self.xx).then(|| sane(sxy / sxx))
    }

    /// Whether predicting from the context size has made the error at least a tenth smaller than not doing so.
    fn context_helps(&self) -> bool {
        self.m > 10.0 && self.error_context < 0.9 * self.error_plain
    }

    fn add_context(&mut self, n: f64, x: f64, y: f64) {
        // Each predictor is judged on this observation before it learns from it.
        if let Some(slope) = self.slope() {
            let plain = y - self.my / self.m;
            let context = plain - slope * (x - self.x / self.m);
            self.error_plain = sane(self.error_plain + n * plain * plain);
            self.error_context = sane(self.error_context + n * context * context);
        }
        self.m += n;
        self.x = sane(self.x + n * x);
        self.my = sane(self.my + n * y);
        self.xx = sane(self.xx + n * x * x);
        self.xy = sane(self.xy + n * x * y);
    }
}

impl ServiceModel {
    /// Makes a model that has seen nothing and expects five seconds a task.
    pub fn new() -> Self {
        Self { sums: Decayed::default(), slow: (0.0, 0.0), recent: Vec::with_capacity(RECENT), next: 0, completed: 0.0 }
    }

    /// Takes in the completions of the last `dt` seconds.
    pub fn observe(&mut self, dt: f64, seen: &Observation) {
        self.sums.decay(dt);
        let keep = (-dt.max(0.0) / SLOW_TAU_S).exp();
        self.slow = (sane(self.slow.0 * keep), sane(self.slow.1 * keep));
        let n = seen.completions as f64;
        let Some(mean) = seen.mean_service_s.filter(|_| n > 0.0) else { return };
        self.completed += n;
        self.sums.n += n;
        self.slow = (self.slow.0 + n, sane(self.slow.1 + n * mean));
        self.sums.y = sane(self.sums.y + n * mean);
        if seen.completed.is_empty() {
            self.sums.yy = sane(self.sums.yy + n * mean * mean);
            // A mean over several tasks hides their spread, so it must not stand for a duration.
            if seen.completions == 1 {
                self.remember(mean);
            }
        } else {
            // More durations than are kept are thinned evenly: the cost of a tick stays bounded.
            for &(_, service_s) in seen.completed.iter().step_by(seen.completed.len().div_ceil(RECENT)) {
                self.remember(service_s);
            }
            let squares: f64 = seen.completed.iter().map(|&(_, s)| s * s).sum();
            self.sums.yy = sane(self.sums.yy + squares * n / seen.completed.len() as f64);
        }
        if let Some(tokens) = seen.mean_context_tokens {
            self.sums.add_context(n, tokens, mean);
        }
    }

    /// Completions seen in all.
    pub fn completed(&self) -> f64 {
        self.completed
    }

    /// Decayed mean of the durations, in seconds, drawn towards five seconds while there are very few.
    pub fn mean_s(&self) -> f64 {
        // The prior fades with the tasks ever seen, not with the decayed weight: a quiet hour teaches nothing new.
        let prior = PRIOR_WEIGHT / (1.0 + self.completed);
        ((self.sums.y + prior * PRIOR_S) / (self.sums.n + prior)).max(1e-6)
    }

    /// Decayed mean of the durations over a longer past, in seconds: less noise, more delay.
    pub fn slow_mean_s(&self) -> f64 {
        let prior = PRIOR_WEIGHT / (1.0 + self.completed);
        ((self.slow.1 + prior * PRIOR_S) / (self.slow.0 + prior)).max(1e-6)
    }

    /// Mean of the durations kept, however long ago they were, in seconds; 0 before there are any.
    pub(crate) fn recent_mean_s(&self) -> f64 {
        self.recent.iter().sum::<f64>() / self.recent.len().max(1) as f64
    }

    /// Expects a task's seconds on an agent `horizon_s` ahead.
    ///
    /// A clear trend, of durations or of the context sizes that explain them, is carried from the decayed mean's own age
    /// to the horizon; never below half nor above twice that mean, since lines do not go on for ever.
    pub fn forecast(&self, window: &Window, horizon_s: f64) -> ServiceForecast {
        let mean = self.mean_s();
        let sd_s = if self.sums.n > 0.0 {
            let first = self.sums.y / self.sums.n;
            sane((self.sums.yy / self.sums.n - first * first).max(0.0).sqrt())
        } else {
            mean
        };
        let lag_s = if self.sums.n > 0.0 { self.sums.age / self.sums.n } else { 0.0 };
        let clear = |what| Trend::of(window, what).filter(|t| t.is_clear(CLEAR)).map(|t| t.slope);
        let own = clear(Sample::Service);
        let by_context = match self.sums.slope() {
            Some(slope) if self.sums.context_helps() => clear(Sample::Context).map(|tokens| tokens * slope),
            _ => None,
        };
        let shift = by_context.or(own).unwrap_or(0.0) * (horizon_s + lag_s);
        let mean_s = (mean + sane(shift)).clamp(0.5 * mean, 2.0 * mean);
        ServiceForecast { mean_s, sd_s, trend: own.unwrap_or(0.0), by_context: by_context.is_some() }
    }

    /// Share of the tasks on agents now that are still there `ahead_s` seconds on, in [0, 1].
    ///
    /// The residual life of a stationary stream, `E[(S - u)+] / E[S]` (renewal theory; Cox, "Renewal Theory", §5.1),
    /// from the last 512 durations, stretched so that their mean is `mean_s`.
    pub fn still_there(&self, ahead_s: f64, mean_s: f64) -> f64 {
        let total: f64 = self.recent.iter().sum();
        if self.recent.len() < FEW || total <= 0.0 {
            return (-ahead_s / mean_s).exp();
        }
        let ahead = ahead_s * total / (self.recent.len() as f64 * mean_s);
        let rest: f64 = self.recent.iter().map(|s| (s - ahead).max(0.0)).sum();
        (rest / total).clamp(0.0, 1.0)
    }

    /// Share of tasks that are on an agent for longer than so many seconds, as a function, if their mean is `mean_s`.
    ///
    /// From the last 512 durations, stretched so that their mean is `mean_s`; exponential where there are few.
    pub(crate) fn survival(&self, mean_s: f64) -> impl Fn(f64) -> f64 + use<> {
        let mut durations = if self.recent.len() < FEW { Vec::new() } else { self.recent.clone() };
        durations.sort_by(f64::total_cmp);
        let stretch = self.recent_mean_s() / mean_s;
        move |age_s| {
            if durations.is_empty() {
                return (-age_s.max(0.0) / mean_s).exp();
            }
            let longer = durations.len() - durations.partition_point(|&duration_s| duration_s <= age_s * stretch);
            longer as f64 / durations.len() as f64
        }
    }

    /// Tasks that one agent starts within `within_s` seconds if it takes one after another, on average; at least 1.
    ///
    /// The mean number of renewals in the last 512 durations laid end to end (Cox, "Renewal Theory", §3), stretched so
    /// that their mean is `mean_s`; 1 where there are few.
    pub(crate) fn starts_within(&self, within_s: f64, mean_s: f64) -> f64 {
        if self.recent.len() < FEW {
            return 1.0;
        }
        let stretch = mean_s / self.recent_mean_s().max(1e-9);
        let (mut agents, mut elapsed_s) = (1.0, 0.0);
        for duration_s in &self.recent {
            elapsed_s += duration_s * stretch;
            if elapsed_s >= within_s {
                (agents, elapsed_s) = (agents + 1.0, 0.0);
            }
        }
        (self.recent.len() as f64 + 1.0) / agents
    }

    /// The last durations, in no particular order.
    pub(crate) fn recent(&self) -> &[f64] {
        &self.recent
    }

    pub(crate) fn is_sound(&self) -> bool {
        let s = &self.sums;
        let sums = [
            self.slow.0,
            self.slow.1,
            s.n,
            s.age,
            s.y,
            s.yy,
            s.m,
            s.x,
            s.my,
            s.xx,
            s.xy,
            s.error_plain,
            s.error_context,
        ];
        sums.iter().chain(&self.recent).all(|x| x.is_finite())
            && self.recent.len() <= RECENT
            && (self.next < RECENT)
            && self.completed.is_finite()
    }

    fn remember(&mut self, service_s: f64) {
        if self.recent.len() < RECENT {
            self.recent.push(service_s);
        } else {
            self.recent[self.next] = service_s;
            self.next = (self.next + 1) % RECENT;
        }
    }
}

impl Default for ServiceModel {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(service_s: f64, tokens: Option<f64>) -> Observation {
        Observation {
            completions: 1,
            mean_service_s: Some(service_s),
            completed: vec![(0, service_s)],
            mean_context_tokens: tokens,
            ..Observation::default()
        }
    }

    fn fed(seconds: u32, each: impl Fn(f64) -> Observation) -> (ServiceModel, Window) {
        let (mut model, mut window) = (ServiceModel::new(), Window::new(300, 0.0));
        for t in 1..=seconds {
            let seen = each(f64::from(t));
            window.record(f64::from(t), 0.0, &seen);
            model.observe(1.0, &seen);
        }
        (model, window)
    }

    #[test]
    fn before_the_first_completion_the_prior_holds_and_one_completion_outweighs_it() {
        assert!((ServiceModel::new().mean_s() - 5.0).abs() < 1e-9);
        let (model, _) = fed(1, |_| done(60.0, None));
        assert!(model.mean_s() > 48.0, "{}", model.mean_s());
    }

    #[test]
    fn the_residual_life_of_equal_durations_is_a_straight_line() {
        let (model, _) = fed(600, |_| done(8.0, None));
        assert!((model.still_there(2.0, 8.0) - 0.75).abs() < 1e-9);
        assert_eq!(model.still_there(8.0, 8.0), 0.0);
        assert!((model.still_there(8.0, 16.0) - 0.5).abs() < 1e-9, "stretched to twice the mean");
    }

    #[test]
    fn survival_is_read_from_durations_and_exponential_before_there_are_any() {
        let survival = ServiceModel::new().survival(5.0);
        assert!((survival(5.0) - (-1.0f64).exp()).abs() < 1e-9 && survival(0.0) == 1.0);
        let (model, _) = fed(600, |t| done(if t % 4.0 == 0.0 { 20.0 } else { 4.0 }, None));
        let survival = model.survival(8.0);
        assert_eq!([0.0, 3.9, 4.1, 19.9, 20.1].map(survival), [1.0, 1.0, 0.25, 0.25, 0.0]);
    }

    #[test]
    fn an_agent_starts_as_many_tasks_as_fit_into_the_time() {
        for (service_s, expected) in [(8.0, 1.0), (1.0, 1.0), (0.6, 2.0), (0.125, 8.0)] {
            let (model, _) = fed(600, |_| done(service_s, None));
            let starts = model.starts_within(1.0, service_s);
            assert!((starts - expected).abs() < 0.05 * expected, "{service_s} s: {starts}");
        }
        assert_eq!(ServiceModel::new().starts_within(1.0, 0.1), 1.0, "nothing is known");
    }

    #[test]
    fn a_clear_slowdown_is_carried_to_the_horizon() {
        let (model, window) = fed(600, |t| done(4.0 + 0.01 * t, None));
        let forecast = model.forecast(&window, 30.0);
        assert!((forecast.trend - 0.01).abs() < 1e-3, "{forecast:?}");
        assert!((forecast.mean_s - 10.3).abs() < 0.2, "4 + 0.01 * 630 expected: {forecast:?}");
    }

    #[test]
    fn growing_contexts_raise_the_expectation_where_they_explain_durations() {
        let tokens = |t: f64| 1000.0 * (1.0 + t / 100.0) + 300.0 * ((t * 7.0) % 5.0);
        let (model, window) = fed(600, |t| done(tokens(t) * 0.002, Some(tokens(t))));
        let forecast = model.forecast(&window, 30.0);
        assert!(forecast.by_context, "{forecast:?}");
        let (model, window) = fed(600, |t| done(3.0 + (t * 3.0) % 2.0, Some(tokens(t))));
        assert!(!model.forecast(&window, 30.0).by_context, "contexts explain nothing here");
    }

    #[test]
    fn a_mean_over_several_tasks_is_not_taken_for_a_duration() {
        let seen = Observation { completions: 10, mean_service_s: Some(8.0), ..Observation::default() };
        let (model, _) = fed(600, |_| seen.clone());
        assert!((model.still_there(8.0, 8.0) - (-1.0f64).exp()).abs() < 1e-9, "exponential instead");
    }
}
