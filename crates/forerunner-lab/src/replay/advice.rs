//! What would meet an objective that a policy misses.

use forerunner_forecast::{PolicyKind, PolicyLimits, build};
use forerunner_sim::{Replay, Report, Trace, replay};
use serde::Serialize;

use super::{cell::Cell, study::Run, workers};

/// Stricter objectives that are tried.
const SHARES: [f64; 3] = [0.995, 0.999, 0.9999];
/// Cold starts that are tried, as parts of the present one.
const PARTS: [f64; 3] = [0.5, 0.25, 0.0];

/// A change of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A stricter share of `on_time`.
    Share(f64),
    /// More agents at least.
    Min(u32),
    /// Agents that start faster, in seconds.
    ColdStart(f64),
    /// A pool of one size.
    Fixed(u32),
}

/// A change under which the objective is met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Remedy {
    /// What changes.
    pub change: Change,
    /// Share of late tasks then.
    pub late_share: f64,
    /// The cost then.
    pub agent_hours: f64,
}

/// What would meet the objective in one cell, the cheapest change first.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// Which of the cells.
    pub cell: usize,
    /// The changes; a fixed pool is always among them.
    pub remedies: Vec<Remedy>,
}

/// Tries changes of the first policy of a cell. Of each kind the least change that meets the objective counts.
pub fn seek(trace: &Trace, cell: &Cell, run: &Run, threads: usize) -> Advice {
    let kind = run.asked.kind;
    let limits = cell.replay.limits;
    let shares = SHARES.iter().filter(|share| **share > limits.objective.share).map(|share| Change::Share(*share));
    let colds = PARTS.iter().map(|part| Change::ColdStart(limits.cold_start_s * part));
    let mins = mins(&limits, cell.least_fixed).into_iter().map(Change::Min);
    // Each kind by itself, the least change first: the first one that is enough ends it.
    let kinds: [Vec<Change>; 4] =
        [mins.collect(), colds.collect(), shares.collect(), vec![Change::Fixed(cell.least_fixed)]];
    let first = |changes: &Vec<Change>| {
        changes.iter().find_map(|change| remedy(*change, attempt(trace, &cell.replay, kind, *change)?))
    };
    let mut remedies: Vec<Remedy> = workers::map(&kinds, threads, first).into_iter().flatten().collect();
    remedies.sort_by(|a, b| a.agent_hours.total_cmp(&b.agent_hours));
    Advice { cell: run.cell, remedies }
}

/// Sizes between the present least one and the fixed pool that is enough.
fn mins(limits: &PolicyLimits, enough: u32) -> Vec<u32> {
    let steps = 4;
    let span = enough.saturating_sub(limits.min);
    let mut mins: Vec<u32> =
        (1..=steps).map(|step| limits.min + span * step / steps).filter(|min| *min > limits.min).collect();
    mins.dedup();
    mins
}

fn remedy(change: Change, report: Report) -> Option<Remedy> {
    let Report { late_share, instance_s, .. } = report;
    report.meets_objective().then_some(Remedy { change, late_share, agent_hours: instance_s / 3_600.0 })
}

/// Replays with a change. Late is what the objective that was asked for calls so.
fn attempt(trace: &Trace, settings: &Replay, kind: PolicyKind, change: Change) -> Option<Report> {
    let mut settings = Replay { timeline: false, ..settings.clone() };
    let mut kind = kind;
    let mut known = settings.limits;
    match change {
        Change::Share(share) => known.objective.share = share,
        Change::Min(min) => {
            settings.limits.min = min;
            settings.limits.max = settings.limits.max.max(min);
            known = settings.limits;
        }
        Change::ColdStart(cold_start_s) => {
            settings.limits.cold_start_s = cold_start_s;
            known = settings.limits;
        }
        Change::Fixed(size) => {
            kind = PolicyKind::Fixed(forerunner_forecast::FixedSettings { size });
            settings.limits = PolicyLimits { min: size, max: size, ..settings.limits };
            known = settings.limits;
        }
    }
    let mut policy = build(kind, known).ok()?;
    Some(replay(trace, policy.as_mut(), &settings).report)
}

#[cfg(test)]
mod tests {
    use forerunner_forecast::Objective;
    use forerunner_sim::{TraceTask, least_fixed_in};

    use super::{super::args::PolicyArg, *};

    #[test]
    fn a_pool_that_is_too_late_learns_what_would_do() {
        // Twelve tasks at once every ten minutes: no rule can know the first of them.
        let task =
            |i: u32| TraceTask { arrival_s: f64::from(i / 12) * 600.0 + 1.0, service_s: 20.0, ..TraceTask::default() };
        let trace = Trace::new("bursts", (0..120).map(task).collect()).expect("tasks");
        let limits = PolicyLimits { min: 1, max: 40, cold_start_s: 30.0, tick_s: 1.0, objective: Objective::default() };
        let settings = Replay { warm_up_s: 0.0, ..Replay::new(limits) };
        let (least_fixed, fixed) = least_fixed_in(&trace, &settings);
        let asked: PolicyArg = "utilisation".parse().expect("a policy");
        let report = replay(&trace, build(asked.kind, limits).expect("valid").as_mut(), &settings).report;
        assert!(!report.meets_objective());
        let cell = Cell {
            source: 0,
            trace: "bursts".to_owned(),
            span_s: trace.span_s(),
            replay: settings,
            least_fixed,
            perfect: fixed.clone().into(),
            work: fixed.into(),
            last_value: None,
        };
        let run = Run { cell: 0, asked, swept: false, is_today: false, report, plot: None };
        let advice = seek(&trace, &cell, &run, 2);
        let changes: Vec<Change> = advice.remedies.iter().map(|remedy| remedy.change).collect();
        assert!(changes.contains(&Change::Fixed(least_fixed)), "{changes:?}");
        assert!(changes.iter().any(|change| matches!(change, Change::Min(_) | Change::ColdStart(_))), "{changes:?}");
        assert!(advice.remedies.is_sorted_by(|a, b| a.agent_hours <= b.agent_hours));
        assert!(advice.remedies.iter().all(|remedy| remedy.late_share <= 0.01));
    }
}
