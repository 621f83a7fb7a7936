//! How long tasks stay on agents, by age: tasks that still run count with the age that they have reached.

use super::running::Running;
use crate::sizing::normal;

/// Bins of an octave. A bin is 9 % wide.
pub(super) const PER_OCTAVE: i32 = 8;
/// First and last bin: a millisecond, and eleven days.
const FIRST: i32 = -10 * PER_OCTAVE;
const LAST: i32 = 20 * PER_OCTAVE;
const BINS: usize = (LAST - FIRST + 1) as usize;
/// Completions that the table remembers.
const MEMORY: f64 = 512.0;
/// Tasks of exponential durations that the table begins with.
const BEGIN: f64 = 5.0;
/// A duration counts in two bins on each side too, by these weights, since the next duration is not the very same.
const SPREAD: [f64; 5] = [1.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0, 2.0 / 9.0, 1.0 / 9.0];
/// Part of the tasks that may take any time: single tasks that hang prove nothing about the others.
const OUTLIERS: f64 = 0.02;
/// Bins beyond the shortest and the longest duration over which outliers are spread.
const BEYOND: usize = 6 * PER_OCTAVE as usize;
/// Least part of the tasks in a bin, so that nothing is impossible.
const LEAST: f64 = 1e-9;

/// Counts by age, in bins of a logarithmic scale: how many tasks were seen at an age, and how many of them ended at it.
///
/// The product-limit estimate (Kaplan and Meier 1958) over the last completions and what ran meanwhile. Durations of ended
/// tasks alone would seem too short as long as most tasks still run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LifeTable {
    seen: Vec<f64>,
    ended: Vec<f64>,
}

impl LifeTable {
    pub fn new() -> Self {
        Self { seen: vec![0.0; BINS], ended: vec![0.0; BINS] }
    }

    /// Observes how the tasks on agents aged and which ones ended.
    pub fn observe(&mut self, running: &Running) {
        let keep = (-(running.ended().len() as f64) / MEMORY).exp();
        for count in self.seen.iter_mut().chain(&mut self.ended) {
            *count *= keep;
        }
        // Where tasks begin and stop to be seen; summed up afterwards.
        let mut change = [0.0; BINS + 1];
        for span in running.age_spans() {
            change[index(bin(span.from_s))] += span.tasks as f64;
            change[index(bin(span.to_s))] -= span.tasks as f64;
        }
        for ended in running.ended() {
            let end = index(bin(ended.service_s));
            change[index(bin(ended.from_s)).min(end)] += 1.0;
            change[end + 1] -= 1.0;
            self.ended[end] += 1.0;
        }
        let mut tasks = 0.0;
        for (seen, change) in self.seen.iter_mut().zip(change) {
            tasks += change;
            *seen += tasks;
        }
    }

    /// The table of tasks that took so many seconds each.
    pub fn of(durations: &[f64]) -> Self {
        let mut table = Self::new();
        for end in durations.iter().map(|&service_s| index(bin(service_s))) {
            table.seen[..=end].iter_mut().for_each(|seen| *seen += 1.0);
            table.ended[end] += 1.0;
        }
        table
    }

    /// All durations become longer by so many bins.
    pub fn shift(&mut self, bins: i32) {
        for counts in [&mut self.seen, &mut self.ended] {
            let before = std::mem::take(counts);
            *counts = (FIRST..=LAST).map(|bin| before[index(bin - bins)]).collect();
        }
    }

    /// The distribution of durations; `mean_s` is about their mean.
    pub fn shape(&self, mean_s: f64) -> Shape {
        let lasts = exponential(mean_s);
        let (seen, ended) = (smooth(&self.seen), smooth(&self.ended));
        let (mut share, mut longer) = (vec![0.0; BINS], 1.0);
        for at in 0..BINS {
            let next = lasts.get(at + 1).copied().unwrap_or(0.0);
            let chance =
                (ended[at] + BEGIN * (lasts[at] - next)) / (seen[at] + BEGIN * lasts[at]).max(f64::MIN_POSITIVE);
            share[at] = longer * chance.clamp(0.0, 1.0);
            longer -= share[at];
        }
        let first = self.ended.iter().position(|count| *count > LEAST).unwrap_or(0);
        let last = self.ended.iter().rposition(|count| *count > LEAST).unwrap_or(BINS - 1);
        Shape::new(share, first, last)
    }
}

/// The share of exponential durations that last to each bin.
fn exponential(mean_s: f64) -> Vec<f64> {
    (FIRST..=LAST).map(|bin| (-(f64::from(bin) / f64::from(PER_OCTAVE)).exp2() / mean_s).exp()).collect()
}

/// Spreads counts over neighbouring bins.
fn smooth(counts: &[f64]) -> Vec<f64> {
    let mut smooth = vec![0.0; counts.len()];
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        for (k, part) in SPREAD.iter().enumerate() {
            smooth[(at + k).saturating_sub(2).min(counts.len() - 1)] += count * part;
        }
    }
    smooth
}

/// The bin of so many seconds.
pub(super) fn bin(seconds: f64) -> i32 {
    let octaves = seconds.max(1e-6).log2() * f64::from(PER_OCTAVE);
    // Not a number goes to the first.
    (octaves.round() as i32).clamp(FIRST, LAST)
}

/// The place of a bin; bins out of range are the outermost.
fn index(bin: i32) -> usize {
    (bin.clamp(FIRST, LAST) - FIRST) as usize
}

/// Logarithms of the share of tasks that end in a bin, and of those that last longer.
///
/// A change of all durations by a factor is a shift of the bins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    ends: Vec<f64>,
    lasts: Vec<f64>,
}

impl Shape {
    /// The shape of log-normal durations with this standard deviation over their mean.
    pub fn log_normal(mean_s: f64, scatter: f64) -> Self {
        let variance = (1.0 + scatter * scatter).ln();
        let (median, deviation) = (mean_s.ln() - 0.5 * variance, variance.sqrt());
        let until = |bin: i32| {
            let log = f64::from(bin) / f64::from(PER_OCTAVE) * std::f64::consts::LN_2;
            normal((log - median) / deviation)
        };
        let share = smooth(&(FIRST..=LAST).map(|bin| until(bin + 1) - until(bin)).collect::<Vec<_>>());
        let bins = |deviations: f64| index(bin((median + deviations * deviation).exp()));
        Self::new(share, bins(-2.0), bins(2.0))
    }

    /// A shape of these shares of the tasks, which end in the bins `first..=last`. Outliers come to these and about them;
    /// what has no share lasts longer than any duration known.
    fn new(mut share: Vec<f64>, first: usize, last: usize) -> Self {
        let unknown = (1.0 - share.iter().sum::<f64>()).max(0.0);
        let beyond = (last + 1).min(BINS - 1)..=(last + BEYOND).min(BINS - 1);
        let about = first.saturating_sub(BEYOND)..=(last + BEYOND).min(BINS - 1);
        let (n_beyond, n_about) = (beyond.clone().count() as f64, about.clone().count() as f64);
        share[beyond].iter_mut().for_each(|share| *share += unknown / n_beyond);
        share.iter_mut().for_each(|share| *share *= 1.0 - OUTLIERS);
        share[about].iter_mut().for_each(|share| *share += OUTLIERS / n_about);
        let mut longer = LEAST;
        let mut lasts = vec![0.0; BINS];
        for (lasts, share) in lasts.iter_mut().zip(&share).rev() {
            // Half of those of the bin last longer than to its middle.
            *lasts = (longer + 0.5 * share).min(1.0).ln();
            longer += share;
        }
        Self { ends: share.iter().map(|share| share.max(LEAST).ln()).collect(), lasts }
    }

    /// Logarithm of the share of tasks that end in this bin.
    pub fn ends(&self, bin: i32) -> f64 {
        self.ends[index(bin)]
    }

    /// Logarithm of the share of tasks that last longer than to this bin.
    pub fn lasts(&self, bin: i32) -> f64 {
        self.lasts[index(bin)]
    }
}

impl Default for LifeTable {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Observation;

    /// Tasks that begin at whole seconds, `per_s` each, over `seconds`; durations by number.
    fn table(seconds: u32, per_s: u64, service: impl Fn(u64) -> f64) -> LifeTable {
        let (mut table, mut running, mut on_agents, mut n) = (LifeTable::new(), Running::default(), Vec::new(), 0);
        for t in 0..seconds {
            on_agents.extend((n..n + per_s).map(|n| (f64::from(t), service(n))));
            n += per_s;
            let (over, on): (Vec<_>, Vec<_>) =
                on_agents.iter().copied().partition(|(begun, service_s)| begun + service_s <= f64::from(t));
            on_agents = on;
            running.observe(
                1.0,
                &Observation {
                    started: per_s,
                    in_flight: on_agents.len() as u32,
                    completions: over.len() as u64,
                    completed: over.iter().map(|&(_, service_s)| (0, service_s)).collect(),
                    ..Observation::default()
                },
            );
            table.observe(&running);
        }
        table
    }

    /// Durations with this mean, exponentially distributed.
    fn exponential_s(n: u64, mean_s: f64) -> f64 {
        -mean_s * (1.0 - ((n * 7_919) % 10_007) as f64 / 10_007.0).ln()
    }

    #[test]
    fn equal_durations_end_when_they_do() {
        let shape = table(100, 3, |_| 2.0).shape(2.0);
        let lasts = |seconds: f64| shape.lasts(bin(seconds)).exp();
        assert!(lasts(1.5) > 0.95 && lasts(2.6) < 0.06, "{} {}", lasts(1.5), lasts(2.6));
        assert!(shape.ends(bin(2.0)) > shape.ends(bin(2.6)) + 2.0);
    }

    #[test]
    fn tasks_that_still_run_count() {
        // A minute of tasks of 200 s: those that have ended took half a minute.
        let shape = table(60, 10, |n| exponential_s(n, 200.0)).shape(30.0);
        let lasts = shape.lasts(bin(50.0)).exp();
        assert!((lasts - (-0.25f64).exp()).abs() < 0.1, "{lasts}");
    }

    #[test]
    fn the_log_normal_shape_is_log_normal() {
        // A mean of 5 s and a standard deviation of as much: the median is 5 / sqrt 2.
        let shape = Shape::log_normal(5.0, 1.0);
        let lasts = |seconds: f64| shape.lasts(bin(seconds)).exp();
        let (half, few) = (lasts(5.0 / 2f64.sqrt()), lasts(5.0 / 2f64.sqrt() * (1.645 * 2f64.ln().sqrt()).exp()));
        assert!((half - 0.5).abs() < 0.06 && (few - 0.05).abs() < 0.04, "{half} {few}");
    }

    #[test]
    fn nothing_is_impossible_or_certain() {
        for shape in
            [LifeTable::new().shape(1.0), table(9, 1, |n| (n as f64).exp()).shape(3.0), Shape::log_normal(1.0, 1.0)]
        {
            for seconds in [0.0, 1e-300, 1.0, 1e300, f64::INFINITY, f64::NAN] {
                let bin = bin(seconds);
                assert!(shape.ends(bin).is_finite() && shape.lasts(bin).is_finite(), "{seconds}");
            }
            assert!((FIRST..LAST).all(|bin| shape.lasts(bin) >= shape.lasts(bin + 1)), "fewer last longer");
        }
    }
}
