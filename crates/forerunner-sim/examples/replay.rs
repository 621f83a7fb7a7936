//! Replays traces against `predictive`, `utilisation` and the least fixed pool that meets the objective, and prints one
//! line each: late share, cost relative to the work done, and how often the size changed.
//!
//! ```text
//! cargo run --release -p forerunner-sim --example replay -- TRACE.csv.gz … [--cold-start 2,10,30] [--max N]
//!     [--share 0.99] [--within 1] [--policy KIND]…
//! ```
//!
//! `--policy` replaces the two policies, for example `--policy utilisation:scale_up_threshold=0.8`. Without `--max` the pool may grow to twice the least
//! fixed size.

use std::{env, error::Error, process::ExitCode};

use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, UtilisationSettings, build};
use forerunner_sim::{Replay, Report, Trace, least_fixed, replay};

struct Arguments {
    traces: Vec<String>,
    cold_starts: Vec<f64>,
    max: Option<u32>,
    objective: Objective,
    policies: Vec<PolicyKind>,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut arguments = Self {
            traces: Vec::new(),
            cold_starts: vec![2.0, 10.0, 30.0],
            max: None,
            objective: Objective::default(),
            policies: Vec::new(),
        };
        while let Some(argument) = given.next() {
            let mut value = || given.next().ok_or(format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--cold-start" => {
                    arguments.cold_starts = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--max" => arguments.max = Some(value()?.parse()?),
                "--share" => arguments.objective.share = value()?.parse()?,
                "--within" => arguments.objective.within_s = value()?.parse()?,
                "--policy" => arguments.policies.push(value()?.parse()?),
                flag if flag.starts_with("--") => return Err(format!("there is no option `{flag}`").into()),
                _ => arguments.traces.push(argument),
            }
        }
        if arguments.traces.is_empty() {
            return Err("name at least one trace".into());
        }
        if arguments.policies.is_empty() {
            arguments.policies = vec![PolicyKind::default(), PolicyKind::Utilisation(UtilisationSettings::default())];
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
    println!(
        "{:<24} {:>4} {:<12} {:>7} {:>11} {:>7} {:>7} {:>7} {:>6} {:>8} {:>9}",
        "trace", "cold", "policy", "late %", "instance_s", "/work", "p99 s", "max s", "peak", "actions", "reversals"
    );
    for path in &arguments.traces {
        let trace = Trace::read(path)?;
        for &cold_start_s in &arguments.cold_starts {
            let limits =
                PolicyLimits { min: 1, max: u32::MAX, cold_start_s, tick_s: 1.0, objective: arguments.objective };
            let (size, fixed) = least_fixed(&trace, limits);
            let limits = PolicyLimits { max: arguments.max.unwrap_or(2 * size), ..limits };
            for &kind in &arguments.policies {
                let mut policy = build(kind, limits)?;
                print(&replay(&trace, policy.as_mut(), &Replay::new(limits)).report, kind.name());
            }
            print(&fixed, &format!("fixed {size}"));
        }
    }
    Ok(())
}

fn print(report: &Report, policy: &str) {
    println!(
        "{:<24} {:>4} {:<12} {:>7.2} {:>11.0} {:>7.3} {:>7.2} {:>7.1} {:>6} {:>8} {:>9}",
        report.trace,
        report.cold_start_s,
        policy,
        100.0 * report.late_share,
        report.instance_s,
        report.instance_s / report.busy_s,
        report.wait_s.p99,
        report.wait_s.max,
        report.peak_pool,
        report.scale_actions,
        report.reversals,
    );
}
