//! Replays traces at several cold starts on all cores and prints one line a cell, then a summary: the table of one policy
//! over many loads.
//!
//! ```text
//! cargo run --release -p forerunner-sim --example table -- TRACE.csv.gz … [--cold-start 2,10,30] [--policy KIND]
//!     [--share 0.99] [--jobs N]
//! ```
//!
//! The pool may grow to twice the least fixed size that meets the objective.

use std::{
    env,
    error::Error,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, build};
use forerunner_sim::{Replay, Report, Trace, least_fixed, perfect, replay};

struct Arguments {
    traces: Vec<String>,
    cold_starts: Vec<f64>,
    objective: Objective,
    policy: PolicyKind,
    jobs: usize,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut arguments = Self {
            traces: Vec::new(),
            cold_starts: vec![2.0, 10.0, 30.0],
            objective: Objective::default(),
            policy: PolicyKind::default(),
            jobs: thread::available_parallelism()?.get(),
        };
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or(format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--cold-start" => {
                    arguments.cold_starts = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--share" => arguments.objective.share = value()?.parse()?,
                "--policy" => arguments.policy = value()?.parse()?,
                "--jobs" => arguments.jobs = value()?.parse::<usize>()?.max(1),
                flag if flag.starts_with("--") => return Err(format!("there is no option `{flag}`").into()),
                _ => arguments.traces.push(argument),
            }
        }
        if arguments.traces.is_empty() {
            return Err("name at least one trace".into());
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    match Arguments::parse(env::args().skip(1)).and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let traces: Vec<Trace> = arguments.traces.iter().map(Trace::read).collect::<Result<_, _>>()?;
    let cells: Vec<_> =
        traces.iter().flat_map(|trace| arguments.cold_starts.iter().map(move |&cold| (trace, cold))).collect();
    let next = AtomicUsize::new(0);
    let reports: Vec<Mutex<Option<Cell>>> = cells.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                while let Some(&(trace, cold)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = cells.iter().position(|cell| std::ptr::eq(cell.0, trace) && cell.1 == cold);
                    let report = cell(arguments, trace, cold);
                    if let (Some(at), Ok(report)) = (at, report) {
                        *reports[at].lock().expect("no thread panicked") = Some(report);
                    }
                }
            });
        }
    });
    let reports: Vec<Cell> = reports.into_iter().filter_map(|slot| slot.into_inner().ok().flatten()).collect();
    print(&reports);
    Ok(())
}

/// What one trace at one cold start gave.
struct Cell {
    report: Report,
    /// Instance-seconds of a planner that knows what comes.
    perfect_s: f64,
}

fn cell(arguments: &Arguments, trace: &Trace, cold_start_s: f64) -> Result<Cell, forerunner_forecast::Error> {
    let limits = PolicyLimits { min: 1, max: u32::MAX, cold_start_s, tick_s: 1.0, objective: arguments.objective };
    let (size, _) = least_fixed(trace, limits);
    let limits = PolicyLimits { max: 2 * size, ..limits };
    let mut policy = build(arguments.policy, limits)?;
    let settings = Replay::new(limits);
    let report = replay(trace, policy.as_mut(), &settings).report;
    Ok(Cell { report, perfect_s: perfect(trace, &settings).instance_s })
}

fn print(cells: &[Cell]) {
    println!(
        "{:<24} {:>4} {:>7} {:>12} {:>9} {:>6} {:>6}",
        "trace", "cold", "late %", "instance_s", "/perfect", "peak", "band %"
    );
    for Cell { report, perfect_s } in cells {
        println!(
            "{:<24} {:>4} {:>7.2} {:>12.0} {:>9.3} {:>6} {:>6.1}",
            report.trace,
            report.cold_start_s,
            100.0 * report.late_share,
            report.instance_s,
            report.instance_s / perfect_s,
            report.peak_pool,
            100.0 * report.band_coverage.unwrap_or(f64::NAN),
        );
    }
    let n = cells.len() as f64;
    let within = |share: f64| cells.iter().filter(|cell| cell.report.late_share <= share).count();
    let late: f64 = cells.iter().map(|cell| cell.report.late_share).sum::<f64>() / n;
    let cost: f64 = cells.iter().map(|cell| (cell.report.instance_s / cell.perfect_s).ln()).sum::<f64>() / n;
    println!(
        "{} cells: at most 1 % late in {}, 1.25 % in {}; mean late {:.2} %; geometric mean of cost / perfect {:.3}",
        cells.len(),
        within(0.01),
        within(0.0125),
        100.0 * late,
        cost.exp(),
    );
}
