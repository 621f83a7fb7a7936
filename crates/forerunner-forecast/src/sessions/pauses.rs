//! How long sessions pause between two turns, and how many come back at all.

use serde::{Deserialize, Serialize};

use crate::rate::sane;

/// Where each bin of ages begins, in seconds since the end of the last turn. The last one ends at [`CLOSED_S`].
pub(super) const BEGINS_S: [f64; BINS] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0, 20.0, 28.0, 40.0, 56.0, 80.0, 112.0, 160.0, 240.0, 360.0, 600.0,
    1200.0,
];
pub(super) const BINS: usize = 20;
/// Seconds after which a session that has not come back is forgotten.
pub(super) const CLOSED_S: f64 = 3_600.0;
/// Kinds of sessions: by the turns that they have had, and by the pause before the last of these.
pub(super) const CLASSES: usize = 9;
/// Time constant of the memory, in seconds.
const TAU_S: f64 = 14_400.0;
/// Seconds of exposure that the chance at all ages counts as in a bin, and the chance of all classes in one class.
const PRIOR_S: f64 = 20.0;
/// Returns and seconds that are assumed before anything was seen: half of the sessions come back within a minute or two.
const FIRST: (f64, f64) = (1.0, 120.0);

/// The class of a session after so many turns, the last of which began after a pause of so many seconds.
pub(super) fn class_of(turns: u32, pause_s: f64) -> usize {
    match turns {
        0 | 1 => 0,
        2..=5 => 1 + length(pause_s),
        _ => 5 + length(pause_s),
    }
}

/// The class of a session that returns after a pause of so many seconds, by the class before. How many turns it has had is
/// known by that only roughly.
pub(super) fn class_after(class: usize, pause_s: f64) -> usize {
    if class < 5 { 1 + length(pause_s) } else { 5 + length(pause_s) }
}

/// Pauses in four kinds: of programs, of quick and of slow people, and of those who did something else.
fn length(pause_s: f64) -> usize {
    [4.0, 12.0, 60.0].iter().filter(|end| pause_s >= **end).count()
}

/// Counts by class and bin.
pub(super) type Table = [[f64; BINS]; CLASSES];

/// Returns, and the seconds in which sessions could have returned: a life table (Kaplan and Meier 1958) of the pauses, in
/// bins, which forgets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pauses {
    returns: Table,
    exposed_s: Table,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { returns: [[0.0; BINS]; CLASSES], exposed_s: [[0.0; BINS]; CLASSES] }
    }
}

impl Pauses {
    /// Counts `dt` seconds in which these sessions could have returned.
    pub fn expose(&mut self, idle: &[[u32; BINS]; CLASSES], dt: f64) {
        let keep = (-dt / TAU_S).exp();
        for ((returns, exposed), idle) in self.returns.iter_mut().zip(&mut self.exposed_s).zip(idle) {
            for ((returns, exposed), idle) in returns.iter_mut().zip(exposed).zip(idle) {
                *returns *= keep;
                *exposed = sane(*exposed * keep + f64::from(*idle) * dt);
            }
        }
    }

    /// Counts a return.
    pub fn returned(&mut self, class: usize, bin: usize) {
        self.returns[class][bin] += 1.0;
    }

    /// Counts a return so soon that no observation saw the pause, which took about so many seconds.
    pub fn returned_at_once(&mut self, class: usize, pause_s: f64) {
        self.returns[class][0] += 1.0;
        self.exposed_s[class][0] += pause_s;
    }

    /// Whether any session has come back.
    pub fn are_known(&self) -> bool {
        self.returns.iter().flatten().any(|count| *count > 0.0)
    }

    /// The chance of a return at each age, whatever the class.
    pub fn pooled(&self) -> Hazard {
        let all = |table: &Table, bin: usize| table.iter().map(|row| row[bin]).sum::<f64>();
        let returns: f64 = self.returns.iter().flatten().sum();
        let exposed: f64 = self.exposed_s.iter().flatten().sum();
        let mean = (returns + FIRST.0) / (exposed + FIRST.1);
        Hazard::new(std::array::from_fn(|bin| {
            (all(&self.returns, bin) + mean * PRIOR_S) / (all(&self.exposed_s, bin) + PRIOR_S)
        }))
    }

    /// The chance of a return at each age, for each class.
    pub fn hazards(&self) -> Hazards {
        let pooled = self.pooled().per_s;
        let of_class = |class: usize| {
            std::array::from_fn(|bin| {
                (self.returns[class][bin] + pooled[bin] * PRIOR_S) / (self.exposed_s[class][bin] + PRIOR_S)
            })
        };
        std::array::from_fn(|class| Hazard::new(of_class(class)))
    }

    pub fn is_sound(&self) -> bool {
        self.returns.iter().chain(&self.exposed_s).flatten().all(|x| x.is_finite() && *x >= 0.0)
    }
}

/// The chance of a return at each age, for each class.
pub(super) type Hazards = [Hazard; CLASSES];

/// A chance of return per second at each age, constant within a bin.
#[derive(Clone, Copy)]
pub(super) struct Hazard {
    per_s: [f64; BINS],
    /// Summed up to the begin of each bin.
    before: [f64; BINS],
}

impl Hazard {
    fn new(per_s: [f64; BINS]) -> Self {
        let mut before = [0.0; BINS];
        for bin in 1..BINS {
            before[bin] = before[bin - 1] + per_s[bin - 1] * (BEGINS_S[bin] - BEGINS_S[bin - 1]);
        }
        Self { per_s, before }
    }

    /// The chance summed up to an age.
    pub fn until(&self, age_s: f64) -> f64 {
        let bin = bin_of(age_s);
        self.before[bin] + self.per_s[bin] * (age_s - BEGINS_S[bin])
    }

    /// The share of sessions that return within `ahead_s` seconds of those that have not at age `age_s`.
    pub fn within(&self, age_s: f64, ahead_s: f64) -> f64 {
        1.0 - (self.until(age_s) - self.until(age_s + ahead_s)).exp()
    }
}

/// The bin that an age falls in.
pub(super) fn bin_of(age_s: f64) -> usize {
    BEGINS_S.iter().rposition(|begin| *begin <= age_s).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_of_a_return_is_learned_by_age() {
        let mut pauses = Pauses::default();
        let mut idle = [[0; BINS]; CLASSES];
        // A hundred sessions of class 1: half of them return within the first second, the others never do.
        idle[1][0] = 100;
        pauses.expose(&idle, 0.7);
        (0..50).for_each(|_| pauses.returned(1, 0));
        let mut idle = [[0; BINS]; CLASSES];
        (1..BINS).for_each(|bin| idle[1][bin] = 50);
        (0..600).for_each(|_| pauses.expose(&idle, 1.0));
        let hazards = pauses.hazards();
        let soon = hazards[1].within(0.0, 1.0);
        assert!((0.45..0.55).contains(&soon), "{soon}");
        assert!(hazards[1].within(20.0, 10.0) < 0.02);
        assert!(pauses.is_sound() && pauses.are_known());
    }

    #[test]
    fn before_anything_is_known_some_return_within_minutes() {
        let hazards = Pauses::default().hazards();
        let chances = [1.0, 60.0, 600.0].map(|ahead_s| hazards[3].within(0.0, ahead_s));
        assert!(chances[0] < 0.02 && (0.2..0.6).contains(&chances[1]) && chances[2] > 0.9, "{chances:?}");
    }

    #[test]
    fn ages_have_bins() {
        for (age_s, bin) in [(0.0, 0), (0.9, 0), (1.0, 1), (5.9, 4), (1e9, BINS - 1), (-1.0, 0)] {
            assert_eq!(bin_of(age_s), bin, "{age_s}");
        }
    }
}
