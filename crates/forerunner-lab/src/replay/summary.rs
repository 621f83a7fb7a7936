//! The table of the manual: one policy over many cells, and the others at their best.

use std::{fmt::Write, path::Path, time::Duration};

use forerunner_console::output;
use forerunner_core::format_duration;
use forerunner_forecast::PolicyKind;

use super::study::{Run, Study};
use crate::markers;

/// Lateness that still counts as near the objective, relative to the share allowed.
const NEAR: f64 = 1.25;

/// Puts the table between the markers of a file; a file that is not there yet is made.
///
/// # Errors
/// When the file has other text and no markers, or cannot be written.
pub fn write(path: &Path, study: &Study) -> anyhow::Result<()> {
    markers::write(path, "replay", &markdown(study))
}

/// One cell, as the table has it.
struct Line<'a> {
    ours: &'a Run,
    cost: Option<f64>,
    peer: Option<&'a Run>,
    peer_cost: Option<f64>,
}

fn markdown(study: &Study) -> String {
    let lines: Vec<Line> = (0..study.cells.len()).filter_map(|cell| line(study, cell)).collect();
    let name = lines.first().map_or("", |line| line.ours.asked.kind.name());
    let mut text = format!(
        "| trace | cold start | `{name}`: late | cost | best other rule | its late | its cost | cost / its |\n|---|--:|--:|--:|---|--:|--:|--:|\n"
    );
    for line in &lines {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", row(study, line));
    }
    text.push('\n');
    text.push_str(&totals(study, &lines));
    text.push_str(&singles(study, &lines));
    text
}

fn line(study: &Study, cell: usize) -> Option<Line<'_>> {
    let inside = || study.runs.iter().filter(move |run| run.cell == cell);
    let ours = inside().find(|run| !run.swept)?;
    let is_peer = |run: &&Run| run.asked.kind.name() != ours.asked.kind.name() && run.report.meets_objective();
    let peer = inside().filter(is_peer).min_by(|a, b| a.report.instance_s.total_cmp(&b.report.instance_s));
    let ratio = |run: &Run| study.cells[cell].ratio(&run.report);
    Some(Line { ours, cost: ratio(ours), peer, peer_cost: peer.and_then(ratio) })
}

fn row(study: &Study, line: &Line) -> String {
    let cell = &study.cells[line.ours.cell];
    let report = &line.ours.report;
    let cold = format_duration(Duration::from_secs_f64(cell.replay.limits.cold_start_s));
    let late = if report.meets_objective() {
        output::late(report.late_share)
    } else {
        format!("**{}**", output::late(report.late_share))
    };
    let (peer, peer_late) = line.peer.map_or_else(
        || ("none meets it".to_owned(), "–".to_owned()),
        |peer| (format!("`{}`", label(peer)), output::late(peer.report.late_share)),
    );
    let versus = line.cost.zip(line.peer_cost).filter(|_| report.meets_objective()).map(|(ours, its)| ours / its);
    format!(
        "| {} | {cold} | {late} | {} | {peer} | {peer_late} | {} | {} |",
        cell.trace,
        number(line.cost),
        number(line.peer_cost),
        number(versus),
    )
}

fn label(run: &Run) -> String {
    let name = run.asked.kind.name();
    if run.asked.params.is_empty() { name.to_owned() } else { format!("{name}:{}", run.asked.params) }
}

fn totals(study: &Study, lines: &[Line]) -> String {
    let allowed = study.cells.first().map_or(0.01, |cell| 1.0 - cell.replay.limits.objective.share);
    let late: Vec<f64> = lines.iter().map(|line| line.ours.report.late_share).collect();
    let within = |most: f64| late.iter().filter(|late| **late <= most + 1e-12).count();
    let all = late.len().max(1);
    let share = |n: usize| format!("{n} of {} cells ({:.0} %)", late.len(), 100.0 * n as f64 / all as f64);
    let met = || lines.iter().filter(|line| line.ours.report.meets_objective());
    let versus = met().filter_map(|line| Some(line.cost? / line.peer_cost?));
    let (costs, met_costs) = (lines.iter().filter_map(|line| line.cost), met().filter_map(|line| line.cost));
    let hours: f64 = lines.iter().map(|line| line.ours.report.instance_s).sum::<f64>() / 3_600.0;
    [
        format!("- at most {} late in {}", output::late(NEAR * allowed), share(within(NEAR * allowed))),
        format!("- at most {} late in {}", output::late(allowed), share(within(allowed))),
        format!("- mean late share {}", output::late(late.iter().sum::<f64>() / all as f64)),
        format!("- geometric-mean cost {} over all cells, {} over those that meet the objective; {hours:.0} agent-hours in all",
            number(geometric_mean(costs)), number(geometric_mean(met_costs))),
        format!("- where it meets the objective, geometric-mean cost relative to the best other rule tuned in hindsight for that very cell: {}\n",
            number(geometric_mean(versus))),
    ]
    .join("\n")
}

/// One setting for every cell: each rule without tuning per cell.
fn singles(study: &Study, lines: &[Line]) -> String {
    let Some(first) = lines.first() else { return String::new() };
    let name = first.ours.asked.kind.name();
    let mut settings: Vec<Single> = Vec::new();
    // A fixed size that hindsight found is no setting that anybody could have chosen.
    let by_hindsight = |run: &Run| run.swept && matches!(run.asked.kind, PolicyKind::Fixed(_));
    for run in study.runs.iter().filter(|run| run.asked.kind.name() != name && !by_hindsight(run)) {
        match settings.iter_mut().find(|single| single.label == label(run)) {
            Some(single) => single.runs.push(run),
            None => settings.push(Single { label: label(run), policy: run.asked.kind.name(), runs: vec![run] }),
        }
    }
    // A setting that was not tried everywhere is not a single setting either.
    settings.retain(|single| single.runs.len() == study.cells.len());
    let mut text = format!(
        "\nOne setting for every cell: of each rule its defaults and the setting that meets the objective in most cells.\n\n\
         | setting | meets it in | mean late | both meet it in | its cost there | `{name}` there | `{name}` / its | best tuned rule / its | perfect / its |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for single in pick(&settings) {
        let _ = writeln!(text, "{}", single.row(study, lines));
    }
    if settings.is_empty() { String::new() } else { text }
}

struct Single<'a> {
    label: String,
    policy: &'static str,
    runs: Vec<&'a Run>,
}

/// The defaults of each policy, and its setting that meets the objective most often (the cheaper one on ties).
fn pick<'a, 'b>(settings: &'b [Single<'a>]) -> Vec<&'b Single<'a>> {
    let mut picked: Vec<&Single> = Vec::new();
    for single in settings {
        let is_default = single.runs.iter().all(|run| !run.swept);
        let best = settings
            .iter()
            .filter(|other| other.policy == single.policy)
            .min_by(|a, b| b.met().cmp(&a.met()).then(a.cost_s().total_cmp(&b.cost_s())));
        if is_default || best.is_some_and(|best| best.label == single.label) {
            picked.push(single);
        }
    }
    picked
}

impl Single<'_> {
    fn met(&self) -> usize {
        self.runs.iter().filter(|run| run.report.meets_objective()).count()
    }

    fn cost_s(&self) -> f64 {
        self.runs.iter().map(|run| run.report.instance_s).sum()
    }

    fn row(&self, study: &Study, lines: &[Line]) -> String {
        let mean_late = self.runs.iter().map(|run| run.report.late_share).sum::<f64>() / self.runs.len() as f64;
        let both: Vec<[f64; 3]> = self
            .runs
            .iter()
            .filter(|run| run.report.meets_objective())
            .filter_map(|run| {
                let line = lines.iter().find(|line| line.ours.cell == run.cell)?;
                line.ours.report.meets_objective().then_some(())?;
                Some([study.cells[run.cell].ratio(&run.report)?, line.cost?, line.peer_cost?])
            })
            .collect();
        let [its, ours, best] = [0, 1, 2].map(|at| geometric_mean(both.iter().map(|costs| costs[at])));
        let versus_its = |cost: Option<f64>| number(cost.zip(its).map(|(cost, its)| cost / its));
        format!(
            "| `{}` | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.label,
            self.met(),
            output::late(mean_late),
            both.len(),
            number(its),
            number(ours),
            versus_its(ours),
            versus_its(best),
            versus_its(Some(1.0)),
        )
    }
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u32), |(sum, n), value| (sum + value.ln(), n + 1));
    (n > 0).then(|| (sum / f64::from(n)).exp())
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

#[cfg(test)]
mod tests {
    use forerunner_forecast::{Objective, PolicyLimits};
    use forerunner_sim::{Replay, Trace, TraceTask};

    use super::{
        super::{args::PolicyArg, bounds, cell::Cell},
        *,
    };

    /// Two cells in which `predictive` costs 1.5 and another rule 3.0 or 2.0 of what perfect knowledge does.
    fn study() -> Study {
        let task = TraceTask { arrival_s: 0.0, service_s: 100.0, ..TraceTask::default() };
        let trace = Trace::new("day", vec![task]).expect("a task");
        let limits = PolicyLimits { min: 1, max: 9, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() };
        let settings = Replay { warm_up_s: 0.0, ..Replay::new(limits) };
        let report = bounds::work(&trace, &settings);
        let cell = |_| Cell {
            source: 0,
            trace: "day".to_owned(),
            span_s: 0.0,
            replay: settings.clone(),
            least_fixed: 1,
            perfect: report.clone().into(),
            work: report.clone().into(),
            last_value: None,
        };
        let run = |cell, name: &str, params: &str, swept, late_share, cost| Run {
            cell,
            asked: PolicyArg { kind: name.parse::<PolicyKind>().expect("a policy"), params: params.to_owned() },
            swept,
            is_today: false,
            report: forerunner_sim::Report { late_share, instance_s: 100.0 * cost, ..report.clone() },
            plot: None,
        };
        let of = |cell, late| {
            [
                run(cell, "predictive", "", false, late, 1.5),
                run(cell, "utilisation", "", false, 0.5, 1.0),
                run(cell, "utilisation", "interval_s=2", true, 0.0, 3.0),
                run(cell, "utilisation", "interval_s=3", true, 0.0, 2.0),
            ]
        };
        let runs = of(0, 0.005).into_iter().chain(of(1, 0.012)).collect();
        Study { cells: (0..2).map(cell).collect(), runs, advice: Vec::new() }
    }

    #[test]
    fn the_table_compares_with_the_best_rule_of_each_cell_and_with_single_settings() {
        insta::assert_snapshot!(markdown(&study()), @r"
        | trace | cold start | `predictive`: late | cost | best other rule | its late | its cost | cost / its |
        |---|--:|--:|--:|---|--:|--:|--:|
        | day | 2s | 0.50 % | 1.50 | `utilisation:interval_s=3` | 0.00 % | 2.00 | 0.75 |
        | day | 2s | **1.20 %** | 1.50 | `utilisation:interval_s=3` | 0.00 % | 2.00 | – |

        - at most 1.25 % late in 2 of 2 cells (100 %)
        - at most 1.00 % late in 1 of 2 cells (50 %)
        - mean late share 0.85 %
        - geometric-mean cost 1.50 over all cells, 1.50 over those that meet the objective; 0 agent-hours in all
        - where it meets the objective, geometric-mean cost relative to the best other rule tuned in hindsight for that very cell: 0.75

        One setting for every cell: of each rule its defaults and the setting that meets the objective in most cells.

        | setting | meets it in | mean late | both meet it in | its cost there | `predictive` there | `predictive` / its | best tuned rule / its | perfect / its |
        |---|--:|--:|--:|--:|--:|--:|--:|--:|
        | `utilisation` | 0 | 50.00 % | 0 | – | – | – | – | – |
        | `utilisation:interval_s=3` | 2 | 0.00 % | 1 | 2.00 | 1.50 | 0.75 | 1.00 | 0.50 |
        ");
    }
}
