//! What a replay found: the runs in each cell.

use forerunner_sim::Report;
use serde::Serialize;

use super::{args::Asked, cell::Cell, plot::Plot};

/// One policy in one cell.
#[derive(Debug)]
pub struct Run {
    /// Which of the cells.
    pub cell: usize,
    /// The policy.
    pub asked: Asked,
    /// Whether it is a setting that a sweep tried, and not what was asked for.
    pub swept: bool,
    /// The figures.
    pub report: Report,
    /// How it went, for the page.
    pub plot: Option<Plot>,
}

/// Everything that was replayed.
#[derive(Debug)]
pub struct Study {
    /// The cells: by trace, then cold start, then objective.
    pub cells: Vec<Cell>,
    /// The runs, those of a cell in the order of the policies.
    pub runs: Vec<Run>,
}

/// One object of the JSON answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The figures: trace, policy, params, cold start, objective, tasks, lateness, waits, cost, peak, changes.
    #[serde(flatten)]
    pub report: Report,
    /// Cost relative to that of perfect knowledge.
    pub ratio_to_perfect: Option<f64>,
    /// Whether the objective was met.
    pub meets_objective: bool,
    /// Whether the settings were found by a sweep, in hindsight.
    pub tuned: bool,
    /// Fewest agents allowed.
    pub min: u32,
    /// Most agents allowed.
    pub max: u32,
    /// Seconds at the begin that do not count.
    pub warmup_s: f64,
}

impl Study {
    /// The rows of a cell: perfect knowledge, the work alone, then the policies. Those that meet the objective go
    /// first, and among them the cheapest.
    pub fn rows(&self, cell: usize) -> Vec<Row> {
        let of = &self.cells[cell];
        let bounds = [&of.perfect, &of.work].map(|report| Row::of(of, report, false));
        let mut rows: Vec<Row> = self.chosen(cell).map(|run| Row::of(of, &run.report, run.swept)).collect();
        rows.extend(of.last_value.as_ref().map(|report| Row::of(of, report, false)));
        rows.sort_by(|a, b| {
            let key = |row: &Row| (!row.meets_objective, row.report.instance_s);
            let ((a_late, a_cost), (b_late, b_cost)) = (key(a), key(b));
            a_late.cmp(&b_late).then(a_cost.total_cmp(&b_cost))
        });
        bounds.into_iter().chain(rows).collect()
    }

    /// The runs of a cell that are shown: all that were asked for, and of the swept ones the best of each policy.
    fn chosen(&self, cell: usize) -> impl Iterator<Item = &Run> {
        let inside = move |run: &&Run| run.cell == cell;
        let asked = self.runs.iter().filter(inside).filter(|run| !run.swept);
        let tuned = self.runs.iter().filter(inside).filter(|run| run.swept).filter(move |run| self.is_best(run));
        asked.chain(tuned)
    }

    /// Whether a swept run is the best of its policy in its cell: the cheapest that meets the objective, and if none
    /// does, the most punctual.
    fn is_best(&self, run: &Run) -> bool {
        self.best(run.cell, run.asked.kind.name()).is_some_and(|best| std::ptr::eq(best, run))
    }

    /// The best run of a policy in a cell, the one with its defaults included.
    pub fn best(&self, cell: usize, policy: &str) -> Option<&Run> {
        let runs = self.runs.iter().filter(|run| run.cell == cell && run.asked.kind.name() == policy);
        runs.min_by(|a, b| goodness(&a.report).total_cmp(&goodness(&b.report)).then(a.swept.cmp(&b.swept)))
    }
}

/// Less is better: cost among reports that meet the objective, lateness beyond any cost among the others.
fn goodness(report: &Report) -> f64 {
    if report.meets_objective() { report.instance_s } else { 1e100 * (1.0 + report.late_share) }
}

impl Row {
    fn of(cell: &Cell, report: &Report, tuned: bool) -> Self {
        let limits = &cell.replay.limits;
        Self {
            ratio_to_perfect: cell.ratio(report),
            meets_objective: report.meets_objective(),
            tuned,
            min: limits.min,
            max: limits.max,
            warmup_s: cell.replay.warm_up_s,
            report: report.clone(),
        }
    }
}
