use proptest::prelude::*;

use super::{returns::PARTS, *};

/// What an observation lists: arrivals with a session, and completions.
fn seen(t: f64, arrived: &[(u64, Option<u64>)], completed: &[u64]) -> Observation {
    Observation {
        t,
        arrivals: arrived.len() as u64,
        arrived: arrived.iter().map(|&(task, session)| Arrival { task, at: t, session }).collect(),
        completions: completed.len() as u64,
        completed: completed.iter().map(|task| (*task, 1.0)).collect(),
        in_flight: 1,
        ..Observation::default()
    }
}

/// The tasks that could start.
fn started(sessions: &mut Sessions, t: f64, arrived: &[(u64, Option<u64>)], completed: &[u64]) -> Vec<u64> {
    let (seen, _) = (seen(t, arrived, completed), ());
    let (turns, _) = sessions.observe((t, 1.0), 0, &seen);
    assert_eq!(turns.arrivals, turns.arrived.len() as u64);
    turns.arrived.iter().map(|arrival| arrival.task).collect()
}

#[test]
fn a_task_arrives_when_the_turn_before_it_has_ended() {
    let mut sessions = Sessions::default();
    assert_eq!(started(&mut sessions, 1.0, &[(1, Some(7)), (2, Some(7)), (3, None), (4, Some(7))], &[]), [1, 3]);
    assert_eq!(started(&mut sessions, 2.0, &[(5, Some(8))], &[3]), [5]);
    assert_eq!(started(&mut sessions, 3.0, &[], &[1]), [2]);
    assert_eq!(started(&mut sessions, 4.0, &[], &[2, 5]), [4]);
    assert_eq!((started(&mut sessions, 5.0, &[], &[4]), sessions.idle_sessions()), (vec![], 2));
    // It comes, has its turn and comes again, all within one second.
    assert_eq!(started(&mut sessions, 6.0, &[(6, Some(7)), (7, Some(7))], &[6]), [6, 7]);
}

#[test]
fn without_sessions_nothing_changes() {
    let mut sessions = Sessions::default();
    let seen = seen(1.0, &[(1, None), (2, None)], &[9]);
    let (same, announced) = sessions.observe((1.0, 1.0), 1, &seen);
    assert!(matches!(same, Cow::Borrowed(_)) && announced == 1 && !sessions.are_known());
}

#[test]
fn a_turn_whose_end_got_lost_does_not_block_its_session_for_ever() {
    let mut sessions = Sessions::default();
    assert_eq!(started(&mut sessions, 1.0, &[(1, Some(7)), (2, Some(7))], &[]), [1]);
    assert_eq!(started(&mut sessions, 2.0 + BLOCKED_S, &[], &[]), [2]);
    // Where no task is in the pool, none is running.
    let mut sessions = Sessions::default();
    assert_eq!(started(&mut sessions, 1.0, &[(1, Some(7)), (2, Some(7))], &[]), [1]);
    let empty = Observation { in_flight: 0, ..seen(3.0, &[], &[]) };
    assert_eq!(sessions.observe((3.0, 1.0), 0, &empty).0.arrivals, 1);
}

#[test]
fn arrivals_that_are_only_counted_count_once() {
    let mut sessions = Sessions::default();
    assert_eq!(started(&mut sessions, 1.0, &[(1, Some(7)), (2, Some(7))], &[]), [1]);
    let counted = Observation { arrivals: 5, arrived: Vec::new(), ..seen(2.0, &[], &[1]) };
    let (turns, announced) = sessions.observe((2.0, 1.0), 2, &counted);
    assert_eq!((turns.arrivals, turns.arrived.len(), announced), (6, 0, 2), "five, and the one that waited");
}

/// Sessions of many turns of 2 s each, with pauses of 10 s, that begin at different times: one arrival in 12 s each.
fn clockwork(sessions: &mut Sessions, number: u64, until: u32) {
    for t in 0..until {
        let t64 = u64::from(t);
        let begins = |k: u64| t64 >= 2 * k && (t64 - 2 * k).is_multiple_of(12);
        let ends = |k: u64| t64 >= 2 * k + 2 && (t64 - 2 * k - 2).is_multiple_of(12);
        let task = |k: u64, begun: u64| 1_000 * k + begun;
        let arrived: Vec<_> = (0..number).filter(|k| begins(*k)).map(|k| (task(k, t64), Some(k))).collect();
        let completed: Vec<_> = (0..number).filter(|k| ends(*k)).map(|k| task(k, t64 - 2)).collect();
        started(sessions, f64::from(t), &arrived, &completed);
    }
}

fn ahead(horizon_s: f64) -> Ahead<impl Fn([f64; PARTS]) -> [f64; PARTS], impl Fn(f64) -> f64> {
    let left = |seconds: f64| (1.0 - seconds / 2.0).max(0.0);
    Ahead {
        horizon_s,
        survival: |ages: [f64; PARTS]| ages.map(|seconds| if seconds < 2.0 { 1.0 } else { 0.0 }),
        still_there: left,
    }
}

#[test]
fn sessions_are_expected_back_and_over_a_long_horizon_several_times() {
    let mut sessions = Sessions::default();
    clockwork(&mut sessions, 6, 900);
    for horizon_s in [6.0, 12.0, 36.0, 60.0] {
        let rate = sessions.rate(&ahead(horizon_s));
        assert!((0.40..0.62).contains(&rate), "0.5/s really, {rate} within {horizon_s} s");
    }
}

#[test]
fn the_chance_of_a_return_is_told_by_the_time_since_the_last_turn() {
    let mut sessions = Sessions::default();
    assert_eq!(sessions.return_chances(5.0), []);
    clockwork(&mut sessions, 6, 900);
    let chances = sessions.return_chances(5.0);
    let at = |age_s: f64| chances.iter().rfind(|(begin, _)| *begin <= age_s).expect("from 0 on").1;
    assert!(at(0.0) < 0.1 && at(8.0) > 0.8, "all pauses last ten seconds: {chances:?}");
    assert!(chances.iter().all(|(_, chance)| (0.0..=1.0).contains(chance)) && at(1e9) == 0.0);
}

#[test]
fn who_has_not_come_back_for_long_is_not_waited_for() {
    let mut sessions = Sessions::default();
    clockwork(&mut sessions, 6, 900);
    let busy = sessions.rate(&ahead(10.0));
    (900..1500).for_each(|t| _ = started(&mut sessions, f64::from(t), &[], &[]));
    let quiet = sessions.rate(&ahead(10.0));
    assert!(quiet < 0.2 * busy, "{quiet} after {busy}");
    let text = serde_json::to_string(&sessions).expect("plain numbers");
    let read: Sessions = serde_json::from_str(&text).expect("own output");
    assert!(read.is_sound() && text.len() < 12_000, "{}", text.len());
    assert_eq!(read.pauses, sessions.pauses);
}

#[test]
fn an_announced_return_is_no_return_to_be_forecast() {
    let mut learned = [Sessions::default(), Sessions::default()];
    for (sessions, announced) in learned.iter_mut().zip([0, 1]) {
        started(sessions, 1.0, &[(1, Some(7))], &[]);
        started(sessions, 2.0, &[], &[1]);
        let back = seen(5.0, &[(2, Some(7))], &[]);
        let (turns, told) = sessions.observe((5.0, 3.0), announced, &back);
        assert_eq!((turns.arrivals, told), (1, announced), "it comes either way");
    }
    assert!(learned[0].pauses.are_known() && !learned[1].pauses.are_known());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Every task is reported once at most, not before it came, and never while one of its session is in the pool.
    #[test]
    fn each_task_could_start_once_and_none_before_its_time(
        steps in proptest::collection::vec((proptest::collection::vec((0u64..5, any::<bool>()), 0..6), 0usize..4, 0u64..3), 1..120),
    ) {
        let mut sessions = Sessions::default();
        let (mut next, mut came, mut pool) = (0u64, Vec::new(), Vec::<(u64, Option<u64>)>::new());
        let mut could_start = std::collections::HashSet::new();
        for (t, (arrivals, ends, announced)) in steps.into_iter().enumerate() {
            let completed: Vec<u64> = pool.drain(..ends.min(pool.len())).map(|(task, _)| task).collect();
            let arrived: Vec<(u64, Option<u64>)> = arrivals.into_iter().map(|(session, has_one)| {
                next += 1;
                came.push((next, has_one.then_some(session)));
                (next, has_one.then_some(session))
            }).collect();
            let seen = seen(t as f64, &arrived, &completed);
            let announced = announced.min(seen.arrivals);
            let (turns, told) = sessions.observe((t as f64, 1.0), announced, &seen);
            prop_assert!(told <= turns.arrivals);
            for arrival in &turns.arrived {
                prop_assert!(could_start.insert(arrival.task), "twice: {}", arrival.task);
                let known = came.iter().find(|(task, _)| *task == arrival.task);
                let session = known.expect("it came before").1;
                prop_assert!(session.is_none() || pool.iter().all(|(_, other)| *other != session));
                pool.push((arrival.task, session));
            }
            let rate = sessions.rate(&ahead(11.0));
            prop_assert!(rate.is_finite() && rate >= 0.0 && sessions.is_sound());
        }
        // Everything ends at last, so everybody had their turn.
        for t in 1_000..2_000 {
            let completed: Vec<u64> = pool.drain(..).map(|(task, _)| task).collect();
            let seen = seen(f64::from(t), &[], &completed);
            let (turns, _) = sessions.observe((f64::from(t), 1.0), 0, &seen);
            for arrival in &turns.arrived {
                prop_assert!(could_start.insert(arrival.task));
                pool.push((arrival.task, came.iter().find(|(task, _)| *task == arrival.task).expect("came").1));
            }
        }
        prop_assert_eq!(could_start.len(), came.len());
    }
}
