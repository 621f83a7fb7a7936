//! How careful to be: one level between bold and careful, moved by how many tasks were late.

use serde::{Deserialize, Serialize};

use crate::{Objective, rate::sane};

/// Aims a little below the share of late tasks that the objective allows, so that chance does not break it.
const AIM: f64 = 0.7;

/// Movement of the level per task, in shares of the allowed late share. Measured on recorded loads: half and twice as much
/// do about as well; more swings, and pays for it.
const STEP_PER_TASK: f64 = 4e-5;

/// A level in [0, 1] that rises with each late task and falls with each one on time, in balance at the objective.
///
/// Adaptive conformal inference (Gibbs & Candès 2021, "Adaptive conformal inference under distribution shift") applied
/// to the margin: in the long run the late share settles at the aim whatever the arrivals are, as long as the level is
/// not at an end of its range. No model of arrivals is right for every pool; this corrects the one in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Caution {
    level: f64,
}

impl Caution {
    /// Starts at `level`, in [0, 1].
    pub fn new(level: f64) -> Self {
        Self { level: level.clamp(0.0, 1.0) }
    }

    /// Takes in that `started` tasks began, `late` of them later than the objective allows.
    ///
    /// `rate` is how many begin per second in general. Above one a second each counts for less, so that a busy pool does
    /// not swing: a shortage of a given length makes more tasks late there and says the same.
    pub fn observe(&mut self, started: u64, late: u64, rate: f64, objective: Objective) {
        let allowed = AIM * (1.0 - objective.share).clamp(1e-6, 0.5);
        let excess = late.min(started) as f64 - allowed * started as f64;
        let step = STEP_PER_TASK / allowed / rate.max(1.0);
        self.level = sane(self.level + step * excess).clamp(0.0, 1.0);
    }

    /// The level: 0 is bold, 1 is careful.
    pub fn level(&self) -> f64 {
        self.level
    }

    /// The value that far between `bold` and `careful`, both above 0, on a logarithmic scale.
    pub fn between(&self, bold: f64, careful: f64) -> f64 {
        bold * (careful / bold).powf(self.level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_tasks_raise_the_level_and_punctual_ones_lower_it() {
        let mut caution = Caution::new(0.5);
        caution.observe(100, 100, 1.0, Objective::default());
        let raised = caution.level();
        assert!(raised > 0.5);
        caution.observe(10_000, 0, 1.0, Objective::default());
        assert!(caution.level() < raised);
    }

    #[test]
    fn it_balances_at_seven_tenths_of_the_late_share_allowed() {
        let mut caution = Caution::new(0.5);
        caution.observe(1000, 7, 1.0, Objective::default());
        assert!((caution.level() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn it_stays_in_range_and_maps_to_a_geometric_scale() {
        let mut caution = Caution::new(0.0);
        assert_eq!(caution.between(2.0, 8.0), 2.0);
        caution.observe(u64::MAX, u64::MAX, 1.0, Objective::default());
        assert_eq!(caution.level(), 1.0);
        assert!((caution.between(2.0, 8.0) - 8.0).abs() < 1e-9);
        assert!((Caution::new(0.5).between(2.0, 8.0) - 4.0).abs() < 1e-9);
    }
}
