//! What happened lately: one ring of time buckets over the rolling window.

use serde::{Deserialize, Serialize};

use crate::{Arrival, Observation};

/// Width of one bucket, in seconds.
pub const BUCKET_S: f64 = 1.0;

/// Seconds that a window covers by default.
pub const DEFAULT_WINDOW_S: u32 = 300;

/// Fewest seconds a window may cover; shorter ones are widened.
pub const MIN_WINDOW_S: u32 = 60;

/// A quantity whose history the window keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Tasks that became due, per second.
    Arrivals,
    /// Tasks that began on an agent, per second.
    Starts,
    /// Tasks that left an agent, per second.
    Completions,
    /// Seconds on an agent per completed task.
    Service,
    /// Context size per completed task, in tokens.
    Context,
    /// Tasks waiting.
    Depth,
    /// Completions per busy agent-second: what an agent gets done.
    Capacity,
}

/// One second of history. Counts are fractional because an observation over several seconds is spread over them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Bucket {
    observed_s: f64,
    arrivals: f64,
    starts: f64,
    completions: f64,
    service_sum: f64,
    service_n: f64,
    context_sum: f64,
    context_n: f64,
    depth_sum: f64,
    depth_n: f64,
    /// Agent-seconds on tasks. Absent in what was written before it was counted.
    #[serde(default)]
    busy_s: f64,
}

impl Bucket {
    /// Sum and weight of a quantity: their ratio is its mean or rate.
    fn part(&self, what: Sample) -> (f64, f64) {
        match what {
            Sample::Arrivals => (self.arrivals, self.observed_s),
            Sample::Starts => (self.starts, self.observed_s),
            Sample::Completions => (self.completions, self.observed_s),
            Sample::Service => (self.service_sum, self.service_n),
            Sample::Context => (self.context_sum, self.context_n),
            Sample::Depth => (self.depth_sum, self.depth_n),
            Sample::Capacity => (self.completions, self.busy_s),
        }
    }
}

/// One point of a series: the middle of its step, the mean or rate there, and the weight of its evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Middle of the step, in seconds on the window's clock.
    pub t: f64,
    /// Rate per second, or mean per task or sample.
    pub value: f64,
    /// Seconds observed, or tasks or samples counted; above 0.
    pub weight: f64,
}

/// A rolling window of one-second buckets.
///
/// Time that nobody observed counts for nothing: a rate is a count divided by the seconds observed, so neither the
/// first seconds after a start nor a gap after a restart count as silence. Allocates once, when made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Window {
    buckets: Vec<Bucket>,
    /// Number of the newest bucket since time 0.
    head: u64,
    now: f64,
}

impl Window {
    /// Makes an empty window over `seconds`, at least 60, that starts at `now`.
    pub fn new(seconds: u32, now: f64) -> Self {
        let now = now.max(0.0);
        Self { buckets: vec![Bucket::default(); seconds.max(MIN_WINDOW_S) as usize], head: number(now), now }
    }

    /// Seconds covered when full.
    pub fn span_s(&self) -> f64 {
        self.buckets.len() as f64 * BUCKET_S
    }

    /// Time of the newest observation.
    pub fn now(&self) -> f64 {
        self.now
    }

    /// Moves time on without anything having been observed, as after a restart.
    pub fn skip_to(&mut self, t: f64) {
        self.advance(t);
        self.now = self.now.max(t);
    }

    /// Records what `seen` reports about the time since the observation before. `t` is its time on the window's clock.
    ///
    /// Arrivals go where their own times put them if those are given, else evenly over the interval, as do starts and
    /// completions. `shift` is added to the times in `seen` to convert them to the window's clock.
    pub fn record(&mut self, t: f64, shift: f64, seen: &Observation) {
        let from = self.now.max(t - self.span_s());
        self.advance(t);
        let interval = (t - from).max(0.0);
        self.spread(from, interval, |bucket, seconds, share| {
            bucket.observed_s += seconds;
            bucket.busy_s += f64::from(seen.in_flight) * seconds;
            bucket.starts += seen.started as f64 * share;
            bucket.completions += seen.completions as f64 * share;
        });
        if !seen.arrived.is_empty() && seen.arrived.len() as u64 == seen.arrivals {
            for &Arrival { at, .. } in &seen.arrived {
                let at = if at.is_finite() { (at + shift).clamp(from, t) } else { t };
                self.bucket_mut(number(at)).arrivals += 1.0;
            }
        } else {
            self.spread(from, interval, |bucket, _, share| bucket.arrivals += seen.arrivals as f64 * share);
        }
        let newest = self.bucket_mut(number(t));
        if let Some(mean) = seen.mean_service_s {
            newest.service_sum += mean * seen.completions as f64;
            newest.service_n += seen.completions as f64;
        }
        if let Some(mean) = seen.mean_context_tokens {
            newest.context_sum += mean * seen.completions as f64;
            newest.context_n += seen.completions as f64;
        }
        newest.depth_sum += f64::from(seen.queue_depth);
        newest.depth_n += 1.0;
        self.now = t;
    }

    /// Rate or mean of a quantity over the last `over_s` seconds, `None` without any observation.
    ///
    /// Whole buckets only, so a sub-window reaches back up to one second further than asked.
    pub fn rate(&self, what: Sample, over_s: f64) -> Option<f64> {
        let first = number((self.now - over_s).max(0.0));
        let (sum, weight) = self.total(what, first, self.head + 1);
        (weight > 0.0).then(|| sum / weight)
    }

    /// Sum and weight of a quantity over the buckets `first..end`, as far as the window still has them.
    ///
    /// The weight is in seconds observed for rates, else in tasks or samples.
    pub fn total(&self, what: Sample, first: u64, end: u64) -> (f64, f64) {
        let first = first.max(self.oldest());
        (first..end.min(self.head + 1)).fold((0.0, 0.0), |(sum, weight), number| {
            let (more, n) = self.bucket(number).part(what);
            (sum + more, weight + n)
        })
    }

    /// The history of a quantity in steps of `step_s` whole seconds, oldest first. Steps without observation are left
    /// out; steps begin at multiples of `step_s`, so the same step has the same bounds in every call.
    pub fn series(&self, what: Sample, step_s: u32) -> impl Iterator<Item = Point> + '_ {
        let step = u64::from(step_s.max(1));
        (self.oldest() / step..=self.head / step).filter_map(move |k| {
            let (sum, weight) = self.total(what, k * step, (k + 1) * step);
            let t = (k as f64 + 0.5) * step as f64 * BUCKET_S;
            (weight > 0.0).then(|| Point { t, value: sum / weight, weight })
        })
    }

    /// Whether the content could have come from a window: sizes fit and every number is finite.
    pub(crate) fn is_sound(&self) -> bool {
        let sound = |b: &Bucket| {
            [b.observed_s, b.arrivals, b.starts, b.completions, b.service_sum, b.context_sum, b.depth_sum, b.busy_s]
                .iter()
                .all(|x| x.is_finite() && *x >= 0.0)
        };
        self.now.is_finite()
            && self.now >= 0.0
            && self.head == number(self.now)
            && self.buckets.len() >= MIN_WINDOW_S as usize
            && self.buckets.iter().all(sound)
    }

    fn oldest(&self) -> u64 {
        (self.head + 1).saturating_sub(self.buckets.len() as u64)
    }

    fn bucket(&self, number: u64) -> &Bucket {
        &self.buckets[(number % self.buckets.len() as u64) as usize]
    }

    fn bucket_mut(&mut self, number: u64) -> &mut Bucket {
        let at = (number.max(self.oldest()) % self.buckets.len() as u64) as usize;
        &mut self.buckets[at]
    }

    fn advance(&mut self, t: f64) {
        let head = number(t);
        let first = (self.head + 1).max((head + 1).saturating_sub(self.buckets.len() as u64));
        for number in first..=head {
            let at = (number % self.buckets.len() as u64) as usize;
            self.buckets[at] = Bucket::default();
        }
        self.head = self.head.max(head);
    }

    /// Calls `add(bucket, seconds, share)` for each bucket that `[from, from + interval]` touches; the shares sum to 1.
    fn spread(&mut self, from: f64, interval: f64, mut add: impl FnMut(&mut Bucket, f64, f64)) {
        if interval <= 0.0 {
            return add(self.bucket_mut(number(from)), 0.0, 1.0);
        }
        let to = from + interval;
        for k in number(from)..=number(to) {
            let begin = (k as f64 * BUCKET_S).max(from);
            let seconds = (((k + 1) as f64) * BUCKET_S).min(to) - begin;
            if seconds > 0.0 {
                add(self.bucket_mut(k), seconds, seconds / interval);
            }
        }
    }
}

/// Number of the bucket that contains time `t`.
fn number(t: f64) -> u64 {
    (t / BUCKET_S).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(arrivals: u64, completions: u64, mean_service_s: f64) -> Observation {
        Observation { arrivals, completions, mean_service_s: Some(mean_service_s), ..Observation::default() }
    }

    #[test]
    fn a_rate_is_a_count_over_the_seconds_observed() {
        let mut window = Window::new(300, 0.0);
        for t in 1..=10 {
            window.record(f64::from(t), 0.0, &seen(4, 2, 3.0));
        }
        let rate = window.rate(Sample::Arrivals, 300.0).expect("observed");
        assert!((rate - 4.0).abs() < 1e-9, "{rate}");
        let service = window.rate(Sample::Service, 300.0).expect("completed");
        assert!((service - 3.0).abs() < 1e-9, "{service}");
        assert_eq!(window.rate(Sample::Context, 300.0), None);
    }

    #[test]
    fn irregular_ticks_give_the_same_rate() {
        let mut window = Window::new(300, 0.0);
        for (t, n) in [(0.25, 1), (0.5, 1), (3.0, 10), (10.0, 28)] {
            window.record(t, 0.0, &seen(n, 0, 1.0));
        }
        let rate = window.rate(Sample::Arrivals, 60.0).expect("observed");
        assert!((rate - 4.0).abs() < 1e-9, "{rate}");
    }

    #[test]
    fn arrivals_with_times_go_to_their_second() {
        let mut window = Window::new(60, 0.0);
        let burst = Observation { arrived: vec![(0, 2.1).into(), (1, 2.2).into()], ..seen(2, 0, 1.0) };
        window.record(10.0, 0.0, &burst);
        assert_eq!(window.total(Sample::Arrivals, 2, 3), (2.0, 1.0));
        assert_eq!(window.total(Sample::Arrivals, 3, 11).0, 0.0);
    }

    #[test]
    fn old_seconds_are_forgotten_and_skipped_ones_do_not_count() {
        let mut window = Window::new(60, 0.0);
        window.record(10.0, 0.0, &seen(100, 0, 1.0));
        window.skip_to(40.0);
        window.record(50.0, 0.0, &seen(20, 0, 1.0));
        let rate = window.rate(Sample::Arrivals, 60.0).expect("observed");
        assert!((rate - 6.0).abs() < 1e-9, "120 tasks in 20 observed seconds, got {rate}");
        window.record(100.0, 0.0, &seen(0, 0, 1.0));
        let rate = window.rate(Sample::Arrivals, 60.0).expect("observed");
        assert!(rate < 0.4, "the first 100 are out, got {rate}");
    }

    #[test]
    fn a_series_has_fixed_steps() {
        let mut window = Window::new(60, 0.0);
        for t in 1..=30 {
            window.record(f64::from(t), 0.0, &seen(if t <= 10 { 1 } else { 3 }, 0, 1.0));
        }
        let values: Vec<_> = window.series(Sample::Arrivals, 10).map(|p| (p.t, p.value)).collect();
        assert_eq!(values[..3], [(5.0, 1.0), (15.0, 3.0), (25.0, 3.0)]);
    }
}
