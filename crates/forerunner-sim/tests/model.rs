//! The simulator against theory, and against cases worked by hand.

mod common;

use std::borrow::Cow;

use common::Random;
use forerunner_forecast::{
    Decision, Fixed, Objective, Observation, Policy, PolicyKind, PolicyLimits, ReasonCode, build, erlang_c,
};
use forerunner_sim::{Outcome, Replay, Trace, TraceTask, least_fixed, perfect, replay, service_sum_s};
use proptest::prelude::*;

fn task(arrival_s: f64, service_s: f64) -> TraceTask {
    TraceTask { arrival_s, service_s, ..TraceTask::default() }
}

fn limits(min: u32, max: u32, cold_start_s: f64) -> PolicyLimits {
    PolicyLimits { min, max, cold_start_s, tick_s: 1.0, objective: Objective::default() }
}

/// Wants the sizes of a table of (from second, agents), and records its observations.
struct Script {
    sizes: Vec<(f64, u32)>,
    seen: Vec<Observation>,
}

impl Policy for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn interval_s(&self) -> f64 {
        1.0
    }

    fn decide(&mut self, seen: &Observation) -> Decision {
        self.seen.push(seen.clone());
        let desired = self.sizes.iter().rev().find(|(from, _)| *from <= seen.t).map_or(0, |(_, size)| *size);
        Decision {
            desired,
            need: f64::from(desired),
            reason: ReasonCode::Fixed,
            detail: String::new(),
            rule: Cow::Borrowed("script"),
            forecast: None,
        }
    }
}

/// Replays (arrival, service) pairs against a script without warm-up.
fn scripted(tasks: &[(f64, f64)], sizes: &[(f64, u32)], cold_start_s: f64) -> (Outcome, Vec<Observation>) {
    let tasks = tasks.iter().map(|&(arrival, service)| task(arrival, service)).collect();
    let trace = Trace::new("hand", tasks).expect("some tasks");
    let mut script = Script { sizes: sizes.to_vec(), seen: Vec::new() };
    let settings = Replay { warm_up_s: 0.0, ..Replay::new(limits(sizes[0].1, 9, cold_start_s)) };
    let settings = Replay { limits: PolicyLimits { min: 0, ..settings.limits }, initial: sizes[0].1, ..settings };
    let outcome = replay(&trace, &mut script, &settings);
    (outcome, script.seen)
}

#[test]
fn waits_are_first_come_first_served() {
    // One agent, tasks of 3 s at 0.5, 1 and 2: starts at 0.5, 3.5 and 6.5, so waits of 0, 2.5 and 4.5.
    let (outcome, _) = scripted(&[(0.5, 3.0), (1.0, 3.0), (2.0, 3.0)], &[(0.0, 1)], 1.0);
    let report = outcome.report;
    assert!((report.wait_s.mean - 7.0 / 3.0).abs() < 1e-12);
    assert_eq!((report.wait_s.p50, report.wait_s.max), (2.5, 4.5));
    assert!((report.late_share - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!((report.instance_s, report.busy_s), (9.5, 9.0), "one agent until the last task has left");
    assert_eq!((report.first_queued_s, report.scale_actions), (Some(1.0), 0));
}

#[test]
fn a_new_agent_takes_work_one_cold_start_after_it_was_asked_for_and_costs_from_the_asking() {
    // The second agent starts at 2 and is ready at 5, when the second task has waited since 1.
    let (outcome, seen) = scripted(&[(0.0, 10.0), (1.0, 4.0)], &[(0.0, 1), (2.0, 2)], 3.0);
    let report = outcome.report;
    assert_eq!(report.wait_s.max, 4.0);
    assert_eq!(report.instance_s, 10.0 + 8.0);
    assert_eq!((report.scale_ups, report.first_scale_up_s, report.peak_pool), (1, Some(2.0), 2));
    let at_4 = &seen[4];
    assert_eq!((at_4.t, at_4.starting, at_4.in_flight, at_4.queue_depth), (4.0, 1, 1, 1));
}

#[test]
fn a_busy_agent_finishes_its_task_before_it_stops_and_a_rise_takes_the_stop_back() {
    // At 2 the pool should stop its agent, which works until 5. So the task of 6 waits for a new agent.
    let (outcome, seen) = scripted(&[(0.0, 5.0), (6.0, 1.0)], &[(0.0, 1), (2.0, 0), (7.0, 1)], 2.0);
    assert_eq!(outcome.report.wait_s.max, 3.0);
    assert_eq!((seen[4].draining, seen[4].in_flight), (1, 1));
    assert_eq!(outcome.report.reversals, 1);
    // Reclaimed at 4, while it works: nothing starts, and the next task gets the idle agent.
    let (outcome, _) = scripted(&[(0.0, 5.0), (6.0, 1.0)], &[(0.0, 1), (2.0, 0), (4.0, 1)], 2.0);
    assert_eq!((outcome.report.wait_s.max, outcome.report.instance_s), (0.0, 7.0));
}

#[test]
fn at_equal_times_a_completion_comes_first_then_a_ready_agent_then_an_arrival_then_the_policy() {
    // The first task ends at 4, at the time of the second arrival and of a decision.
    let (outcome, seen) = scripted(&[(0.0, 4.0), (4.0, 1.0)], &[(0.0, 1)], 1.0);
    assert_eq!(outcome.report.wait_s.max, 0.0);
    assert_eq!((seen[4].completions, seen[4].arrivals, seen[4].in_flight), (1, 1, 1));
    // An agent that starts at 1 is ready at 4 as a task arrives: the task does not wait.
    let (outcome, _) = scripted(&[(0.0, 9.0), (4.0, 1.0)], &[(0.0, 1), (1.0, 2)], 3.0);
    assert_eq!(outcome.report.wait_s.max, 0.0);
}

#[test]
fn observations_tell_what_happened_since_the_one_before() {
    let (_, seen) = scripted(&[(0.5, 1.0), (0.6, 2.0), (2.4, 1.0)], &[(0.0, 1)], 1.0);
    assert_eq!((seen[1].arrivals, seen[1].started, seen[1].queue_depth), (2, 1, 1));
    assert_eq!(seen[1].arrived, [(0, 0.5).into(), (1, 0.6).into()]);
    assert_eq!(
        (seen[2].completions, seen[2].mean_service_s, seen[2].completed.clone()),
        (1, Some(1.0), vec![(0, 1.0)])
    );
    assert_eq!((seen[2].arrivals, seen[2].late, seen[4].late), (0, 0, 1), "1.1 s from 2.4 to 3.5");
}

#[test]
fn the_warm_up_counts_neither_tasks_nor_cost() {
    let trace = Trace::new("long", (0..100).map(|i| task(f64::from(i) * 10.0, 1.0)).collect()).expect("some");
    let limits = limits(2, 2, 1.0);
    let report = replay(&trace, &mut Fixed::new(2, limits), &Replay::new(limits)).report;
    assert_eq!((report.tasks, report.instance_s, report.busy_s), (70, 2.0 * 691.0, 70.0));
}

#[test]
fn a_pool_that_is_given_up_ends_the_replay_with_late_tasks() {
    let (outcome, _) = scripted(&[(0.5, 1.0)], &[(0.0, 0)], 1.0);
    assert_eq!(outcome.report.late_share, 1.0);
}

#[test]
fn waiting_matches_erlang_c() {
    // Arrivals per second, mean seconds, agents. M/M/c: mean wait is P(wait) / (c / s - a).
    for (rate, service_s, agents) in [(1.0, 4.0, 6), (2.0, 4.0, 10), (20.0, 1.0, 23), (0.5, 1.0, 1)] {
        let (mut waited, mut sum, mut n) = (0.0, 0.0, 0.0);
        for seed in 1..=8 {
            let mut random = Random(seed);
            let mut t = 0.0;
            let mut next = || {
                t += random.exponential(1.0 / rate);
                task(t, random.exponential(service_s))
            };
            let trace = Trace::new("mmc", (0..100_000).map(|_| next()).collect()).expect("some tasks");
            // A task is late here as soon as it has to wait at all.
            let objective = Objective { share: 0.99, within_s: 0.0 };
            let limits = PolicyLimits { objective, tick_s: 3600.0, ..limits(agents, agents, 1.0) };
            let report = replay(&trace, &mut Fixed::new(agents, limits), &Replay::new(limits)).report;
            waited += report.late_share * report.tasks as f64;
            sum += report.wait_s.mean * report.tasks as f64;
            n += report.tasks as f64;
        }
        let expected = erlang_c(agents, rate * service_s);
        let expected_wait_s = expected / (f64::from(agents) / service_s - rate);
        let (p, wait_s) = (waited / n, sum / n);
        assert!((p / expected - 1.0).abs() < 0.02, "{rate}/s x {service_s} s on {agents}: {p} against {expected}");
        assert!((wait_s / expected_wait_s - 1.0).abs() < 0.03, "{agents}: {wait_s} s against {expected_wait_s} s");
    }
}

fn any_trace() -> impl Strategy<Value = Trace> {
    proptest::collection::vec((0.0..900.0f64, 0.0..40.0f64), 1..300).prop_map(|tasks| {
        Trace::new("any", tasks.into_iter().map(|(arrival, service)| task(arrival, service)).collect()).expect("some")
    })
}

fn any_kind() -> impl Strategy<Value = PolicyKind> {
    proptest::sample::select(PolicyKind::NAMES).prop_map(|name| {
        let text = if name == "fixed" { "fixed:3" } else { name };
        text.parse().expect("known")
    })
}

#[test]
fn the_bound_is_below_every_fixed_pool_that_meets_the_objective_and_above_the_work() {
    let mut random = Random(7);
    let mut t = 0.0;
    let mut next = || {
        t += random.exponential(0.5);
        task(t, random.exponential(4.0))
    };
    let trace = Trace::new("poisson", (0..4000).map(|_| next()).collect()).expect("some tasks");
    for cold_start_s in [2.0, 10.0, 30.0] {
        let limits = limits(1, 99, cold_start_s);
        let bound = perfect(&trace, &Replay::new(limits));
        let (_, fixed) = least_fixed(&trace, limits);
        assert_eq!((bound.late_share, bound.tasks), (0.0, fixed.tasks));
        assert!(bound.instance_s < fixed.instance_s, "{} {}", bound.instance_s, fixed.instance_s);
        assert!(bound.instance_s > service_sum_s(&trace, 300.0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sizes_stay_within_the_limits_and_no_task_is_lost(
        trace in any_trace(), kind in any_kind(), min in 0u32..4, more in 1u32..30, cold_start_s in 0.0..40.0f64,
    ) {
        let limits = limits(min, min + more, cold_start_s);
        let settings = Replay { warm_up_s: 0.0, timeline: true, ..Replay::new(limits) };
        let mut policy = build(kind, limits).expect("valid");
        let outcome = replay(&trace, policy.as_mut(), &settings);
        for point in &outcome.timeline {
            prop_assert!((limits.min..=limits.max).contains(&point.desired), "{point:?}");
        }
        prop_assert_eq!(outcome.report.tasks, trace.tasks().len() as u64);
        let work: f64 = trace.tasks().iter().map(|task| task.service_s).sum();
        prop_assert!((outcome.report.busy_s - work).abs() < 1e-6 * work.max(1.0));
        prop_assert!(outcome.report.instance_s >= outcome.report.busy_s - 1e-6);
    }

    #[test]
    fn the_same_trace_gives_the_same_report_byte_for_byte(trace in any_trace(), kind in any_kind()) {
        let limits = limits(1, 40, 5.0);
        let once = || {
            let mut policy = build(kind, limits).expect("valid");
            format!("{:?}", replay(&trace, policy.as_mut(), &Replay { timeline: true, ..Replay::new(limits) }))
        };
        prop_assert_eq!(once(), once());
    }
}
