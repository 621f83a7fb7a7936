use super::{feed::Feed, shadow::ShadowTask, *};
use crate::Objective;

fn limits() -> PolicyLimits {
    PolicyLimits { min: 1, max: 50, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() }
}

fn outlook(t: f64) -> Outlook {
    Outlook {
        t,
        cold_s: 2.0,
        rates: [0.0; RATES],
        fast: 0.0,
        rising: 0.0,
        service_s: 5.0,
        still_half: 0.0,
        still_there: 0.0,
    }
}

/// The rule without a forecast, a margin or a hold: as many agents as tasks.
fn present() -> Rule {
    *rules().iter().find(|rule| rule.source == rule::Source::Present && rule.margin == 0.0).expect("it competes")
}

#[test]
fn a_shadow_pool_does_what_a_pool_would() {
    let mut shadow = Shadow::new(1);
    let task = |at, service_s| ShadowTask { at, service_s };
    // One agent: the first task starts at once, the second waits; at 1 s a second agent is asked for, ready at 3 s.
    let first = shadow.play(0.0, &[task(0.2, 4.0), task(0.4, 1.0)], &present(), &outlook(1.0), &limits());
    assert_eq!(first, Stretch { cost_s: 1.0, late: 0.0 });
    let second = shadow.play(1.0, &[], &present(), &outlook(3.5), &limits());
    assert_eq!(second, Stretch { cost_s: 5.0, late: 1.0 }, "it starts at 3 s after waiting for 2.6 s");
    // Done at 4.0 and 4.2 s; held for 30 s, then one agent goes.
    let held = shadow.play(3.5, &[], &present(), &outlook(10.0), &limits());
    assert_eq!(held, Stretch { cost_s: 13.0, late: 0.0 });
    shadow.play(10.0, &[], &present(), &outlook(40.0), &limits());
    assert_eq!(shadow.play(40.0, &[], &present(), &outlook(41.0), &limits()).cost_s, 1.0);
}

#[test]
fn durations_find_their_tasks_and_unknown_ones_are_guessed() {
    let mut feed = Feed::default();
    let mut seen = Observation { arrivals: 3, arrived: vec![(7, 0.1), (8, 0.2), (9, 0.3)], ..Observation::default() };
    feed.observe(0.0, 1.0, 0.0, &seen);
    seen = Observation { arrivals: 2, completed: vec![(8, 6.0)], ..Observation::default() };
    feed.observe(1.0, 2.0, 0.0, &seen);
    let mut out = Vec::new();
    feed.take(0.25, 20.1, &mut out, || 2.0);
    let expected = [ShadowTask { at: 0.1, service_s: 20.0 }, ShadowTask { at: 0.2, service_s: 6.0 }];
    assert_eq!(out, expected, "task 7 still runs after 20 s");
    feed.take(5.0, 20.0, &mut out, || 2.0);
    let times: Vec<_> = out.iter().map(|task| task.at).collect();
    assert_eq!(times, [0.3, 1.25, 1.75], "without times of their own arrivals are spread");
}

#[test]
fn rules_are_all_different_and_named_in_words() {
    let words: std::collections::HashSet<_> = rules().iter().map(Rule::words).collect();
    // The first is a setting of its own between those of the grid.
    assert_eq!(words.len(), rules().len());
    assert_eq!(rules()[0].words(), "60 s average, alert, margin 2.6, hold 30 s");
}
