//! The near-lower bound: a pool whose planner knows the future.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
};

use forerunner_forecast::PolicyLimits;

use crate::{
    engine::{Outcome, Replay},
    report::{Report, TimelinePoint},
    report_builder::ReportBuilder,
    trace::{Trace, TraceTask},
};

/// The cost of a planner that knows the arrivals one cold start ahead and every service time.
///
/// Every task starts within the objective's time. An agent starts one cold start before its first task. It stays over
/// an idle gap only if the gap is shorter than a cold start; otherwise a new agent costs less. The agent that became
/// idle last is used first, so that the others can stop. Of three ways to assign tasks the cheapest is used: no task
/// ever waits; a task waits, as long as the objective allows, only when no agent is idle; or whenever that saves idle
/// time. [`Report::params`] names the way, unless the caller gave its own description.
///
/// Not the least possible cost: it is greedy, and it starts all tasks on time where the objective would allow a share
/// to be late. No rule without knowledge of the future has cost less while it met the objective. `min` agents are paid
/// for throughout, `max` does not apply. A task of a session arrives when the one before it ends, if that is later. Cost and tasks are counted as in [`replay`](crate::replay), from
/// `settings.warm_up_s` to the last completion. Deterministic, in time proportional to `n log n`.
pub fn perfect(trace: &Trace, settings: &Replay) -> Report {
    perfect_outcome(trace, settings).report
}

/// The same, with the state at every tick and the wait of each task if [`Replay::timeline`] asks for them.
pub fn perfect_outcome(trace: &Trace, settings: &Replay) -> Outcome {
    let trace = &*trace.unblocked();
    let [first, others @ ..] = [Waiting::Never, Waiting::NoneIdle, Waiting::Allowed];
    let outcome = |waiting| Plan::make(trace.tasks(), waiting, settings).outcome(trace, waiting, settings);
    others
        .into_iter()
        .map(outcome)
        .fold(outcome(first), |best, other| if other.report.instance_s < best.report.instance_s { other } else { best })
}

/// Sum of the service times that fall after `warm_up_s`, were every task to start as it arrives, in agent-seconds: what
/// the work itself costs, without a cold start and without an idle second.
pub fn service_sum_s(trace: &Trace, warm_up_s: f64) -> f64 {
    let counted = |task: &TraceTask| (task.arrival_s + task.service_s - task.arrival_s.max(warm_up_s)).max(0.0);
    trace.unblocked().tasks().iter().map(counted).sum()
}

/// When a task may wait for an agent that is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Never,
    NoneIdle,
    Allowed,
}

impl Waiting {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "no task waits",
            Self::NoneIdle => "a task waits if no agent is idle",
            Self::Allowed => "a task waits whenever allowed",
        }
    }
}

/// When agents became free, or will: how many at each time. The bits of times of at least 0 sort like the times.
#[derive(Default)]
struct FreeTimes(BTreeMap<u64, u32>);

impl FreeTimes {
    fn add(&mut self, at: f64) {
        *self.0.entry(at.to_bits()).or_default() += 1;
    }

    /// Removes the agent that is free last of those free at or before `by`, if that is after `since`.
    fn remove_last(&mut self, since: f64, by: f64) -> Option<f64> {
        let (&bits, _) = self.0.range(..=by.to_bits()).next_back()?;
        self.remove(bits).filter(|&at| at > since)
    }

    /// Removes the agent that is free first of those free after `since`, if that is at or before `by`.
    fn remove_next(&mut self, since: f64, by: f64) -> Option<f64> {
        let (&bits, _) = self.0.range((Excluded(since.to_bits()), Included(by.to_bits()))).next()?;
        self.remove(bits)
    }

    fn remove(&mut self, bits: u64) -> Option<f64> {
        let count = self.0.get_mut(&bits)?;
        *count -= 1;
        if *count == 0 {
            self.0.remove(&bits);
        }
        Some(f64::from_bits(bits))
    }
}

/// A change of the pool at a time: agents more or fewer, and of those with a task.
struct Change {
    at: f64,
    agents: i64,
    busy: i64,
}

/// Who starts when, and what that means for the pool.
struct Plan {
    /// Start of each task, in the order of arrival.
    starts: Vec<f64>,
    changes: Vec<Change>,
}

impl Plan {
    fn make(tasks: &[TraceTask], waiting: Waiting, settings: &Replay) -> Self {
        let (cold_start_s, within_s) = (settings.limits.cold_start_s, settings.limits.objective.within_s);
        let mut free = FreeTimes::default();
        let mut plan = Self { starts: Vec::with_capacity(tasks.len()), changes: Vec::with_capacity(3 * tasks.len()) };
        for task in tasks {
            let (now, kept_since) = (task.arrival_s, task.arrival_s - cold_start_s);
            let agent = match waiting {
                Waiting::Never => free.remove_last(kept_since, now),
                Waiting::NoneIdle => {
                    free.remove_last(kept_since, now).or_else(|| free.remove_next(now, now + within_s))
                }
                Waiting::Allowed => free.remove_last(kept_since, now + within_s),
            };
            let start = agent.map_or(now, |at| at.max(now));
            let end = start + task.service_s;
            // Every agent stops when its task ends. An agent that is used again starts again at that moment.
            plan.change(agent.unwrap_or((now - cold_start_s).max(0.0)), 1, 0);
            plan.change(start, 0, 1);
            plan.change(end, -1, -1);
            plan.starts.push(start);
            free.add(end);
        }
        plan.changes.sort_by(|a, b| a.at.total_cmp(&b.at));
        plan
    }

    fn change(&mut self, at: f64, agents: i64, busy: i64) {
        self.changes.push(Change { at, agents, busy });
    }

    fn outcome(&self, trace: &Trace, waiting: Waiting, settings: &Replay) -> Outcome {
        let report = self.report(trace, waiting, settings);
        if !settings.timeline {
            return Outcome { report, timeline: Vec::new(), waits: Vec::new() };
        }
        let wait = |(task, start): (&TraceTask, &f64)| (task.arrival_s, start - task.arrival_s);
        let waits = trace.tasks().iter().zip(&self.starts).map(wait).collect();
        Outcome { report, timeline: self.timeline(&settings.limits), waits }
    }

    /// The state at every tick. Nobody waits at a tick for longer than the objective allows, so the queue is left empty.
    fn timeline(&self, limits: &PolicyLimits) -> Vec<TimelinePoint> {
        let (mut agents, mut busy, mut next) = (0i64, 0i64, 0);
        let ticks = self.changes.last().map_or(0, |last| (last.at / limits.tick_s).ceil() as u64 + 1);
        let point = |tick: u64| {
            let t = tick as f64 * limits.tick_s;
            while let Some(change) = self.changes.get(next).filter(|change| change.at <= t) {
                agents += change.agents;
                busy += change.busy;
                next += 1;
            }
            let desired = limits.min.max(agents as u32);
            let busy = busy as u32;
            TimelinePoint { t, desired, ready: desired - busy, busy, ..TimelinePoint::default() }
        };
        (0..ticks).map(point).collect()
    }

    fn report(&self, trace: &Trace, waiting: Waiting, settings: &Replay) -> Report {
        let mut builder = ReportBuilder::new(trace.tasks().len(), 0);
        for (task, &start) in trace.tasks().iter().zip(&self.starts) {
            builder.record_start(task.arrival_s, task.arrival_s, start, settings);
        }
        self.count_cost(&mut builder, settings.warm_up_s, settings.limits.min);
        let how = waiting.as_str().to_owned();
        let params = if settings.params.is_empty() { how } else { settings.params.clone() };
        Report { params, ..builder.report(trace.name(), "perfect", settings) }
    }

    /// Adds up cost and sizes; where the plan needs fewer than `min` agents, the others are idle.
    fn count_cost(&self, builder: &mut ReportBuilder, warm_up_s: f64, min: u32) {
        let (mut now, mut agents, mut busy) = (0.0f64, 0i64, 0i64);
        let mut size = min;
        for together in self.changes.chunk_by(|a, b| a.at == b.at) {
            let at = together[0].at;
            builder.cost((at - now.max(warm_up_s)).max(0.0), size, busy as u32);
            agents += together.iter().map(|change| change.agents).sum::<i64>();
            busy += together.iter().map(|change| change.busy).sum::<i64>();
            debug_assert!((0..=agents).contains(&busy));
            let after = min.max(agents as u32);
            if after != size {
                builder.record_change(at, size, after);
                builder.record_size(after);
            }
            (now, size) = (at, after);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forerunner_forecast::Objective;

    /// The bound for (arrival, service) pairs, without warm-up, at a floor of `min` agents and 1 s allowed.
    fn bound(tasks: &[(f64, f64)], cold_start_s: f64, min: u32) -> Report {
        bound_within(1.0, tasks, cold_start_s, min)
    }

    fn bound_within(within_s: f64, tasks: &[(f64, f64)], cold_start_s: f64, min: u32) -> Report {
        let task = |&(arrival_s, service_s): &(f64, f64)| TraceTask { arrival_s, service_s, ..TraceTask::default() };
        let trace = Trace::new("hand", tasks.iter().map(task).collect()).expect("some tasks");
        let objective = Objective { within_s, ..Objective::default() };
        let limits = PolicyLimits { min, max: 9, cold_start_s, tick_s: 1.0, objective };
        perfect(&trace, &Replay { warm_up_s: 0.0, ..Replay::new(limits) })
    }

    #[test]
    fn an_agent_costs_a_cold_start_and_its_work() {
        let report = bound(&[(100.0, 7.0)], 10.0, 0);
        assert_eq!((report.instance_s, report.busy_s, report.peak_pool), (17.0, 7.0, 1));
        assert_eq!((report.scale_ups, report.scale_downs, report.first_scale_up_s), (1, 1, Some(90.0)));
        assert_eq!(report.late_share, 0.0);
    }

    #[test]
    fn a_gap_shorter_than_a_cold_start_is_bridged_and_a_longer_one_is_not() {
        // Idle from 105 to 112: 7 s against 10 s for a new agent.
        assert_eq!(bound(&[(100.0, 5.0), (112.0, 5.0)], 10.0, 0).instance_s, 10.0 + 5.0 + 7.0 + 5.0);
        // Idle from 105 to 120 would cost 15 s.
        assert_eq!(bound(&[(100.0, 5.0), (120.0, 5.0)], 10.0, 0).instance_s, 2.0 * 15.0);
    }

    #[test]
    fn the_agent_that_became_idle_last_goes_first() {
        // Free at 104 and 106; the task of 107 uses the second, so that the first can stop.
        let report = bound(&[(100.0, 4.0), (100.0, 6.0), (107.0, 1.0)], 10.0, 0);
        assert_eq!(report.instance_s, 2.0 * 10.0 + 4.0 + 6.0 + 1.0 + 1.0);
    }

    #[test]
    fn waiting_within_the_objective_saves_an_agent() {
        let report = bound(&[(100.0, 5.0), (104.2, 5.0)], 10.0, 0);
        assert_eq!((report.peak_pool, report.instance_s), (1, 20.0));
        assert!((report.wait_s.max - 0.8).abs() < 1e-9 && report.late_share == 0.0);
        assert_eq!(report.params, "a task waits if no agent is idle");
        // Two seconds would be too long.
        assert_eq!(bound(&[(100.0, 5.0), (103.0, 5.0)], 10.0, 0).peak_pool, 2);
    }

    #[test]
    fn where_tasks_are_to_start_at_once_none_waits() {
        let report = bound_within(0.0, &[(100.0, 5.0), (104.2, 5.0)], 10.0, 0);
        assert_eq!((report.peak_pool, report.wait_s.max, report.late_share), (2, 0.0, 0.0));
    }

    #[test]
    fn waiting_though_an_agent_is_idle_saves_keeping_it() {
        // Free at 101 and 110. The task of 109.5 waits for the second, so that the first need not stay for 8.5 s.
        let report = bound(&[(98.0, 3.0), (99.0, 11.0), (109.5, 2.0)], 10.0, 0);
        assert_eq!((report.instance_s, report.wait_s.max), (2.0 * 10.0 + 3.0 + 13.0, 0.5));
        assert_eq!(report.params, "a task waits whenever allowed");
    }

    #[test]
    fn the_floor_is_paid_for_where_the_plan_does_with_less() {
        // One agent from 0 to 115; a second while both tasks of 100 run and one cold start before.
        let report = bound(&[(100.0, 5.0), (100.0, 15.0)], 10.0, 1);
        assert_eq!((report.instance_s, report.busy_s), (115.0 + 15.0, 20.0));
    }

    #[test]
    fn warm_up_is_not_counted_and_neither_is_work_in_it() {
        let tasks = [(290.0, 20.0), (400.0, 5.0)].map(|(arrival_s, service_s)| TraceTask {
            arrival_s,
            service_s,
            ..TraceTask::default()
        });
        let trace = Trace::new("hand", tasks.to_vec()).expect("some tasks");
        let limits = PolicyLimits { min: 0, max: 9, cold_start_s: 10.0, tick_s: 1.0, objective: Objective::default() };
        let report = perfect(&trace, &Replay::new(limits));
        assert_eq!((report.tasks, report.instance_s, report.busy_s), (1, 10.0 + 15.0, 15.0));
        assert_eq!(service_sum_s(&trace, 300.0), 15.0);
    }
}
