//! Whether tasks have become slower or faster than the durations that are known, seen before the slow ones end.

use std::collections::BTreeMap;

use super::{
    life_table::{PER_OCTAVE, Shape, bin},
    running::{EndedTask, Running},
};

/// Bins of the shape between two factors; four factors are an octave.
const STEP: i32 = 2;
/// Factors on each side of 1, up to 32 times slower or faster.
const EACH_SIDE: i32 = 5 * PER_OCTAVE / STEP;
const FACTORS: usize = (2 * EACH_SIDE + 1) as usize;
/// Chance that the pace changes with any one task that starts or ends.
const CHANGES: f64 = 1e-4;
/// Tasks of one observation that count for that at most.
const CHANGES_AT_MOST: f64 = 20.0;
/// A change by a factor is less probable by this power of it: of all factors that explain what is seen, the least one.
const LEAST_CHANGE: f64 = 4.0;
/// Least steps of a change that is worth to be called one, a factor of 1.68. The mean follows smaller ones by itself.
const WORTH: i32 = 3;
/// Probabilities from which the model reports a change, and from which the change replaces the known durations.
const BELIEVED: f64 = 0.9;
const CERTAIN: f64 = 0.95;
/// Completions that show the new pace, and the time since the first of them in means of the old one, before a change is more
/// than a guess. After a stall many tasks that took long end at once, and the next ones are as quick as ever.
const SHOWN: f64 = 4.0;
const SHOWN_MEANS: f64 = 3.0;
/// The greatest factor that is believed until then: more agents do not mend a stall.
const UNSHOWN_MOST: f64 = 5.0;

/// By what factor tasks take longer than the reference, as a belief over factors in steps of a quarter of an octave.
///
/// A hidden Markov model (Rabiner 1989, "A tutorial on hidden Markov models"). The factor changes seldom. Each second that a
/// task stays on its agent, and each end of one, is evidence: running tasks are censored durations, as in the product-limit
/// estimate (Kaplan and Meier 1958). So the belief follows a shift within a few tasks, and before the first slow one ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SlowdownFilter {
    belief: [f64; FACTORS],
    /// Completions since the change was first believed whose durations fit it.
    shown: f64,
    /// Seconds since the first of them, less those that it takes to be sure.
    shown_s: f64,
}

/// A change that is believed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    /// The factor by which tasks are believed to last longer: above 1 for slower ones.
    pub factor: f64,
    /// The same without caution.
    guess: f64,
    /// Whether tasks have ended that took so long.
    pub is_shown: bool,
    /// Steps to the factor, if the change is to replace the known durations.
    pub certain: Option<i32>,
}

impl SlowdownFilter {
    pub fn new() -> Self {
        Self { belief: std::array::from_fn(prior), shown: 0.0, shown_s: 0.0 }
    }

    /// The factor of so many steps.
    pub fn factor(steps: i32) -> f64 {
        (f64::from(STEP * steps) / f64::from(PER_OCTAVE)).exp2()
    }

    /// Bins of so many steps.
    pub fn bins(steps: i32) -> i32 {
        STEP * steps
    }

    /// Observes how the tasks on agents aged and which ones ended.
    ///
    /// `mean_s` is the mean duration known, and `dt` the seconds since the observation before.
    pub fn observe(&mut self, dt: f64, shape: &Shape, mean_s: f64, running: &Running, started: u64) {
        let events = (started as f64 + running.ended().len() as f64).min(CHANGES_AT_MOST);
        self.may_change(CHANGES * events);
        let mut evidence = [0.0; FACTORS];
        let mut add = |from: i32, tasks: f64, after: &dyn Fn(i32) -> f64| {
            for (at, sum) in evidence.iter_mut().enumerate() {
                let slower = STEP * steps(at);
                *sum += tasks * (after(slower) - shape.lasts(from - slower));
            }
        };
        for span in running.age_spans().iter().filter(|span| span.to_s > span.from_s) {
            let to = bin(span.to_s);
            add(bin(span.from_s), span.weight * span.tasks as f64, &|slower| shape.lasts(to - slower));
        }
        for ((from, end), weight) in binned(running.ended()) {
            add(from, weight, &|slower| shape.ends(end - slower));
        }
        self.learn(&evidence);
        self.count_shown(dt, mean_s, running);
    }

    /// The change that is believed, if any is.
    pub fn change(&self) -> Option<Change> {
        let slower = self.chance(|steps| steps >= WORTH);
        let faster = self.chance(|steps| steps <= -WORTH);
        let (chance, is_slower) = if slower > faster { (slower, true) } else { (faster, false) };
        if chance < BELIEVED {
            return None;
        }
        let octaves = self.mean_octaves(is_slower);
        let factor = octaves.exp2();
        let is_shown = self.shown >= SHOWN && self.shown_s >= 0.0;
        let certain = (is_shown && chance >= CERTAIN).then(|| (octaves * f64::from(PER_OCTAVE / STEP)).round() as i32);
        // That tasks are faster must show; that they are slower may turn out to be a stall.
        let careful = if is_shown { factor } else { factor.clamp(1.0, UNSHOWN_MOST) };
        Some(Change { factor: careful, guess: factor, is_shown, certain })
    }

    /// The known durations became so many steps slower: what was a change is the reference from here on.
    pub fn settle(&mut self, by: i32) {
        let before = self.belief;
        self.belief = std::array::from_fn(|at| {
            let from = at as i32 + by;
            if (0..FACTORS as i32).contains(&from) { before[from as usize] } else { 0.0 }
        });
        (self.shown, self.shown_s) = (0.0, 0.0);
        self.learn(&[0.0; FACTORS]);
    }

    fn chance(&self, of: impl Fn(i32) -> bool) -> f64 {
        self.belief.iter().enumerate().filter(|(at, _)| of(steps(*at))).map(|(_, chance)| chance).sum()
    }

    /// Mean of the logarithm of the factor, if there is a change to one side.
    fn mean_octaves(&self, is_slower: bool) -> f64 {
        let side = self.belief.iter().enumerate().map(|(at, chance)| (steps(at), *chance));
        let side = side.filter(|(steps, _)| if is_slower { *steps >= WORTH } else { *steps <= -WORTH });
        let (sum, weight) = side.fold((0.0, 0.0), |(sum, weight), (steps, chance)| {
            (sum + chance * f64::from(STEP * steps) / f64::from(PER_OCTAVE), weight + chance)
        });
        sum / f64::max(weight, f64::MIN_POSITIVE)
    }

    fn may_change(&mut self, chance: f64) {
        for (at, belief) in self.belief.iter_mut().enumerate() {
            *belief += chance * (prior(at) - *belief);
        }
    }

    /// Multiplies the belief by what has become known, in logarithms.
    fn learn(&mut self, evidence: &[f64; FACTORS]) {
        let most = evidence.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for (belief, evidence) in self.belief.iter_mut().zip(evidence) {
            *belief *= (evidence - most).exp();
        }
        let sum: f64 = self.belief.iter().sum();
        if sum > f64::MIN_POSITIVE && sum.is_finite() {
            self.belief.iter_mut().for_each(|belief| *belief /= sum);
        } else {
            *self = Self::new();
        }
    }

    /// Counts the tasks that ended nearer to the new pace than to the old one.
    fn count_shown(&mut self, dt: f64, mean_s: f64, running: &Running) {
        let Some(Change { guess: factor, .. }) = self.change() else {
            self.shown = 0.0;
            return;
        };
        let between_s = mean_s * factor.sqrt();
        let shows = |service_s: f64| if factor > 1.0 { service_s > between_s } else { service_s < between_s };
        self.shown_s = if self.shown > 0.0 { self.shown_s + dt } else { -SHOWN_MEANS * mean_s * factor.min(1.0) };
        self.shown += running.ended().iter().filter(|ended| shows(ended.service_s)).count() as f64;
    }
}

impl Default for SlowdownFilter {
    fn default() -> Self {
        Self::new()
    }
}

/// Tasks that ended, by the bins of their age before and of their duration, with what they prove in all: thousands that end
/// in one observation fall into a few bins.
fn binned(ended: &[EndedTask]) -> BTreeMap<(i32, i32), f64> {
    let mut weights = BTreeMap::new();
    for ended in ended {
        *weights.entry((bin(ended.from_s), bin(ended.service_s))).or_insert(0.0) += ended.weight;
    }
    weights
}

/// Steps from a factor of 1 to the one at this place.
fn steps(at: usize) -> i32 {
    at as i32 - EACH_SIDE
}

/// Chance of a factor before anything is known.
fn prior(at: usize) -> f64 {
    let octaves = f64::from(STEP * steps(at).abs()) / f64::from(PER_OCTAVE);
    let unlikely = (-LEAST_CHANGE * octaves).exp2();
    // The sum over all of them, so that they add up to 1.
    let ratio = (-LEAST_CHANGE * f64::from(STEP) / f64::from(PER_OCTAVE)).exp2();
    unlikely * (1.0 - ratio) / (1.0 + ratio)
}

#[cfg(test)]
mod tests {
    use super::{super::life_table::LifeTable, *};
    use crate::Observation;

    /// Feeds one observation a second: tasks that began at whole seconds, `per_s` each, and lasted `service(begin)`.
    fn played(mean_s: f64, per_s: u64, until: u32, service: impl Fn(u32) -> f64) -> Vec<Option<f64>> {
        let (mut slowdown, mut running, mut on_agents) = (SlowdownFilter::new(), Running::default(), Vec::new());
        let mut table = LifeTable::new();
        let step = |t: u32| {
            on_agents.extend((0..per_s).map(|_| (f64::from(t), service(t))));
            let (over, on): (Vec<_>, Vec<_>) =
                on_agents.iter().copied().partition(|(begun, service_s)| begun + service_s <= f64::from(t));
            on_agents = on;
            let seen = Observation {
                started: per_s,
                in_flight: on_agents.len() as u32,
                completions: over.len() as u64,
                completed: over.iter().map(|&(_, service_s)| (0, service_s)).collect(),
                ..Observation::default()
            };
            running.observe(1.0, &seen);
            if t < 60 {
                table.observe(&running);
            } else {
                slowdown.observe(1.0, &table.shape(mean_s), mean_s, &running, per_s);
            }
            slowdown.change().map(|change| change.factor)
        };
        (0..until).map(step).collect()
    }

    #[test]
    fn the_prior_adds_up() {
        assert!(((0..FACTORS).map(prior).sum::<f64>() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_slow_down_shows_before_the_first_slow_task_ends() {
        let factors = played(2.0, 3, 112, |t| if t < 100 { 2.0 } else { 10.0 });
        assert!(factors[..100].iter().all(Option::is_none), "{factors:?}");
        assert!(factors[105].is_some_and(|factor| factor > 2.0), "{:?}", &factors[100..]);
        assert!(factors[111].is_some_and(|factor| (4.0..6.0).contains(&factor)), "{:?}", &factors[100..]);
    }

    #[test]
    fn faster_tasks_show_after_a_few() {
        let factors = played(10.0, 3, 115, |t| if t < 100 { 10.0 } else { 2.0 });
        assert!(factors[..100].iter().all(Option::is_none), "{factors:?}");
        // After some tasks have shown it, and no stall has ended.
        assert!(factors[114].is_some_and(|factor| (0.15..0.3).contains(&factor)), "{:?}", &factors[100..]);
    }

    #[test]
    fn one_task_that_hangs_is_no_slow_down() {
        let factors = played(2.0, 1, 300, |t| if t == 50 { 1e9 } else { 2.0 });
        assert!(factors.iter().all(Option::is_none), "{factors:?}");
    }
}
