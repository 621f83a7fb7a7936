//! Load at the same time of each day, replayed with and without the calendar.

mod common;
#[path = "common/load.rs"]
mod made;

use forerunner_forecast::{Objective, Observation, Policy, PolicyLimits, Predictive, PredictiveSettings};
use forerunner_sim::{Outcome, Replay, Trace, replay};
use made::load;

const DAY_S: f64 = 86_400.0;
const NINE_S: f64 = 9.0 * 3_600.0;
/// When the third day is replayed from.
const FROM_S: f64 = NINE_S - 900.0;

/// Tasks a second: two for twenty minutes from nine on, else hardly any.
fn rate(t: f64) -> f64 {
    if (NINE_S..NINE_S + 1_200.0).contains(&t.rem_euclid(DAY_S)) { 2.0 } else { 0.003 }
}

fn policy(tick_s: f64) -> Predictive {
    Predictive::new(PredictiveSettings::default(), limits(tick_s)).expect("defaults are in range")
}

fn limits(tick_s: f64) -> PolicyLimits {
    PolicyLimits { min: 1, max: 60, cold_start_s: 20.0, tick_s, objective: Objective::default() }
}

/// The saved state of a policy that has observed two such days, every five minutes.
fn two_days() -> String {
    const LOOK_S: f64 = 300.0;
    let mut policy = policy(LOOK_S);
    let mut t = 0.0;
    while t < 2.0 * DAY_S {
        let tasks = (LOOK_S * rate(t)) as u64;
        // Arrivals of an observation precede its time.
        t += LOOK_S;
        let seen = Observation {
            t: t - LOOK_S,
            arrivals: tasks,
            completions: tasks,
            started: tasks,
            mean_service_s: (tasks > 0).then_some(5.0),
            completed: (0..tasks).map(|task| (task, 2.5 + (task % 6) as f64)).collect(),
            ready: 12,
            ..Observation::default()
        };
        policy.decide(&seen);
    }
    policy.save().expect("it has a memory")
}

/// Replays the third day from a while before nine on, by a policy that was started anew with what was saved at midnight.
fn third_day(trace: &Trace, saved: &str) -> Outcome {
    let mut policy = policy(1.0);
    assert!(policy.restore(saved, FROM_S));
    replay(trace, &mut policy, &Replay { timeline: true, ..Replay::new(limits(1.0)) })
}

/// Share of late tasks among those of the first five minutes after nine.
fn late_at_nine(outcome: &Outcome) -> f64 {
    let nine_s = NINE_S - FROM_S;
    let waits = outcome.waits.iter().filter(|(at_s, _)| (nine_s..nine_s + 300.0).contains(at_s));
    let (n, late) = waits.fold((0.0, 0.0), |(n, late), (_, s)| (n + 1.0, late + if *s > 1.0 { 1.0 } else { 0.0 }));
    assert!(n > 300.0, "{n} tasks");
    late / n
}

#[test]
fn a_jump_at_nine_is_met_on_the_third_day_after_a_restart() {
    let trace = load("nine", 5, 1_500.0, 2.0, |t| rate(FROM_S + t), |_| 5.0);
    let saved = two_days();
    let mut old: serde_json::Value = serde_json::from_str(&saved).expect("JSON");
    assert!(old.as_object_mut().expect("an object").remove("calendar").is_some());
    let (with, without) = (third_day(&trace, &saved), third_day(&trace, &old.to_string()));
    let (late, before) = (late_at_nine(&with), late_at_nine(&without));
    println!("late in the five minutes after nine: {:.2} %, without a calendar {:.2} %", 100.0 * late, 100.0 * before);
    println!("agent-seconds: {:.0}, without {:.0}", with.report.instance_s, without.report.instance_s);
    assert!(before > 0.03, "a jump surprises: {before}");
    assert!(late < 0.25 * before, "{late} against {before}");
    // Agents that are there a minute and a half before are all that it may cost.
    assert!(with.report.instance_s < without.report.instance_s + 90.0 * f64::from(with.report.peak_pool));
    let at = |t: f64| with.timeline.iter().position(|point| point.t >= t).expect("within the trace");
    let (calm, nine) = (at(NINE_S - FROM_S - 120.0), at(NINE_S - FROM_S));
    assert_eq!(with.timeline[..calm], without.timeline[..calm], "until then both decide alike");
    assert!(with.timeline[nine].ready >= 10, "{:?}", with.timeline[nine]);
}
