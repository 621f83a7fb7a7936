//! The constants of the tournament that were chosen by trial.

/// Constants that were chosen by looking at what they do on traces, in one place so that the choice can be cross-validated.
///
/// They are no settings: nobody who runs a pool should have to think about them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Share of the objective's allowance that is aimed at, so that chance does not break it.
    pub aim: f64,
    /// Tasks on time that count as having been before the first, so that a few late ones at the begin prove little.
    pub few_tasks: f64,
    /// Most that one late task less may cost, in service times divided by the allowed share.
    pub price: f64,
    /// Seconds of history that the prior weighs as much as.
    pub prior_s: f64,
    /// The margin that just meets the objective by the prior, in standard deviations.
    pub prior_margin: f64,
    /// Part of the worst block of late tasks that counts where there is no other: one surprise is no pattern. In [0, 1].
    pub surprise: f64,
    /// Late tasks of the worst block that count for each one in other blocks.
    pub again: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { aim: 0.63, few_tasks: 1000.0, price: 3.0, prior_s: 600.0, prior_margin: 2.0, surprise: 0.5, again: 4.0 }
    }
}
