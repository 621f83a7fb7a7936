use super::*;
use crate::Objective;
use proptest::prelude::*;

fn limits() -> PolicyLimits {
    PolicyLimits { min: 1, max: 200, cold_start_s: 10.0, tick_s: 1.0, objective: Objective::default() }
}

fn policy() -> Predictive {
    Predictive::new(PredictiveSettings::default(), limits()).expect("defaults are in range")
}

/// One second in which `n` tasks come and go, `service_s` each, on a pool that just suffices.
fn second(t: f64, n: u64, service_s: f64) -> Observation {
    let busy = (n as f64 * service_s) as u32;
    Observation {
        t,
        arrivals: n,
        completions: n,
        mean_service_s: Some(service_s),
        completed: (0..n).map(|i| (i, service_s)).collect(),
        started: n,
        in_flight: busy,
        ready: 2,
        ..Observation::default()
    }
}

fn run(policy: &mut Predictive, from: u32, to: u32, n: u64) -> Decision {
    (from..=to).map(|t| policy.decide(&second(f64::from(t), n, 5.0))).last().expect("at least one second")
}

#[test]
fn a_steady_load_gets_its_offered_load_and_a_margin() {
    let decision = run(&mut policy(), 0, 900, 4);
    assert!((20..=32).contains(&decision.desired), "20 Erlang: {decision:?}");
    let forecast = decision.forecast.expect("it forecasts");
    assert!((forecast.rate_per_s - 4.0).abs() < 0.1 && (forecast.service_s - 5.0).abs() < 0.1, "{forecast:?}");
    assert!((forecast.completion_rate_per_s - 4.0).abs() < 0.1 && forecast.depth < 1.0, "{forecast:?}");
    assert!(decision.detail.starts_with("4.0 tasks/s expected in 11.0 s (band "), "{}", decision.detail);
}

#[test]
fn the_first_second_is_sized_for_what_it_brings() {
    let first = Observation { t: 0.0, arrivals: 10, queue_depth: 10, ready: 1, ..Observation::default() };
    let decision = policy().decide(&first);
    assert!(decision.desired >= 10, "{decision:?}");
    let idle = policy().decide(&Observation { ready: 1, ..Observation::default() });
    assert_eq!((idle.desired, idle.reason), (1, ReasonCode::Learning), "nothing came, so nothing changes");
}

#[test]
fn it_rises_at_once_and_falls_after_the_hold() {
    let mut policy = policy();
    let before = run(&mut policy, 0, 600, 2).desired;
    let peak = run(&mut policy, 601, 640, 8).desired;
    assert!(peak > 2 * before, "{before} then {peak}");
    let after = policy.decide(&second(641.0, 2, 5.0));
    assert!(after.desired >= peak - 1, "held: {after:?}");
    let after = run(&mut policy, 642, 3000, 2);
    assert!(after.desired <= before + 3, "let go: {after:?}");
}

#[test]
fn shadow_pools_lower_the_cost_of_a_calm_load_and_price_other_objectives() {
    let mut policy = policy();
    let before = run(&mut policy, 0, 120, 4);
    let after = run(&mut policy, 121, 1800, 4);
    assert!(after.desired <= before.desired && after.rule != before.rule, "{before:?} then {after:?}");
    let prices = policy.what_if(&[0.5, 0.99, 0.999]);
    assert!(prices.iter().all(|price| price.reachable), "{prices:?}");
    assert!(prices.windows(2).all(|pair| pair[0].agents <= pair[1].agents), "{prices:?}");
    assert!((15.0..40.0).contains(&prices[1].agents), "20 Erlang: {prices:?}");
    assert!(self::policy().what_if(&[0.99]).is_empty(), "nothing is known yet");
    assert!(policy.save().expect("it has a memory").len() < 200_000);
}

/// An hour of 4 tasks/s of 5 s, as saved.
fn an_hour() -> String {
    let mut policy = policy();
    run(&mut policy, 0, 3_600, 4);
    policy.save().expect("it has a memory")
}

#[test]
fn a_new_policy_that_is_taught_knows_the_rules_and_the_rates_and_keeps_its_size() {
    let mut taught = policy();
    taught.decide(&Observation { t: 0.0, ready: 1, ..Observation::default() });
    assert!(taught.teach(&an_hour(), 30.0));
    assert!(taught.learned_tasks() > 14_000, "{}", taught.learned_tasks());
    let first = taught.decide(&second(0.0, 4, 5.0));
    assert!(!first.detail.contains("still learning"), "{}", first.detail);
    assert!((20..=30).contains(&first.desired), "20 Erlang: {first:?}");
}

#[test]
fn a_policy_that_sees_its_own_load_is_taught_rules_and_keeps_rates_durations_and_size() {
    let mut known = policy();
    for t in 0..120 {
        known.decide(&second(f64::from(t), 1, 2.0));
    }
    let before = known.learned.desired;
    assert!(known.teach(&an_hour(), 0.0));
    assert_eq!(known.learned.desired, before);
    let after = known.decide(&second(0.0, 1, 2.0));
    let forecast = after.forecast.expect("it forecasts");
    assert!(forecast.rate_per_s < 1.5, "its own rate: {forecast:?}");
    assert!(!after.detail.contains("still learning"), "{}", after.detail);
}

#[test]
fn a_pool_adopts_durations_of_another_one_and_no_rates() {
    let mut other = policy();
    assert!(other.adopt(&an_hour()));
    let arrival = Observation { t: 0.0, arrivals: 1, queue_depth: 1, ready: 1, ..Observation::default() };
    let forecast = other.decide(&arrival).forecast.expect("it forecasts");
    assert!((forecast.service_s - 5.0).abs() < 0.2 && forecast.rate_per_s < 2.0, "{forecast:?}");
    let mut busy = policy();
    for t in 0..9_000 {
        busy.decide(&second(f64::from(t), 2, 1.0));
    }
    assert!(busy.adopt(&an_hour()));
    assert!((busy.learned.service.mean_s() - 1.0).abs() < 0.1, "it has seen more tasks itself");
}

#[test]
fn text_that_cannot_be_read_teaches_nothing() {
    let mut policy = policy();
    run(&mut policy, 0, 60, 4);
    let before = policy.save();
    for text in ["", "{}", "null", &an_hour()[..900]] {
        assert!(!policy.teach(text, 0.0) && !policy.adopt(text), "{text}");
    }
    assert_eq!(policy.save(), before);
}

#[test]
fn a_restart_neither_forgets_nor_shrinks_the_pool() {
    let mut before = policy();
    let desired = run(&mut before, 0, 600, 6).desired;
    let saved = before.save().expect("it has a memory");
    assert!(saved.starts_with("{\"version\":4,"), "{}", &saved[..40]);
    let mut after = policy();
    assert!(after.restore(&saved, 120.0));
    let quiet = Observation { t: 1.0, ready: desired, ..Observation::default() };
    assert!(after.decide(&quiet).desired >= desired, "one quiet second after a gap of two minutes is no lull");
    let still = after.decide(&Observation { t: 50.0, ..quiet });
    assert!(still.desired >= desired, "nor are fifty: {still:?}");
    // Thirty tasks are on agents.
    let again = run(&mut after, 51, 110, 6);
    assert!(again.desired >= 30 && (again.forecast.expect("set").service_s - 5.0).abs() < 0.1, "{again:?}");
}

#[test]
fn a_pool_with_few_tasks_shrinks_again() {
    let mut policy = policy();
    let burst = Observation { t: 0.0, arrivals: 10, queue_depth: 10, ready: 1, ..Observation::default() };
    assert!(policy.decide(&burst).desired >= 10);
    let done = Observation { t: 8.0, completions: 10, mean_service_s: Some(4.0), ready: 11, ..Observation::default() };
    assert!(policy.decide(&done).desired >= 10, "too little is known");
    let quiet = |t| Observation { t, ready: 11, ..Observation::default() };
    let last = (9..2000).map(|t| policy.decide(&quiet(f64::from(t))).desired).last();
    assert_eq!(last, Some(1));
}

/// As seen with rules that retain a spare agent, or have a long stabilisation time, and come into charge hours after
/// the last task.
#[test]
fn an_empty_pool_stays_empty_without_a_task_whichever_rule_comes_into_charge() {
    let empty = PolicyLimits { min: 0, ..limits() };
    let mut policy = Predictive::new(PredictiveSettings::default(), empty).expect("valid");
    let mut ready = run(&mut policy, 0, 400, 4).desired;
    let quiet = |t: u32, ready| Observation { t: f64::from(t), ready, ..Observation::default() };
    let mut now = 400;
    while ready > 0 {
        now += 1;
        ready = policy.decide(&quiet(now, ready)).desired;
        assert!(now < 4_000, "it is let go empty");
    }
    let mut rule = 0;
    while policy.tournament.put_in_charge(rule) {
        (rule, now) = (rule + 1, now + 1);
        let decision = policy.decide(&quiet(now, 0));
        assert_eq!((decision.desired, decision.reason), (0, ReasonCode::Steady), "{decision:?}");
    }
    let woken = policy.decide(&Observation { arrivals: 1, queue_depth: 1, ..quiet(now + 1, 0) });
    assert!(woken.desired >= 1, "a task wakes it: {woken:?}");
}

#[test]
fn a_bound_is_the_reason_only_while_it_is_in_the_way() {
    let mut policy =
        Predictive::new(PredictiveSettings::default(), PolicyLimits { max: 3, ..limits() }).expect("valid");
    run(&mut policy, 0, 600, 0);
    let burst = Observation { t: 601.0, arrivals: 10, queue_depth: 10, ready: 1, ..Observation::default() };
    let short = policy.decide(&burst);
    assert_eq!((short.desired, short.reason), (3, ReasonCode::Bounded), "{short:?}");
    let quiet = |t| policy.decide(&Observation { t: f64::from(t), ready: 3, ..Observation::default() });
    let after: Vec<Decision> = (602..660).map(quiet).collect();
    assert!(after.iter().all(|made| (made.reason == ReasonCode::Bounded) == (made.need > 3.0)), "{after:#?}");
    assert!(
        after.iter().any(|made| made.reason == ReasonCode::Stabilizing),
        "what was needed before is held: {after:#?}"
    );
}

#[test]
fn cancelled_tasks_start_no_agents_and_those_that_were_started_for_them_go() {
    let mut policy = policy();
    let ahead = |t: u32, ready, due: f64, n| {
        let announced = if n > 0 { vec![(due - f64::from(t), n)] } else { Vec::new() };
        Observation {
            t: f64::from(t),
            ready,
            announced,
            utc_s: Some(32_340.0 + f64::from(t)),
            ..Observation::default()
        }
    };
    let calm: Vec<_> = (0..45).map(|t| policy.decide(&ahead(t, 1, 60.0, 40))).collect();
    assert!(calm.iter().all(|decision| decision.desired == 1), "not before its time");
    assert!(calm[44].detail.ends_with("; 40 tasks are scheduled for 09:00:00 UTC"), "{}", calm[44].detail);
    assert!((45..49).all(|t| policy.decide(&ahead(t, 1, 60.0, 0)).desired == 1), "cancelled before that");
    let wanted = policy.decide(&ahead(49, 1, 60.0, 40));
    assert_eq!((wanted.desired, wanted.reason), (40, ReasonCode::Announced), "{wanted:?}");
    assert!(wanted.detail.contains("+ 40 announced = 40 needed"), "{}", wanted.detail);
    let forecast = wanted.forecast.expect("it forecasts").announced;
    assert_eq!((forecast.within_horizon, forecast.agents, forecast.next_tasks), (40, 40, 40));
    assert_eq!(policy.decide(&ahead(50, 40, 60.0, 0)).desired, 1, "cancelled later");
}

#[test]
fn a_restart_does_not_forget_what_was_announced() {
    let mut before = policy();
    let seen = |t: f64, arrivals: u64, announced: &[(f64, u64)]| Observation {
        t,
        arrivals,
        queue_depth: arrivals as u32,
        ready: 1,
        announced: announced.to_vec(),
        ..Observation::default()
    };
    before.decide(&seen(0.0, 0, &[(60.0, 40)]));
    let saved = before.save().expect("it has a memory");
    // Away for 55 s: less than a horizon is left, and nothing else shows that the tasks were known long before.
    for text in [saved.as_str(), "{}"] {
        let mut after = policy();
        assert_eq!(after.restore(text, 55.0), text != "{}");
        // The store answers after the first decisions.
        assert!(after.decide(&seen(0.0, 0, &[])).desired >= 1);
        assert!(after.decide(&seen(1.0, 0, &[(3.0, 40)])).desired >= 1);
        let met = after.decide(&seen(4.5, 40, &[]));
        let rate = met.forecast.expect("it forecasts").rate_per_s;
        assert!(rate < 0.5, "they are not taken for a rate of arrivals: {met:?}");
    }
}

#[test]
fn other_bounds_change_nothing_that_was_learned() {
    let (mut changed, mut unchanged) = (policy(), policy());
    run(&mut changed, 0, 900, 4);
    run(&mut unchanged, 0, 900, 4);
    assert!(changed.set_bounds(2, 150));
    for t in 901..930 {
        let seen = second(f64::from(t), 4, 5.0);
        assert_eq!(changed.decide(&seen), unchanged.decide(&seen), "both bounds are out of the way");
    }
    assert!(changed.set_bounds(1, 10));
    let short = changed.decide(&second(930.0, 4, 5.0));
    assert_eq!((short.desired, short.reason), (10, ReasonCode::Bounded), "{short:?}");
}

#[test]
fn what_cannot_be_read_is_not_taken_up() {
    let mut policy = policy();
    let saved = policy.save().expect("it has a memory");
    for text in ["", "{}", "[1]", &saved.replace("\"version\":4", "\"version\":9"), &saved[..saved.len() / 2]] {
        assert!(!policy.restore(text, 1.0), "{text}");
    }
    assert!(policy.restore(&saved, f64::NAN));
}

#[test]
fn irregular_ticks_change_little() {
    let mut policy = policy();
    let regular = run(&mut self::policy(), 0, 600, 4).desired;
    let mut last = 0;
    for t in 1..=600 {
        let whole = second(f64::from(t), 4, 5.0);
        let early =
            Observation { t: f64::from(t) - 0.7, arrivals: 1, completions: 0, completed: vec![], ..whole.clone() };
        policy.decide(&Observation { started: 0, mean_service_s: None, ..early });
        last = policy.decide(&Observation { arrivals: 3, ..whole }).desired;
    }
    assert!(last.abs_diff(regular) <= 3, "{last} against {regular}");
}

#[test]
fn without_a_habit_the_calendar_changes_nothing() {
    let (mut with, mut without) = (policy(), policy());
    for t in 0..1_200_u32 {
        let seen = second(f64::from(t), u64::from(t / 300 % 2 * 3 + t % 3), 4.0);
        without.learned.calendar = Default::default();
        assert_eq!(with.decide(&seen), without.decide(&seen), "at {t} s");
    }
    assert!(with.learned.calendar.now() > 1_000.0);
}

#[test]
fn what_was_saved_without_a_calendar_is_taken_up_and_a_broken_one_is_not() {
    let mut before = policy();
    run(&mut before, 0, 600, 6);
    let saved = before.save().expect("it has a memory");
    let mut json: serde_json::Value = serde_json::from_str(&saved).expect("JSON");
    for (key, value) in [("now", "-1.0"), ("now", "1e300"), ("minutes", "7"), ("day", "{}")] {
        let mut broken = json.clone();
        broken["calendar"][key] = serde_json::from_str(value).expect("JSON");
        assert!(!policy().restore(&broken.to_string(), 1.0), "{key} {value}");
    }
    json.as_object_mut().expect("an object").remove("calendar");
    let mut after = policy();
    assert!(after.restore(&json.to_string(), 60.0));
    assert_eq!(after.learned.calendar.now(), 60.0);
    run(&mut after, 0, 90, 6);
    assert!((60.0 + 89.0..=60.0 + 91.0).contains(&after.learned.calendar.now()), "{}", after.learned.calendar.now());
}

#[test]
fn a_restart_moves_the_time_of_day_by_nothing() {
    let mut policy = policy();
    run(&mut policy, 0, 99, 2);
    for _ in 0..50 {
        let saved = policy.save().expect("it has a memory");
        assert!(policy.restore(&saved, 0.5));
        policy.decide(&second(0.5, 1, 5.0));
        policy.decide(&second(10.5, 20, 5.0));
    }
    // A hundred seconds, a tick before the first of them counted as well; then eleven fifty times.
    assert_eq!(policy.learned.calendar.now(), 100.0 + 50.0 * 11.0);
}

fn anything() -> impl Strategy<Value = Observation> {
    let number = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(1e300), 0.0..1e4f64];
    let count = prop_oneof![Just(0u64), Just(u64::MAX), 0..1000u64];
    let size = prop_oneof![Just(0u32), Just(u32::MAX), 0..100u32];
    let pairs = proptest::collection::vec((0..9u64, number.clone()), 0..4);
    (
        (number.clone(), count.clone(), count.clone(), proptest::option::of(number.clone())),
        (size.clone(), size.clone(), size.clone(), size),
        (proptest::option::of(number.clone()), proptest::option::of(number), count.clone(), count),
        (pairs.clone(), pairs.clone(), pairs),
    )
        .prop_map(|(a, b, c, d)| Observation {
            t: a.0,
            arrivals: a.1,
            completions: a.2,
            mean_service_s: a.3,
            queue_depth: b.0,
            in_flight: b.1,
            ready: b.2,
            starting: b.3,
            mean_context_tokens: c.0,
            cold_start_s: c.1,
            started: c.2,
            late: c.3,
            arrived: d.0.into_iter().map(Into::into).collect(),
            completed: d.1,
            announced: d.2.into_iter().map(|(tasks, due_s)| (due_s, tasks)).collect(),
            ..Observation::default()
        })
}

proptest! {
    // Each case runs hundreds of shadows.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_observations_give_finite_needs_within_the_limits(seen in proptest::collection::vec(anything(), 1..40)) {
        let mut policy = policy();
        for seen in &seen {
            let decision = policy.decide(seen);
            prop_assert!((1..=200).contains(&decision.desired));
            prop_assert!(decision.need.is_finite() && decision.need >= 0.0);
            let forecast = decision.forecast.expect("it forecasts");
            for x in [forecast.rate_per_s, forecast.rate_low, forecast.rate_high, forecast.service_s, forecast.depth] {
                prop_assert!(x.is_finite() && x >= 0.0, "{forecast:?}");
            }
        }
        let saved = policy.save().expect("it has a memory");
        prop_assert!(self::policy().restore(&saved, 10.0), "{saved}");
    }

    #[test]
    fn a_new_pool_asks_for_no_more_than_tasks_present_and_those_that_may_come(
        seconds in proptest::collection::vec((0u64..40, 0u32..60, 0.0f64..1.0, 0.1f64..40.0), 1..200),
        cold_start_s in 0.5f64..40.0,
    ) {
        let limits = PolicyLimits { max: 100_000, cold_start_s, ..limits() };
        let mut policy = Predictive::new(PredictiveSettings::default(), limits).expect("in range");
        let (mut running, mut waiting, mut agents) = (0u64, 0u64, 1u64);
        for (t, (arrivals, burst, done, service_s)) in seconds.into_iter().enumerate() {
            let arrivals = if burst == 0 { 10 * arrivals } else { arrivals / 8 };
            let completions = (running as f64 * done) as u64;
            let started = (waiting + arrivals).min(agents.saturating_sub(running - completions));
            (running, waiting) = (running - completions + started, waiting + arrivals - started);
            let seen = Observation {
                t: t as f64,
                arrivals,
                completions,
                started,
                mean_service_s: (completions > 0).then_some(service_s),
                completed: (0..completions).map(|n| (n, service_s)).collect(),
                queue_depth: waiting as u32,
                in_flight: running as u32,
                ready: (agents - running.min(agents)) as u32,
                ..Observation::default()
            };
            let decision = policy.decide(&seen);
            let forecast = decision.forecast.expect("it forecasts");
            let present = (running + waiting) as f64;
            let coming = forecast.rate_per_s * forecast.horizon_s;
            let most = present + coming + 2.5 * (1.5 * coming).sqrt();
            prop_assert!(decision.need <= most + 1.0, "{} of at most {most:.1}: {}", decision.need, decision.detail);
            agents = u64::from(decision.desired).max(running);
        }
    }
}
