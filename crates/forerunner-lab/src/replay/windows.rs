//! The first minutes: windows cut at random places, each from an empty pool, nothing left out.

use std::thread;

use forerunner_console::{
    Usage,
    output::{Output, count, late, lineless, render, right_from},
    progress,
};
use forerunner_forecast::{PolicyKind, PolicyLimits, build};
use forerunner_sim::{AsLive, Replay, Trace, perfect, replay};
use serde::Serialize;

use super::{
    args::{PolicyArg, ReplayArgs},
    traces::Source,
    workers,
};

/// Agents allowed, relative to the most tasks in service: too many to be in the way.
const HEADROOM: u32 = 20;
/// Fewest tasks of a window whose figures mean something.
const FEWEST_TASKS: usize = 20;
/// Places that are tried for a window before the trace has too few tasks for one more.
const TRIES: u32 = 20;

/// A policy in one window at one cold start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowRow {
    trace: String,
    /// Where the window begins in the trace.
    start_s: f64,
    window_s: f64,
    cold_start_s: f64,
    policy: String,
    params: String,
    tasks: u64,
    late_share: f64,
    /// Cost relative to that of perfect knowledge.
    ratio_to_perfect: f64,
    peak_pool: u32,
    most_in_service: u32,
    /// Most agents relative to the most tasks in service.
    peak_ratio: f64,
}

/// A part of a trace.
struct Window {
    start_s: f64,
    trace: Trace,
}

/// Replays the windows that are asked for, and returns what to show.
///
/// # Errors
/// [`Usage`] if no trace has a window with enough tasks.
pub fn run(args: &ReplayArgs, window_s: f64, sources: &[Source]) -> anyhow::Result<Vec<WindowRow>> {
    let windows = cut(args, window_s, sources);
    if windows.is_empty() {
        let text = format!("no window of {window_s} s has {FEWEST_TASKS} tasks; use longer --windows");
        return Err(Usage(text).into());
    }
    let default = [PolicyArg { kind: PolicyKind::default(), params: String::new() }];
    let policies = if args.policy.is_empty() { &default[..] } else { &args.policy };
    let mut jobs: Vec<(f64, &PolicyArg, &Window)> = Vec::new();
    for &cold_start_s in &args.cold_start {
        for policy in policies {
            jobs.extend(windows.iter().map(|window| (cold_start_s, policy, window)));
        }
    }
    let threads = args.threads.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    let bar = progress::bar(jobs.len() as u64, "replaying");
    let rows = workers::map(&jobs, threads, |(cold_start_s, asked, window)| {
        let row = one(args, window_s, *cold_start_s, asked, window);
        bar.inc(1);
        row
    });
    bar.finish_and_clear();
    rows.into_iter().collect()
}

fn one(
    args: &ReplayArgs,
    window_s: f64,
    cold_start_s: f64,
    asked: &PolicyArg,
    window: &Window,
) -> anyhow::Result<WindowRow> {
    let most_in_service = window.trace.most_in_service();
    let limits = PolicyLimits {
        min: args.min,
        max: args.max.unwrap_or(HEADROOM.saturating_mul(most_in_service)).max(args.min).max(1),
        cold_start_s,
        tick_s: args.tick,
        objective: args.objective(),
    };
    let mut settings = Replay { warm_up_s: 0.0, params: asked.params.clone(), ..Replay::new(limits) };
    let bound = perfect(&window.trace, &settings);
    settings.as_live = args.as_live.map(|cooldown_s| AsLive { cooldown_s });
    let mut policy = build(asked.kind, limits).map_err(|error| Usage(error.to_string()))?;
    let report = replay(&window.trace, policy.as_mut(), &settings).report;
    Ok(WindowRow {
        trace: window.trace.name().to_owned(),
        start_s: window.start_s,
        window_s,
        cold_start_s,
        policy: report.policy,
        params: report.params,
        tasks: report.tasks,
        late_share: report.late_share,
        ratio_to_perfect: report.instance_s / bound.instance_s.max(f64::MIN_POSITIVE),
        peak_pool: report.peak_pool,
        most_in_service,
        peak_ratio: f64::from(report.peak_pool) / f64::from(most_in_service.max(1)),
    })
}

/// Windows at random places: the same ones for the same traces, count and seed.
fn cut(args: &ReplayArgs, window_s: f64, sources: &[Source]) -> Vec<Window> {
    let mut random = Random(args.seed);
    let mut windows = Vec::new();
    for source in sources {
        let room_s = (source.trace.span_s() - window_s).max(0.0);
        for _ in 0..args.count {
            let found = (0..TRIES).find_map(|_| {
                let start_s = (random.uniform() * room_s).floor();
                let trace = source.trace.slice(start_s, start_s + window_s).ok()?;
                (trace.tasks().len() >= FEWEST_TASKS).then_some(Window { start_s, trace })
            });
            windows.extend(found);
        }
    }
    windows
}

/// A seeded generator: SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    /// A number in [0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A line a window, and the means for each cold start and policy.
pub fn table(rows: &[WindowRow], out: &Output) -> String {
    let mut table = lineless();
    table.set_header(vec!["TRACE", "POLICY", "COLD START", "START", "TASKS", "LATE", "COST", "PEAK"]);
    for row in rows {
        table.add_row([
            row.trace.clone(),
            row.policy.clone(),
            format!("{} s", row.cold_start_s),
            format!("{:.0} s", row.start_s),
            count(row.tasks),
            late(row.late_share),
            format!("{:.2}", row.ratio_to_perfect),
            format!("{:.2}", row.peak_ratio),
        ]);
    }
    right_from(&mut table, 2);
    let mut means = lineless();
    means.set_header(vec!["MEAN OF", "POLICY", "COLD START", "LATE", "COST", "PEAK"]);
    let same =
        |a: &WindowRow, b: &WindowRow| (&a.policy, &a.params, a.cold_start_s) == (&b.policy, &b.params, b.cold_start_s);
    for group in rows.chunk_by(same) {
        let mean = |of: fn(&WindowRow) -> f64| group.iter().map(of).sum::<f64>() / group.len() as f64;
        means.add_row([
            format!("{} windows", group.len()),
            group[0].policy.clone(),
            format!("{} s", group[0].cold_start_s),
            late(mean(|row| row.late_share)),
            format!("{:.2}", mean(|row| row.ratio_to_perfect)),
            format!("{:.2}", mean(|row| row.peak_ratio)),
        ]);
    }
    right_from(&mut means, 2);
    let legend = "LATE: share of the tasks, from the first second on. COST: agent-seconds relative to `perfect`.\n\
                  PEAK: most agents relative to the most tasks in service at once.";
    format!("{}\n\n{}\n\n{}", render(&table), render(&means), out.faint(legend))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use forerunner_sim::TraceTask;

    use forerunner_console::output::Format;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ReplayArgs,
    }

    #[test]
    fn windows_are_the_same_for_the_same_seed_and_count_from_their_first_second() {
        let tasks = (0..4_000).map(|k| TraceTask { arrival_s: f64::from(k), service_s: 5.0, ..TraceTask::default() });
        let sources = [Source { trace: Trace::new("even", tasks.collect()).expect("tasks"), warm_up_s: 300.0 }];
        let asked = |seed: &str| {
            let line =
                ["replay", "t.csv", "--windows", "10m", "--count", "2", "--cold-start", "2s,10s", "--seed", seed];
            let args = Line::try_parse_from(line).expect("it fits").args;
            run(&args, args.windows.expect("given"), &sources).expect("windows")
        };
        let rows = asked("1");
        assert_eq!(rows, asked("1"));
        assert_ne!(rows[0].start_s, asked("2")[0].start_s);
        assert_eq!((rows.len(), rows[0].tasks, rows[0].most_in_service), (4, 600, 5));
        assert!(rows.iter().all(|row| row.ratio_to_perfect > 1.0 && row.late_share < 0.1 && row.peak_ratio < 4.0));
        let shown = table(&rows, &Output::new(Format::Table));
        assert!(shown.contains("2 windows") && shown.contains("even"), "{shown}");
    }
}
