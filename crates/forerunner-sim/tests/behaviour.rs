//! What the policies promise, shown on made-up loads in virtual time.

mod common;
#[path = "common/load.rs"]
mod made;

use forerunner_forecast::{Objective, PolicyKind, PolicyLimits, UtilisationSettings, build};
use forerunner_sim::{Outcome, Replay, Trace, TraceTask, replay};
use made::load;

fn limits(cold_start_s: f64) -> PolicyLimits {
    PolicyLimits { min: 1, max: 200, cold_start_s, tick_s: 1.0, objective: Objective::default() }
}

/// Replays from `initial` agents that suffice at the begin, so that what is seen is the change and not the start.
fn run(trace: &Trace, kind: PolicyKind, limits: PolicyLimits, initial: u32) -> Outcome {
    let mut policy = build(kind, limits).expect("valid");
    replay(trace, policy.as_mut(), &Replay { initial, timeline: true, ..Replay::new(limits) })
}

/// Arrivals at `rate(t)` evenly spaced, all of `service(t)` seconds: without chance, a queue means too few agents.
fn even_load(name: &str, span_s: f64, rate: impl Fn(f64) -> f64, service: impl Fn(f64) -> f64) -> Trace {
    let (mut t, mut tasks) = (0.0, Vec::new());
    while t < span_s {
        let service_s = service(t);
        tasks.push(TraceTask { arrival_s: t, service_s, ..TraceTask::default() });
        t += 1.0 / rate(t);
    }
    Trace::new(name, tasks).expect("some tasks")
}

/// When the pool first wanted more than ever in the four minutes of constant load before `from_s`.
fn first_growth(outcome: &Outcome, from_s: f64) -> f64 {
    let settled = outcome.timeline.iter().filter(|p| (from_s - 240.0..from_s).contains(&p.t)).map(|p| p.desired).max();
    let grown = outcome.timeline.iter().find(|p| p.t >= from_s && Some(p.desired) > settled);
    grown.map_or(f64::INFINITY, |p| p.t)
}

/// When tasks first waited at a tick from `from_s` on.
fn first_queue(outcome: &Outcome, from_s: f64) -> f64 {
    outcome.timeline.iter().find(|p| p.t >= from_s && p.depth > 0).map_or(f64::INFINITY, |p| p.t)
}

/// Two tasks a second for five minutes, then rising to twenty within two minutes: at first the load doubles within
/// one cold start of 20 s, so that no rule without foresight of the ramp itself can be on time throughout.
fn ramp(t: f64) -> f64 {
    2.0 + ((t - 300.0) / 120.0).clamp(0.0, 1.0) * 18.0
}

fn reactive() -> PolicyKind {
    PolicyKind::Utilisation(UtilisationSettings::default())
}

#[test]
fn on_a_ramp_the_predictive_pool_grows_before_the_queue_does_and_the_utilisation_rule_is_late() {
    let trace = even_load("ramp", 720.0, ramp, |_| 5.0);
    let predictive = run(&trace, PolicyKind::default(), limits(20.0), 14);
    let utilisation = run(&trace, reactive(), limits(20.0), 14);

    let (grew, queued) = (first_growth(&predictive, 300.0), first_queue(&predictive, 300.0));
    assert!(grew + 5.0 < queued, "grew at {grew}, queue at {queued}");
    let (ours, theirs) = (predictive.report.late_share, utilisation.report.late_share);
    assert!(theirs > 0.2 && ours < 0.2 * theirs, "late {ours} against {theirs}");
}

#[test]
fn on_a_ramp_of_chance_arrivals_at_most_a_fifth_as_many_tasks_are_late() {
    for seed in 1..=5 {
        let trace = load("ramp", seed, 720.0, 20.0, ramp, |_| 5.0);
        let ours = run(&trace, PolicyKind::default(), limits(20.0), 14).report.late_share;
        let theirs = run(&trace, reactive(), limits(20.0), 14).report.late_share;
        assert!(theirs > 0.2 && ours < 0.2 * theirs, "seed {seed}: late {ours} against {theirs}");
    }
}

#[test]
fn slower_completions_at_constant_arrivals_grow_the_pool_before_a_backlog_forms() {
    // Three tasks per second throughout; from minute 15 on their duration grows, from 4 s to 12 s within 25 minutes.
    let slower = |t: f64| 4.0 + ((t - 900.0) / 1500.0).clamp(0.0, 1.0) * 8.0;
    let trace = even_load("slowdown", 2700.0, |_| 3.0, slower);
    let outcome = run(&trace, PolicyKind::default(), limits(10.0), 20);
    let grew = first_growth(&outcome, 900.0);
    assert!(grew < 1200.0, "grew at {grew}, when tasks take 5.6 s");
    assert_eq!(first_queue(&outcome, 900.0), f64::INFINITY, "nothing ever waits");
    let wanted = |t: f64| outcome.timeline.iter().find(|p| p.t >= t).map(|p| p.desired).expect("within the trace");
    assert!(wanted(2650.0) > 2 * wanted(890.0), "{} agents, then {}", wanted(890.0), wanted(2650.0));
}

#[test]
fn a_burst_out_of_nothing_is_answered_within_a_tick_and_let_go_afterwards() {
    let burst = |t: f64| if (900.0..930.0).contains(&t) { 20.0 } else { 1.0 };
    let trace = load("burst", 7, 2400.0, 20.0, burst, |_| 4.0);
    let outcome = run(&trace, PolicyKind::default(), limits(5.0), 10);
    let at = |t: f64| outcome.timeline.iter().find(|p| p.t >= t).expect("within the trace").desired;
    assert!(at(903.0) > 2 * at(899.0), "{} then {}", at(899.0), at(903.0));
    assert!(at(1500.0) < at(930.0) / 2, "{} then {}", at(930.0), at(1500.0));
}

#[test]
fn a_higher_objective_costs_more_and_makes_fewer_tasks_late() {
    let wave = |t: f64| 4.0 + 3.0 * (t / 600.0).sin();
    let trace = load("wave", 3, 7200.0, 7.0, wave, |_| 5.0);
    let reports = [0.9, 0.97, 0.995].map(|share| {
        let limits = PolicyLimits { objective: Objective { share, within_s: 1.0 }, ..limits(10.0) };
        run(&trace, PolicyKind::default(), limits, 20).report
    });
    assert!(reports.windows(2).all(|pair| pair[0].late_share >= pair[1].late_share));
    assert!(reports.windows(2).all(|pair| pair[0].instance_s < pair[1].instance_s));
}
