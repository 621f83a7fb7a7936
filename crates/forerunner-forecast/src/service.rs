//! How long tasks stay on an agent: the mean, its trend, and the tasks that are still there after a given time.

mod changes;
mod decayed;
mod life_table;
mod running;
mod running_evidence;
mod slowdown_filter;

use serde::{Deserialize, Serialize};

use self::{decayed::Decayed, life_table::LifeTable, running_evidence::RunningEvidence, slowdown_filter::Change};
use crate::{
    Observation,
    rate::sane,
    trend::Trend,
    window::{Sample, Window},
};

/// Time constant of the mean over the longer past, in seconds.
const SLOW_TAU_S: f64 = 900.0;
/// Durations that are remembered for the residual life.
const RECENT: usize = 512;
/// Fewest durations the residual life is read from; with fewer it counts as exponential.
const FEW: usize = 20;
/// Seconds that a task is assumed to need before the first has completed; weighs as much as [`PRIOR_WEIGHT`] tasks.
const PRIOR_S: f64 = 5.0;
const PRIOR_WEIGHT: f64 = 3.0;
/// Standard errors a trend must be away from none before it is believed, and points that it must have: the error of a
/// line through fewer is no evidence.
const CLEAR: f64 = 3.0;
const CLEAR_POINTS: usize = 8;

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
    /// Of the tasks on agents. After a restart other ones are there.
    #[serde(skip)]
    evidence: RunningEvidence,
}

/// A change of the mean duration, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Mean of the durations known before.
    pub before_s: f64,
    /// Mean that is expected instead.
    pub after_s: f64,
}

impl ServiceModel {
    /// Makes a model that has seen nothing and expects five seconds a task.
    pub fn new() -> Self {
        Self {
            sums: Decayed::default(),
            slow: (0.0, 0.0),
            recent: Vec::with_capacity(RECENT),
            next: 0,
            completed: 0.0,
            evidence: RunningEvidence::default(),
        }
    }

    /// Observes what happened in the last `dt` seconds. Returns the change of the mean, if it replaced the known
    /// durations.
    pub fn observe(&mut self, dt: f64, seen: &Observation) -> Option<Shift> {
        self.evidence.observe(dt, seen);
        self.decay(dt);
        let shift = match self.evidence.change {
            Some(Change { certain: Some(steps), .. }) => {
                self.evidence.wait_with(seen);
                self.settle(steps)
            }
            Some(_) => {
                self.evidence.wait_with(seen);
                None
            }
            None => {
                self.dismiss();
                self.learn(seen);
                None
            }
        };
        if self.evidence.change.is_none() && (seen.completions > 0 || shift.is_some()) {
            self.evidence.known = self.known();
        }
        shift
    }

    /// Continues after a restart, when other tasks are on agents.
    pub(crate) fn resume(&mut self) {
        self.evidence = RunningEvidence { lives: LifeTable::of(&self.recent), ..RunningEvidence::default() };
        self.evidence.known = self.known();
    }

    fn decay(&mut self, dt: f64) {
        self.sums.decay(dt);
        let keep = (-dt.max(0.0) / SLOW_TAU_S).exp();
        self.slow = (sane(self.slow.0 * keep), sane(self.slow.1 * keep));
    }

    /// Learns from completions.
    fn learn(&mut self, seen: &Observation) {
        let n = seen.completions as f64;
        let Some(mean) = seen.mean_service_s.filter(|_| n > 0.0) else { return };
        self.completed += n;
        self.sums.n += n;
        self.sums.nn = sane(self.sums.nn + n * n);
        self.slow = (self.slow.0 + n, sane(self.slow.1 + n * mean));
        self.sums.y = sane(self.sums.y + n * mean);
        if seen.completed.is_empty() {
            self.sums.yy = sane(self.sums.yy + n * mean * mean);
            // A mean over several tasks hides their spread, so it must not count as a duration.
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
        let mean_s = ((self.sums.y + prior * PRIOR_S) / (self.sums.n + prior)).max(1e-6);
        if self.completed >= FEW as f64 {
            return mean_s;
        }
        // Tasks on agents last at least as long as they have run: until some have ended, the mean is at least this.
        let (running, ran_s) = self.evidence.running.exposure();
        mean_s.max((self.sums.y + PRIOR_WEIGHT * PRIOR_S + ran_s) / (self.sums.n + PRIOR_WEIGHT + running))
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
    /// A clear trend, of durations or of the context sizes that explain them, is carried from the decayed mean's own
    /// age to the horizon; never below half nor above twice that mean, since no trend continues for ever.
    pub fn forecast(&self, window: &Window, horizon_s: f64) -> ServiceForecast {
        let mean = self.mean_s();
        let sd_s = if self.sums.n > 0.0 {
            let first = self.sums.y / self.sums.n;
            sane((self.sums.yy / self.sums.n - first * first).max(0.0).sqrt())
        } else {
            mean
        };
        let lag_s = if self.sums.n > 0.0 { self.sums.age / self.sums.n } else { 0.0 };
        let since_s = self.evidence.calm_s.unwrap_or(f64::INFINITY);
        let is_clear = |t: &Trend| t.points >= CLEAR_POINTS && t.is_clear(CLEAR);
        let clear = |what| Trend::of_last(window, what, since_s).filter(is_clear).map(|t| t.slope);
        let own = clear(Sample::Service);
        let by_context = match self.sums.slope() {
            Some(slope) if self.sums.context_helps() => clear(Sample::Context).map(|tokens| tokens * slope),
            _ => None,
        };
        let trend = by_context.or(own).or_else(|| self.capacity_trend(window, since_s).map(|share| share * mean));
        // A change gives the present mean; a line through both sides of it would only follow late.
        let shift = if self.evidence.change.is_some() { 0.0 } else { trend.unwrap_or(0.0) * (horizon_s + lag_s) };
        let mean_s = (mean + sane(shift)).clamp(0.5 * mean, 2.0 * mean) * self.factor();
        ServiceForecast { mean_s, sd_s, trend: own.unwrap_or(0.0), by_context: by_context.is_some() }
    }

    /// Clear change of busy agent-seconds per completion over the window, as a share per second; `None` without one.
    ///
    /// While arrivals rise or fall, tasks on agents change before completions do, and prove nothing about durations.
    fn capacity_trend(&self, window: &Window, since_s: f64) -> Option<f64> {
        let arrivals = Trend::of_last(window, Sample::Arrivals, since_s)?;
        let capacity = Trend::of_last(window, Sample::Capacity, since_s)?;
        let is_usable = capacity.is_clear(CLEAR) && !arrivals.is_clear(1.0) && capacity.mean > 0.0;
        is_usable.then(|| sane(-capacity.slope / capacity.mean))
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

    /// The same at some times, which costs less for a few of them.
    pub(crate) fn survival_at<const N: usize>(&self, ages_s: [f64; N], mean_s: f64) -> [f64; N] {
        if self.recent.len() < FEW {
            return ages_s.map(|age_s| (-age_s.max(0.0) / mean_s).exp());
        }
        let stretch = self.recent_mean_s() / mean_s;
        ages_s.map(|age_s| {
            let longer = self.recent.iter().filter(|duration_s| **duration_s > age_s * stretch).count();
            longer as f64 / self.recent.len() as f64
        })
    }

    /// Tasks that one agent starts within `within_s` seconds, one after another, on average; at least 1.
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
mod tests;
