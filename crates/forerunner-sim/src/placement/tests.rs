//! Small loads with results that were computed by hand, and laws of every policy.

use forerunner_core::placement::RestoreCost;
use proptest::prelude::*;

use super::{PlacementLoad, PlacementPolicy, PlacementReplay, PlacementReport, PlacementTask, replay_placement};

const MB: u64 = 1_000_000;

/// A task of 10 s, whose whole context is resident from the turn before.
fn task(arrival_s: f64, context: u32, bytes: u64, shared_bytes: u64) -> PlacementTask {
    PlacementTask { arrival_s, service_s: 10.0, context, turn: 0, bytes, shared_bytes, base_bytes: 0 }
}

fn two_agents() -> PlacementReplay {
    let restore = RestoreCost { fixed_s: 0.0, s_per_byte: 2e-6 };
    PlacementReplay { agents: 2, restore, ..PlacementReplay::default() }
}

fn run(tasks: Vec<PlacementTask>, policy: PlacementPolicy, settings: &PlacementReplay) -> PlacementReport {
    replay_placement(&PlacementLoad::new("hand-made", tasks), policy, settings, |_| ())
}

#[test]
fn the_first_ready_agent_restores_what_the_other_one_holds() {
    // Both sessions start at once. Then each returns when both agents are idle, the second one first.
    let tasks = || vec![task(0.0, 0, MB, 0), task(0.0, 1, MB, 0), task(20.0, 1, MB, MB), task(20.1, 0, MB, MB)];
    let naive = run(tasks(), PlacementPolicy::FirstReady, &two_agents());
    assert_eq!((naive.moved_bytes, naive.hit_share, naive.hit_limit), (4 * MB, 0.0, 0.5));
    assert_eq!((naive.restore_s, naive.wait_s), (2.0, 0.0));
    let ours = run(tasks(), PlacementPolicy::Ours, &two_agents());
    assert_eq!((ours.moved_bytes, ours.share_of_limit, ours.restore_s), (2 * MB, 1.0, 1.0));
    let shared = PlacementReplay { shared_store: true, ..two_agents() };
    assert_eq!(run(tasks(), PlacementPolicy::FirstReady, &shared).share_of_limit, 1.0);
}

#[test]
fn what_other_contexts_have_as_well_is_everywhere() {
    let base = PlacementTask { base_bytes: MB / 4, ..task(0.0, 0, MB, 0) };
    let report = run(vec![base], PlacementPolicy::LeastLoaded, &two_agents());
    assert_eq!((report.moved_bytes, report.hit_limit, report.hit_share), (MB * 3 / 4, 0.25, 0.25));
}

#[test]
fn one_of_a_context_runs_at_a_time_if_asked_for() {
    let tasks = vec![task(0.0, 0, MB, 0), task(1.0, 0, MB, MB)];
    let in_turn = PlacementReplay { one_of_a_context: true, ..two_agents() };
    assert_eq!(run(tasks.clone(), PlacementPolicy::FirstReady, &in_turn).longest_wait_s, 11.0);
    assert_eq!(run(tasks, PlacementPolicy::FirstReady, &two_agents()).longest_wait_s, 0.0);
}

fn loads() -> impl Strategy<Value = Vec<PlacementTask>> {
    prop::collection::vec((0.0..200.0, 0_u32..12, 1..3 * MB, 0.0..1.0, 0.0..20.0), 1..120).prop_map(|rows| {
        let mut last = [0; 12];
        let mut rows: Vec<(f64, u32, u64, f64, f64)> = rows;
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let task = |(arrival_s, context, bytes, share, service_s): (f64, u32, u64, f64, f64)| {
            let before = std::mem::replace(&mut last[context as usize], bytes);
            let shared_bytes = (bytes.min(before) as f64 * share) as u64;
            PlacementTask { arrival_s, service_s, context, turn: 0, bytes, shared_bytes, base_bytes: 0 }
        };
        rows.into_iter().map(task).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_task_runs_once_under_every_policy(tasks in loads(), shared_store: bool, one_of_a_context: bool) {
        let settings = PlacementReplay { agents: 3, shared_store, one_of_a_context, ..PlacementReplay::default() };
        let load = PlacementLoad::new("random", tasks);
        for policy in PlacementPolicy::ALL {
            let report = replay_placement(&load, policy, &settings, |_| ());
            prop_assert_eq!(report.tasks, load.tasks().len());
            prop_assert!(report.moved_bytes <= load.bytes());
            prop_assert!((0.0..=1.0).contains(&report.hit_share));
            prop_assert_eq!(&report, &replay_placement(&load, policy, &settings, |_| ()));
        }
    }

    #[test]
    fn where_restoring_is_free_ours_starts_tasks_as_the_queue_has_them(tasks in loads()) {
        let free = PlacementReplay { agents: 3, restore: RestoreCost::default(), ..PlacementReplay::default() };
        let ours = run(tasks.clone(), PlacementPolicy::Ours, &free);
        let plain = run(tasks, PlacementPolicy::FirstReady, &free);
        prop_assert!((ours.wait_s - plain.wait_s).abs() < 1e-9, "{} s instead of {} s", ours.wait_s, plain.wait_s);
        prop_assert_eq!((ours.longest_wait_s, ours.deferred_tasks), (plain.longest_wait_s, 0));
    }
}
