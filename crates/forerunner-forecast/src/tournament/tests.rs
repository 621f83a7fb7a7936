use super::{event_feed::EventFeed, shadow::ShadowTask, *};
use proptest::prelude::*;

use crate::{Objective, announced::AnnouncedLoad, trend::Rise};

fn limits() -> PolicyLimits {
    PolicyLimits { min: 1, max: 50, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() }
}

fn inputs(t: f64) -> ForecastInputs {
    ForecastInputs {
        t,
        cold_s: 2.0,
        horizon_s: 3.0,
        rates: [0.0; RATES],
        fast: 0.0,
        rising: Rise::default(),
        by_sessions: false,
        recalled: 0.0,
        recalled_service_s: 5.0,
        service_s: 5.0,
        service_slow_s: 5.0,
        stuck: 0.0,
        is_changing: false,
        is_recovering: false,
        most_present: f64::INFINITY,
        still_half: 0.0,
        still_there: 0.0,
        dispersion: 1.0,
        levels: [0.0; levels::LEVELS],
        announced: AnnouncedLoad::default(),
    }
}

/// The rule without a forecast, a margin or a stabilization window: as many agents as tasks.
fn present() -> Rule {
    *rules().iter().find(|rule| rule.source == rule::Source::Present && rule.margin == 0.0).expect("it competes")
}

#[test]
fn a_shadow_pool_does_what_a_pool_would() {
    let (mut shadow, mut schedule, mut from) = (Shadow::new(1), Schedule::default(), None);
    let task = |at, service_s| ShadowTask { at, service_s };
    let mut played = |tasks: &[ShadowTask], to| {
        schedule.put(from.replace(slot_of(to)), |put| put.extend(tasks));
        shadow.play(&schedule, &present(), &inputs(to), &limits());
        shadow.take()
    };
    // One agent: the first task starts at once, the second waits; at 1 s a second agent is asked for, ready at 3 s.
    assert_eq!(played(&[task(0.25, 4.0), task(0.5, 1.0)], 1.0), Segment { cost_s: 1.0, late: 0.0 });
    assert_eq!(played(&[], 3.5), Segment { cost_s: 5.0, late: 1.0 }, "it starts at 3 s after waiting for 2.5 s");
    // Done at 4.0 and 4.25 s; kept for 30 s, then one agent goes.
    assert_eq!(played(&[], 10.0), Segment { cost_s: 13.0, late: 0.0 });
    played(&[], 40.0);
    assert_eq!(played(&[], 41.0).cost_s, 1.0);
}

#[test]
fn tasks_longer_than_the_ring_of_slots_end_when_they_should() {
    let (mut shadow, mut schedule, mut from) = (Shadow::new(1), Schedule::default(), None);
    let mut played = |tasks: &[ShadowTask], to| {
        schedule.put(from.replace(slot_of(to)), |put| put.extend(tasks));
        shadow.play(&schedule, &present(), &inputs(to), &limits());
        shadow.take().late
    };
    // Ten minutes, and another task that waits for the second agent until 3 s.
    assert_eq!(played(&[ShadowTask { at: 0.5, service_s: 600.0 }], 1.0), 0.0);
    let busy = (2..=600).map(|t| played(&[], f64::from(t))).sum::<f64>();
    assert_eq!(busy, 0.0);
    // The agent is still busy at 600 s and free at 600.5 s.
    assert_eq!(played(&[ShadowTask { at: 600.25, service_s: 1.0 }], 601.0), 0.0, "waited for a quarter of a second");
}

#[test]
fn durations_find_their_tasks_and_unknown_ones_are_guessed() {
    let mut feed = EventFeed::default();
    let mut seen = Observation {
        arrivals: 3,
        arrived: [(7, 0.1), (8, 0.2), (9, 0.3)].map(Into::into).to_vec(),
        ..Observation::default()
    };
    feed.observe(0.0, 1.0, 0.0, &seen);
    seen = Observation { arrivals: 2, completed: vec![(8, 6.0)], ..Observation::default() };
    feed.observe(1.0, 2.0, 0.0, &seen);
    let mut out = Vec::new();
    feed.take(0.25, 20.1, &mut out, |above_s| above_s + 2.0);
    let expected = [ShadowTask { at: 0.1, service_s: 22.0 }, ShadowTask { at: 0.2, service_s: 6.0 }];
    assert_eq!(out, expected, "task 7 still runs after 20 s");
    feed.take(5.0, 20.0, &mut out, |_| 2.0);
    let times: Vec<_> = out.iter().map(|task| task.at).collect();
    assert_eq!(times, [0.3, 1.25, 1.75], "without times of their own arrivals are spread");
}

#[test]
fn rules_are_all_different_and_named_in_words() {
    let words: std::collections::HashSet<_> = rules().iter().map(Rule::words).collect();
    // The first is a setting of its own between those of the grid.
    assert_eq!(words.len(), rules().len());
    assert_eq!(
        rules()[0].words(),
        "greatest of averages and trend, early surge detection, margin 2.5 σ, stabilisation 10 s"
    );
}

#[test]
fn only_the_first_rule_counts_on_scatter() {
    let pool = PoolState { in_flight: 20.0, ..PoolState::default() };
    let need = |rule: &Rule, dispersion| {
        rule.requirements(&pool, &ForecastInputs { rates: [4.0; RATES], dispersion, ..inputs(0.0) }).forecast
    };
    let rules = rules();
    assert!(need(&rules[0], 9.0) > need(&rules[0], 1.0), "before rules have competed");
    for rule in &rules[1..] {
        assert_eq!(need(rule, 9.0), need(rule, 1.0), "margins compete instead: {}", rule.words());
    }
}

#[test]
fn a_new_pool_does_not_take_a_surge_of_seconds_for_the_rate_of_half_a_minute() {
    let mut tournament = Tournament::new(limits(), Tuning::default());
    let inputs = |horizon_s: f64| {
        let mut rates = [0.0; RATES];
        rates[EWMA_60] = 1.0;
        ForecastInputs { fast: 9.0, rates, cold_s: horizon_s - 1.0, horizon_s, ..inputs(0.0) }
    };
    let rate = |tournament: &Tournament, horizon_s| {
        let (rate, surge) = tournament.rule().rate(&inputs(horizon_s));
        assert!(surge);
        rate
    };
    // Nine tasks a second instead of one, of which three standard deviations of five seconds are chance.
    let excess = 8.0 - 3.0 * (1.0f64 / 5.0).sqrt();
    assert!((rate(&tournament, 3.0) - (1.0 + excess)).abs() < 1e-9, "it lasts until the horizon");
    assert!((rate(&tournament, 32.0) - (1.0 + excess * 8.0 / 32.0)).abs() < 1e-9);
    tournament.scores.seconds.add(keep(1.0), 1e5);
    assert!((rate(&tournament, 32.0) - 9.0).abs() < 1e-9, "a rule that has proven itself decides alone");
}

proptest! {
    #[test]
    fn a_surge_or_a_rise_counts_the_less_the_less_a_pool_knows(
        (rate, fast) in (0.0..50.0f64, 0.0..200.0f64),
        (rising, error) in (0.0..100.0f64, 0.0..20.0f64),
        horizon_s in 1.5..120.0f64,
        unproven in 0.0..=1.0f64,
    ) {
        let rising = Rise { rate: rising, error };
        let inputs = ForecastInputs { rates: [rate; RATES], fast, rising, horizon_s, ..inputs(0.0) };
        for rule in rules() {
            let counted = |unproven| Rule { unproven, ..rule }.rate(&inputs).0;
            let (new, some, trusted) = (counted(1.0), counted(unproven), counted(0.0));
            prop_assert!(new <= some + 1e-9 && some <= trusted + 1e-9, "{new} {some} {trusted}");
            if let rule::Source::Rate(at) = rule.source {
                prop_assert!(new >= inputs.rates[at] - 1e-9, "never less than the forecast: {new}");
            }
        }
    }

    #[test]
    fn while_durations_change_rules_of_tasks_present_keep_their_margins_within_what_may_come(
        in_flight in 0u16..200,
        (rate, service_s) in (0.0..20.0f64, 0.2..60.0f64),
        still_there in 0.0..=1.0f64,
    ) {
        let pool = PoolState { in_flight: in_flight.into(), ..PoolState::default() };
        let inputs = ForecastInputs {
            rates: [rate; RATES], service_s, still_there, still_half: still_there, is_changing: true, ..inputs(0.0)
        };
        for rule in rules().iter().filter(|rule| !matches!(rule.source, rule::Source::Rate(_) | rule::Source::Greatest)) {
            let Requirements { forecast, basis, .. } = rule.requirements(&pool, &inputs);
            let arrivals = rate * inputs.horizon_s;
            let most = pool.in_system() + arrivals + (1.0 - 0.6 * still_there) * arrivals.sqrt();
            let margin = match rule.source {
                rule::Source::Spares => rule.margin,
                _ => rule.margin * basis.max(1.0).sqrt(),
            };
            prop_assert!(forecast >= (basis + margin).min(most) - 1e-9, "{forecast} of {basis} and {margin}");
            prop_assert!(forecast <= most + 1e-9, "{forecast} of {most}");
        }
    }

    #[test]
    fn a_backlog_asks_for_the_less_the_less_a_pool_knows_and_never_for_more_than_may_come(
        (waiting, in_flight, ready, starting) in (0u16..500, 0u16..200, 0u16..50, 0u16..200),
        (rate, service_s, cold_s) in (0.0..20.0f64, 0.2..60.0f64, 0.5..60.0f64),
        unproven in 0.0..=1.0f64,
    ) {
        let pool = PoolState {
            waiting: waiting.into(), in_flight: in_flight.into(), ready: ready.into(), starting: starting.into(), draining: 0.0,
        };
        let inputs = ForecastInputs { rates: [rate; RATES], service_s, cold_s, horizon_s: cold_s + 1.0, ..inputs(0.0) };
        for rule in rules().iter().step_by(17) {
            let backlog = |unproven| Rule { unproven, ..*rule }.requirements(&pool, &inputs).backlog;
            let (new, some, trusted) = (backlog(1.0), backlog(unproven), backlog(0.0));
            prop_assert!(new <= some + 1e-9 && some <= trusted + 1e-9, "{new} {some} {trusted}");
            let arrivals = rate * (cold_s + 1.0);
            let most = pool.in_system() + arrivals + rule.margin * (rule.most_dispersion * arrivals).sqrt();
            prop_assert!(trusted <= most + 1e-9, "{trusted} of {most}");
        }
    }
}

#[test]
fn after_a_stall_no_rule_asks_for_an_agent_for_each_task_that_waits() {
    let pool = PoolState { waiting: 120.0, in_flight: 40.0, ..PoolState::default() };
    let usual = ForecastInputs { service_s: 2.0, rates: [3.0; RATES], ..inputs(0.0) };
    let need = |inputs: &ForecastInputs| present().requirements(&pool, inputs).forecast;
    assert_eq!(need(&usual), 160.0);
    // The load is six Erlang, and nothing of what is there is left at the horizon.
    let recovering = need(&ForecastInputs { is_recovering: true, ..usual });
    assert!((6.0..12.0).contains(&recovering), "{recovering}");
}

#[test]
fn a_guess_is_longer_than_the_task_has_lasted() {
    let mut turn = 0;
    let recent = [1.0, 2.0, 30.0];
    assert_eq!(guess(&mut turn, &recent, 10.0, 5.0), 30.0);
    assert_eq!(guess(&mut turn, &recent, 0.0, 5.0), 1.0, "each in turn");
    assert_eq!(guess(&mut turn, &recent, 40.0, 5.0), 60.0, "none was as long: half as much again");
    assert_eq!(guess(&mut turn, &[], 2.0, 5.0), 5.0);
}
