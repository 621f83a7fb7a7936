//! What a replay found: the runs in each cell.

use forerunner_sim::Report;
use serde::Serialize;

use super::{
    advice::{Advice, Remedy},
    args::PolicyArg,
    cell::{Bound, Cell},
    plot::Plot,
    pool_block,
    price::Price,
};

/// One policy in one cell.
#[derive(Debug)]
pub struct Run {
    /// Which of the cells.
    pub cell: usize,
    /// The policy.
    pub asked: PolicyArg,
    /// Whether a sweep tried the setting, and not the command line.
    pub swept: bool,
    /// Whether it is the rule that sizes the pool today.
    pub is_today: bool,
    /// The figures.
    pub report: Report,
    /// The course of the run, for the page.
    pub plot: Option<Plot>,
}

/// Everything that was replayed.
#[derive(Debug)]
pub struct Study {
    /// The cells: by trace, then cold start, then objective.
    pub cells: Vec<Cell>,
    /// The runs, those of a cell in the order of the policies.
    pub runs: Vec<Run>,
    /// What would meet the objective, of cells in which the first policy misses it.
    pub advice: Vec<Advice>,
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
    /// Whether it is the rule that sizes the pool today.
    pub today: bool,
    /// The cost in agent-hours.
    pub agent_hours: f64,
    /// The cost in money, if there is a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub money: Option<f64>,
    /// What would meet the objective, if this is the first policy and it misses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met_by: Option<Vec<Remedy>>,
    /// The pool's settings for the configuration file, of the first policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_settings: Option<String>,
    #[serde(skip)]
    pub plot: Option<Plot>,
}

impl Study {
    /// The rows of a cell: perfect knowledge, the work alone, then the policies. Those that meet the objective go
    /// first, and among them the cheapest.
    pub fn rows(&self, cell: usize) -> Vec<Row> {
        let of = &self.cells[cell];
        let bounds = [&of.perfect, &of.work].map(|bound| Row::of(of, bound, false));
        let mut rows: Vec<Row> = self.chosen(cell).map(|run| self.row(of, run)).collect();
        rows.extend(of.last_value.as_ref().map(|bound| Row::of(of, bound, false)));
        rows.sort_by(|a, b| {
            let key = |row: &Row| (!row.meets_objective, row.report.instance_s);
            let ((a_late, a_cost), (b_late, b_cost)) = (key(a), key(b));
            a_late.cmp(&b_late).then(a_cost.total_cmp(&b_cost))
        });
        bounds.into_iter().chain(rows).collect()
    }

    fn row(&self, cell: &Cell, run: &Run) -> Row {
        let bound = Bound { report: run.report.clone(), plot: run.plot.clone() };
        let is_ours = self.ours(run.cell).is_some_and(|ours| std::ptr::eq(ours, run));
        let advice = self.advice.iter().find(|advice| is_ours && advice.cell == run.cell);
        Row {
            today: run.is_today,
            met_by: advice.map(|advice| advice.remedies.clone()),
            pool_settings: is_ours.then(|| pool_block::write(cell, run, advice)).flatten(),
            ..Row::of(cell, &bound, run.swept)
        }
    }

    /// The first policy of a cell: the one that plots and answers are of.
    pub fn ours(&self, cell: usize) -> Option<&Run> {
        self.runs.iter().find(|run| run.cell == cell && !run.swept && !run.is_today)
    }

    /// The rule that sizes the pool today, in a cell.
    pub fn today(&self, cell: usize) -> Option<&Run> {
        self.runs.iter().find(|run| run.cell == cell && run.is_today)
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
        let inside = |run: &&Run| run.cell == cell && !run.is_today && run.asked.kind.name() == policy;
        let runs = self.runs.iter().filter(inside);
        runs.min_by(|a, b| goodness(&a.report).total_cmp(&goodness(&b.report)).then(a.swept.cmp(&b.swept)))
    }
}

/// Less is better: cost among reports that meet the objective, lateness beyond any cost among the others.
fn goodness(report: &Report) -> f64 {
    if report.meets_objective() { report.instance_s } else { 1e100 * (1.0 + report.late_share) }
}

impl Row {
    fn of(cell: &Cell, bound: &Bound, tuned: bool) -> Self {
        let (limits, report) = (&cell.replay.limits, &bound.report);
        Self {
            today: false,
            agent_hours: report.instance_s / 3_600.0,
            money: None,
            met_by: None,
            pool_settings: None,
            plot: bound.plot.clone(),
            ratio_to_perfect: cell.ratio(report),
            meets_objective: report.meets_objective(),
            tuned,
            min: limits.min,
            max: limits.max,
            warmup_s: cell.replay.warm_up_s,
            report: report.clone(),
        }
    }

    /// The same row with its cost in money.
    pub fn priced(self, price: Option<&Price>) -> Self {
        Self { money: price.map(|price| price.of(self.agent_hours)), ..self }
    }
}
