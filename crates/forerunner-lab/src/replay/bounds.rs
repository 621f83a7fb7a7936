//! The work alone: what no policy can be below.

use std::{cmp::Reverse, collections::BinaryHeap};

use forerunner_forecast::PolicyLimits;
use forerunner_sim::{LastValue, Outcome, Replay, Report, Trace, WaitSummary, perfect_outcome, replay, service_sum_s};

use super::{
    cell::Cell,
    plot::{Plot, PlotBudget},
};

/// Name of the bound in tables and JSON.
const WORK: &str = "service-times";

/// The sum of service times: as if every task had an agent at once, and agents cost nothing but work.
///
/// Work before the end of the warm-up does not count; the peak is the most tasks at work at once. A task of a session
/// begins when the one before it ends, if that is later.
pub fn work(trace: &Trace, settings: &Replay) -> Report {
    let trace = &*trace.unblocked();
    let counted = trace.tasks().iter().filter(|task| task.arrival_s >= settings.warm_up_s).count();
    let busy_s = service_sum_s(trace, settings.warm_up_s);
    Report {
        trace: trace.name().to_owned(),
        policy: WORK.to_owned(),
        params: String::new(),
        cold_start_s: settings.limits.cold_start_s,
        objective: settings.limits.objective,
        tasks: counted as u64,
        late_share: 0.0,
        wait_s: WaitSummary::default(),
        wait_context_s: WaitSummary::default(),
        instance_s: busy_s,
        busy_s,
        peak_pool: most_at_once(trace),
        scale_actions: 0,
        reversals: 0,
        scale_ups: 0,
        scale_downs: 0,
        first_scale_up_s: None,
        first_queued_s: None,
        band_coverage: None,
    }
}

/// Draws the bounds of a cell, and the naive rule.
pub fn plot(trace: &Trace, cell: &mut Cell, budget: PlotBudget) {
    let settings = Replay { timeline: true, ..cell.replay.clone() };
    let draw = |outcome: &Outcome| Some(Plot::of(trace, outcome, Vec::new(), cell, budget));
    let perfect = draw(&perfect_outcome(trace, &settings));
    let work = draw(&at_once(trace, &settings));
    let naive =
        cell.last_value.as_ref().and_then(|_| draw(&replay(trace, &mut LastValue::new(settings.limits), &settings)));
    cell.perfect.plot = perfect;
    cell.work.plot = work;
    if let Some(bound) = &mut cell.last_value {
        bound.plot = naive;
    }
}

/// The work alone over time: agents that are there for the time of a task.
fn at_once(trace: &Trace, settings: &Replay) -> Outcome {
    let limits = PolicyLimits { min: 0, cold_start_s: 0.0, ..settings.limits };
    let mut outcome = perfect_outcome(trace, &Replay { limits, ..settings.clone() });
    outcome.waits.iter_mut().for_each(|(_, wait_s)| *wait_s = 0.0);
    outcome
}

/// Most tasks at work at once if none ever waited.
fn most_at_once(trace: &Trace) -> u32 {
    let mut ends = BinaryHeap::new();
    let mut most = 0;
    for task in trace.tasks() {
        // Times are never negative, so their bits are in their order.
        while ends.peek().is_some_and(|Reverse(end)| f64::from_bits(*end) <= task.arrival_s) {
            ends.pop();
        }
        ends.push(Reverse((task.arrival_s + task.service_s).to_bits()));
        most = most.max(ends.len());
    }
    u32::try_from(most).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use forerunner_forecast::{Objective, PolicyLimits};
    use forerunner_sim::TraceTask;

    use super::*;

    #[test]
    fn work_is_the_sum_of_service_times_after_the_warm_up() {
        let task = |(arrival_s, service_s)| TraceTask { arrival_s, service_s, ..TraceTask::default() };
        let trace =
            Trace::new("t", [(0.0, 5.0), (8.0, 4.0), (11.0, 2.0), (12.0, 1.0)].map(task).to_vec()).expect("tasks");
        let limits = PolicyLimits { min: 1, max: 9, cold_start_s: 1.0, tick_s: 1.0, objective: Objective::default() };
        let report = work(&trace, &Replay { warm_up_s: 10.0, ..Replay::new(limits) });
        assert_eq!((report.tasks, report.busy_s, report.peak_pool), (2, 5.0, 2));
    }
}
