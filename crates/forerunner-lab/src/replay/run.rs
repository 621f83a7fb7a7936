//! Replaying: the yardsticks of every cell, then every policy in it, on all cores.

use std::{fs::File, io::BufWriter, path::Path, thread};

use anyhow::Context;
use forerunner_console::{Usage, progress};
use forerunner_forecast::{FixedSettings, PolicyKind, PolicyLimits, build};
use forerunner_sim::{AsLive, LastValue, Replay, TimelinePoint, least_fixed_in, perfect, replay};
use indicatif::ProgressBar;

use super::{
    advice::{self, Advice},
    args::{PolicyArg, ReplayArgs},
    bounds,
    cell::Cell,
    plot::{Plot, PlotBudget},
    rules,
    study::{Run, Study},
    traces::Source,
    watch::PolicyRecorder,
    workers,
};

/// Agents allowed, relative to the least fixed pool that meets the objective.
const HEADROOM: u32 = 2;
/// Rows of a cell that have a plot: the bounds, the naive rule, every policy and today's.
const ROWS_A_CELL: usize = 14;
/// Cells for which the answer names what would meet the objective: each costs as many replays again.
const MOST_ADVISED: usize = 3;
/// The cost of a cell's bounds, relative to one policy, for the progress bar.
const YARDSTICK_SHARE: f64 = 0.5;

/// The retained part of the first policy of the only cell.
#[derive(Debug, Default)]
pub struct FirstTimeline {
    /// The state at each decision.
    pub timeline: Vec<TimelinePoint>,
}

/// Runs all requested replays.
///
/// # Errors
/// When a policy's settings are invalid, or a file cannot be written.
pub fn run(args: &ReplayArgs, sources: &[Source]) -> anyhow::Result<(Study, FirstTimeline)> {
    let threads = args.threads.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    let wanted = cell_specs(args, sources);
    let span = |replayed: &CellSpec| sources[replayed.source].trace.span_s();
    let bar = progress::bar(wanted.iter().map(|cell| (YARDSTICK_SHARE * span(cell)) as u64).sum(), "measuring");
    bar.set_style(progress::style("{prefix} {bar:32} {percent:>3} %  {eta} left"));
    let mut cells = workers::map(&wanted, threads, |cell| {
        let found = cell.measure(args, sources);
        bar.inc((YARDSTICK_SHARE * span(cell)) as u64);
        found
    });
    share_bounds(&mut cells, args);
    let jobs = jobs(args, &cells);
    let budget = PlotBudget::shared_by(cells.len() * ROWS_A_CELL);
    if args.report.is_some() {
        cells.iter_mut().for_each(|cell| bounds::plot(&sources[cell.source].trace, cell, budget));
    }
    bar.set_prefix("replaying");
    bar.inc_length(jobs.iter().map(|job| cells[job.cell].span_s as u64).sum());
    let done = workers::map(&jobs, threads, |job| job.run(args, sources, &cells[job.cell], budget, &bar));
    bar.finish_and_clear();
    let mut kept = FirstTimeline::default();
    let mut runs = Vec::with_capacity(done.len());
    for (job, done) in jobs.into_iter().zip(done) {
        let (run, timeline) = done.with_context(|| format!("policy `{}`", job.asked.kind.name()))?;
        if job.records_timeline(args) {
            kept.timeline = timeline;
        }
        runs.push(run);
    }
    runs.sort_by_key(|run| run.cell);
    let mut study = Study { cells, runs, advice: Vec::new() };
    study.advice = advice(args, sources, &study, threads);
    Ok((study, kept))
}

/// Searches what would meet the objective where the first policy misses it, if the answer is for people who choose.
fn advice(args: &ReplayArgs, sources: &[Source], study: &Study, threads: usize) -> Vec<Advice> {
    let is_survey = args.sweep || args.table.is_some() || !args.what_if.is_empty() || study.cells.len() > MOST_ADVISED;
    if is_survey {
        return Vec::new();
    }
    let missed = (0..study.cells.len()).filter_map(|cell| study.ours(cell)).filter(|run| !run.report.meets_objective());
    let of = |run: &Run| {
        let cell = &study.cells[run.cell];
        advice::seek(&sources[cell.source].trace, cell, run, threads)
    };
    missed.map(of).collect()
}

/// A cell before anything was replayed in it.
struct CellSpec {
    source: usize,
    cold_start_s: f64,
    share: f64,
}

fn cell_specs(args: &ReplayArgs, sources: &[Source]) -> Vec<CellSpec> {
    let shares = if args.what_if.is_empty() { vec![args.share] } else { args.what_if.clone() };
    let of_source = |source| {
        let shares = &shares;
        args.cold_start
            .iter()
            .flat_map(move |&cold_start_s| shares.iter().map(move |&share| CellSpec { source, cold_start_s, share }))
    };
    (0..sources.len()).flat_map(of_source).collect()
}

impl CellSpec {
    fn measure(&self, args: &ReplayArgs, sources: &[Source]) -> Cell {
        let Source { trace, warm_up_s } = &sources[self.source];
        let mut objective = args.objective();
        objective.share = self.share;
        let limits = PolicyLimits {
            min: args.min,
            max: u32::MAX,
            cold_start_s: self.cold_start_s,
            tick_s: args.tick,
            objective,
        };
        let mut settings = Replay { warm_up_s: *warm_up_s, ..Replay::new(limits) };
        let (least_fixed, _) = least_fixed_in(trace, &settings);
        settings.limits.max = args.max.unwrap_or(HEADROOM.saturating_mul(least_fixed)).max(args.min);
        // The bounds are those of the plain model, whatever the policies are compared in.
        let (perfect, work) = (perfect(trace, &settings), bounds::work(trace, &settings));
        settings.as_live = args.as_live.map(|cooldown_s| AsLive { cooldown_s });
        let compares_all = args.policy.is_empty() && args.what_if.is_empty();
        Cell {
            source: self.source,
            trace: trace.name().to_owned(),
            span_s: trace.span_s(),
            perfect: perfect.into(),
            work: work.into(),
            last_value: compares_all
                .then(|| replay(trace, &mut LastValue::new(settings.limits), &settings).report.into()),
            replay: settings,
            least_fixed,
        }
    }
}

/// Objectives that are compared with each other have the same room.
fn share_bounds(cells: &mut [Cell], args: &ReplayArgs) {
    if args.what_if.is_empty() {
        return;
    }
    for group in
        cells.chunk_by_mut(|a, b| a.source == b.source && a.replay.limits.cold_start_s == b.replay.limits.cold_start_s)
    {
        let most = group.iter().map(|cell| cell.replay.limits.max).max().unwrap_or(1);
        group.iter_mut().for_each(|cell| cell.replay.limits.max = most);
    }
}

/// One policy to replay in one cell.
struct ReplayJob {
    cell: usize,
    asked: PolicyArg,
    swept: bool,
    is_today: bool,
    /// It is the first of its cell: the one that files are of.
    shown: bool,
}

/// The jobs, the longest traces first.
fn jobs(args: &ReplayArgs, cells: &[Cell]) -> Vec<ReplayJob> {
    let mut jobs = Vec::new();
    for (cell, of) in cells.iter().enumerate() {
        for (index, (asked, hindsight)) in policies(args, of).into_iter().enumerate() {
            let grid = if args.sweep { rules::grid(asked.kind.name()) } else { Vec::new() };
            jobs.push(ReplayJob { cell, asked, swept: hindsight, is_today: false, shown: index == 0 });
            jobs.extend(grid.into_iter().map(|asked| ReplayJob {
                cell,
                asked,
                swept: true,
                is_today: false,
                shown: false,
            }));
        }
        let today = args.today.clone();
        jobs.extend(today.map(|asked| ReplayJob { cell, asked, swept: false, is_today: true, shown: false }));
    }
    jobs.sort_by(|a, b| cells[b.cell].span_s.total_cmp(&cells[a.cell].span_s));
    jobs
}

/// The policies of a cell, and whether hindsight chose their settings.
fn policies(args: &ReplayArgs, cell: &Cell) -> Vec<(PolicyArg, bool)> {
    let all = rules::all(cell.least_fixed);
    match (args.policy.is_empty(), args.what_if.is_empty()) {
        (false, _) => args.policy.iter().map(|asked| (asked.clone(), false)).collect(),
        (true, true) => all,
        (true, false) => all.into_iter().take(1).collect(),
    }
}

impl ReplayJob {
    fn records_timeline(&self, args: &ReplayArgs) -> bool {
        self.shown && args.timeline.is_some()
    }

    /// The bounds of the pool. A fixed pool of today has the size that it has.
    fn limits(&self, cell: &Cell) -> PolicyLimits {
        match self.asked.kind {
            PolicyKind::Fixed(FixedSettings { size }) if self.is_today => {
                PolicyLimits { min: size, max: size, ..cell.replay.limits }
            }
            _ => cell.replay.limits,
        }
    }

    fn run(
        &self,
        args: &ReplayArgs,
        sources: &[Source],
        cell: &Cell,
        budget: PlotBudget,
        bar: &ProgressBar,
    ) -> anyhow::Result<(Run, Vec<TimelinePoint>)> {
        let plotted = args.report.is_some();
        let limits = self.limits(cell);
        let policy = build(self.asked.kind, limits).map_err(|error| Usage(error.to_string()))?;
        let mut watched = PolicyRecorder::new(policy, bar, plotted);
        if let Some(path) = args.observations.as_deref().filter(|_| self.shown) {
            watched.write_to(writer(path)?);
        }
        let settings = Replay {
            timeline: plotted || self.records_timeline(args),
            params: self.asked.params.clone(),
            limits,
            ..cell.replay.clone()
        };
        let outcome = replay(&sources[cell.source].trace, &mut watched, &settings);
        let changes = watched.finish(cell.span_s).with_context(|| "the observations cannot be written")?;
        let plot = plotted.then(|| Plot::of(&sources[cell.source].trace, &outcome, changes, cell, budget));
        let Self { cell, asked, swept, is_today, .. } = self;
        let (cell, asked) = (*cell, asked.clone());
        let run = Run { cell, asked, swept: *swept, is_today: *is_today, report: outcome.report, plot };
        Ok((run, outcome.timeline))
    }
}

fn writer(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(BufWriter::new(file))
}
