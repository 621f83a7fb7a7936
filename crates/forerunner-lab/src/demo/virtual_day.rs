//! A day of a production service under every rule, in virtual time.

use std::{io::Read, thread};

use anyhow::Context;
use flate2::read::GzDecoder;
use forerunner_console::output::{count, late, lineless, render, right_from};
use forerunner_forecast::{FixedSettings, Objective, PolicyKind, PolicyLimits, build};
use forerunner_sim::{Replay, Report, Trace, TraceTask, least_fixed_in, replay};
use serde_json::{Value, json};

use crate::replay::workers;

/// See `data/README.md` for source, licence and columns.
const BUNDLED: &[u8] = include_bytes!("../../data/servegen_day.csv.gz");
/// Named in the output.
pub const DAY_NAME: &str = "a day of an LLM service (ServeGen, Alibaba)";
/// How long an agent takes to start in it.
pub const DAY_COLD_START_S: f64 = 10.0;
/// The rules of other systems that the day is replayed under; a fixed pool comes on top.
const RULES: [&str; 6] = ["predictive", "hpa", "keda", "knative", "ray-serve", "utilisation"];

/// What the rules cost on the day, and how many tasks were late; Forerunner's first.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualDay {
    reports: Vec<Report>,
    least_fixed: u32,
}

impl VirtualDay {
    /// Replays the day on all cores.
    ///
    /// # Errors
    /// When the bundled day is damaged.
    pub fn replay() -> anyhow::Result<Self> {
        let trace = bundled()?;
        let objective = Objective::default();
        let mut limits = PolicyLimits { min: 1, max: u32::MAX, cold_start_s: DAY_COLD_START_S, tick_s: 1.0, objective };
        let (least_fixed, _) = least_fixed_in(&trace, &Replay::new(limits));
        limits.max = 2 * least_fixed;
        let mut kinds = Vec::new();
        for rule in RULES {
            kinds.push(rule.parse::<PolicyKind>()?);
        }
        kinds.push(PolicyKind::Fixed(FixedSettings { size: least_fixed }));
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let run = |kind: &PolicyKind| {
            let mut policy = build(*kind, limits)?;
            Ok::<_, forerunner_forecast::Error>(replay(&trace, policy.as_mut(), &Replay::new(limits)).report)
        };
        let reports: Result<Vec<Report>, _> = workers::map(&kinds, threads, run).into_iter().collect();
        Ok(Self { reports: reports?, least_fixed })
    }

    /// Tasks of the day.
    pub fn tasks(&self) -> u64 {
        self.reports.first().map_or(0, |report| report.tasks)
    }

    /// Writes a table for a terminal.
    pub fn table(&self) -> String {
        let mut table = lineless();
        table.set_header(["RULE", "LATE", "OBJECTIVE", "AGENT-HOURS", "MOST AGENTS"]);
        for report in &self.reports {
            table.add_row([
                self.name(report),
                late(report.late_share),
                if report.meets_objective() { "met" } else { "missed" }.to_owned(),
                format!("{:.0}", report.instance_s / 3_600.0),
                count(u64::from(report.peak_pool)),
            ]);
        }
        right_from(&mut table, 1);
        render(&table)
    }

    fn name(&self, report: &Report) -> String {
        match report.policy.as_str() {
            "predictive" => "Forerunner".to_owned(),
            "fixed" => format!("fixed pool of {}*", self.least_fixed),
            other => other.to_owned(),
        }
    }

    /// The rows as JSON.
    pub fn to_json(&self) -> Value {
        let row = |report: &Report| {
            json!({
                "policy": report.policy,
                "late_share": report.late_share,
                "meets_objective": report.meets_objective(),
                "agent_hours": report.instance_s / 3_600.0,
            })
        };
        self.reports.iter().map(row).collect()
    }
}

fn bundled() -> anyhow::Result<Trace> {
    let mut text = String::new();
    GzDecoder::new(BUNDLED).read_to_string(&mut text).context("the bundled day is damaged")?;
    let task = |line: &str| {
        let (arrival, service) = line.split_once(',')?;
        Some(TraceTask { arrival_s: arrival.parse().ok()?, service_s: service.parse().ok()?, ..TraceTask::default() })
    };
    let tasks: Option<Vec<TraceTask>> = text.lines().skip(1).map(task).collect();
    Ok(Trace::new("day", tasks.context("the bundled day is damaged")?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_day_has_its_tasks() {
        let day = bundled().expect("readable");
        assert_eq!(day.tasks().len(), 45_211);
        assert!((86_000.0..86_401.0).contains(&day.span_s()), "{}", day.span_s());
    }
}
