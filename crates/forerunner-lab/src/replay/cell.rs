//! What every policy is measured by.

use forerunner_sim::{Replay, Report};

use super::plot::Plot;

/// A run that no policy made: its figures, and how it went.
#[derive(Debug)]
pub struct Bound {
    /// The figures.
    pub report: Report,
    /// How it went, for the page.
    pub plot: Option<Plot>,
}

impl From<Report> for Bound {
    fn from(report: Report) -> Self {
        Self { report, plot: None }
    }
}

/// One trace at one cold start under one objective: what every policy in it is measured by.
#[derive(Debug)]
pub struct Cell {
    /// Which of the traces.
    pub source: usize,
    /// Name of the trace.
    pub trace: String,
    /// Seconds to its last arrival.
    pub span_s: f64,
    /// Bounds, objective and warm-up.
    pub replay: Replay,
    /// Least fixed pool that meets the objective.
    pub least_fixed: u32,
    /// Near the least cost that any policy could have.
    pub perfect: Bound,
    /// The sum of service times, as if agents cost nothing but work.
    pub work: Bound,
    /// The naive rule, which is asked for by no name: as many agents as were busy last. `None` when policies were named.
    pub last_value: Option<Bound>,
}

impl Cell {
    /// Cost of a report relative to perfect knowledge; `None` if that costs nothing.
    pub fn ratio(&self, report: &Report) -> Option<f64> {
        let perfect_s = self.perfect.report.instance_s;
        (perfect_s > 0.0).then(|| report.instance_s / perfect_s)
    }
}
