//! How many tasks are in the system when tasks arrive, and how many seldom are.

use serde::{Deserialize, Serialize};

use crate::rate::sane;

/// Shares of arrivals that may find more tasks in the system than the level.
pub(crate) const BEYOND: [f64; 6] = [0.1, 0.05, 0.02, 0.01, 0.005, 0.002];
/// Levels there are.
pub(crate) const LEVELS: usize = BEYOND.len();
/// Time constant of the memory, in seconds.
const TAU_S: f64 = 10_800.0;
/// More tasks than this count as this many.
const MOST: usize = 16_384;
/// More arrivals than this in one go count as this many.
const MOST_AT_ONCE: f64 = 1e6;
/// Weight beyond which all weights are scaled down.
const GREAT: f64 = 1e12;

/// A decayed histogram of the tasks in the system, each arrival a count.
///
/// A pool of as many agents as its upper quantile has the rest of the arrivals find an agent: what a fixed pool sized in
/// hindsight is, learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Levels {
    weights: Vec<f64>,
    total: f64,
    /// Weight of an arrival now: it grows, in place of all others' shrinking.
    now: f64,
}

impl Default for Levels {
    fn default() -> Self {
        Self { weights: Vec::new(), total: 0.0, now: 1.0 }
    }
}

impl Levels {
    /// Records that `arrivals` tasks found `in_system` tasks within the last `dt` seconds.
    pub fn observe(&mut self, dt: f64, arrivals: f64, in_system: f64) {
        self.now = sane(self.now * (sane(dt).clamp(0.0, TAU_S) / TAU_S).exp()).max(1.0);
        if self.now > GREAT {
            self.weights.iter_mut().for_each(|weight| *weight /= GREAT);
            self.total /= GREAT;
            self.now /= GREAT;
        }
        let arrivals = sane(arrivals);
        if arrivals <= 0.0 {
            return;
        }
        let at = (in_system.max(0.0) as usize).min(MOST);
        if self.weights.len() <= at {
            self.weights.resize(at + 1, 0.0);
        }
        let weight = self.now * arrivals.min(MOST_AT_ONCE);
        self.weights[at] += weight;
        self.total += weight;
    }

    /// The levels, the lowest first; 0 before the first arrival.
    pub fn levels(&self) -> [f64; LEVELS] {
        let mut levels = [0.0; LEVELS];
        let mut beyond = 0.0;
        let mut left = LEVELS;
        for (at, weight) in self.weights.iter().enumerate().rev() {
            beyond += weight;
            while left > 0 && beyond > BEYOND[left - 1] * self.total {
                left -= 1;
                levels[left] = at as f64;
            }
            if left == 0 {
                break;
            }
        }
        levels
    }

    pub fn is_sound(&self) -> bool {
        self.weights.len() <= MOST + 1
            && self.weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
            && self.total.is_finite()
            && self.now.is_finite()
            && self.now >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_exceeded_by_its_share_of_the_arrivals() {
        let mut levels = Levels::default();
        // 1000 arrivals, each finding one task more than the one before.
        (0..1000).for_each(|n| levels.observe(0.0, 1.0, f64::from(n)));
        assert_eq!(levels.levels(), [899.0, 949.0, 979.0, 989.0, 994.0, 997.0]);
        assert_eq!(Levels::default().levels(), [0.0; LEVELS]);
    }

    #[test]
    fn what_was_long_ago_counts_little() {
        let mut levels = Levels::default();
        levels.observe(1.0, 1000.0, 50.0);
        (0..500).for_each(|_| levels.observe(300.0, 20.0, 5.0));
        assert_eq!(levels.levels(), [5.0; LEVELS]);
        assert!(levels.is_sound());
    }

    #[test]
    fn absurd_numbers_of_tasks_are_bounded() {
        let mut levels = Levels::default();
        levels.observe(f64::MAX, 1e300, f64::MAX);
        levels.observe(f64::NAN, f64::NAN, f64::NAN);
        levels.observe(1.0, f64::INFINITY, 3.0);
        assert!(levels.is_sound(), "{levels:?}");
    }
}
