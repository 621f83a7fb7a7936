//! Pools whose agents have contexts.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{
    AgentRecord, PoolAction, PoolEvent, PoolMachine, PoolRules, RunSummary, ScaleDownOrder,
    tests::{at, ready, rules, run, spawned, stopped, task, warm},
};
use crate::{
    AgentId, ContextId, Priority, Task, TaskId, Timestamp,
    placement::{AgentContexts, Candidate, PlacementReason, PlacementRecord, ResidentEntry, Restored, Room},
};

const MB: u64 = 1_000_000;

fn name(context: &str) -> ContextId {
    ContextId::new(context).unwrap()
}

/// An agent has run a task of 1 s and has contexts of 1 MB; the restore of the last one took 2 s.
fn resident_report(agent: AgentId, contexts: &[(&str, u64)], now: Timestamp) -> PoolEvent {
    let resident = |(context, version): &(&str, u64)| ResidentEntry {
        context: name(context),
        version: *version,
        bytes: MB,
        used_at: now,
    };
    let memory = AgentContexts {
        contexts: contexts.iter().map(resident).collect(),
        room: Room::of_bytes(4 * MB),
        restored: Some(Restored { bytes: MB, seconds: 2.0 }),
    };
    PoolEvent::Ready { agent, memory: Some(Box::new(memory)), run: RunSummary::ONE }
}

fn version(task: Arc<Task>, version: u64) -> Arc<Task> {
    Arc::new(Task { context_version: version, ..(*task).clone() })
}

fn candidate(n: u128, context: &str, due: Timestamp) -> Candidate {
    Candidate {
        task: TaskId::from_parts(at(0), n << 64),
        context: Some(name(context)),
        context_version: 1,
        context_bytes: MB,
        priority: Priority::default(),
        due,
    }
}

fn records(actions: &[PoolAction]) -> Vec<&PlacementRecord> {
    let records =
        actions.iter().map(|action| if let PoolAction::Placed(record) = action { Some(&**record) } else { None });
    records.flatten().collect()
}

/// Two agents: the first has `red`, the second `blue`; both idle since second 3.
fn two() -> (PoolMachine, [AgentId; 2]) {
    let (mut pool, _) = warm(2, 2);
    let agents = ["red", "blue"].map(|context| run(&mut pool, task(9, Some(context)), at(0)));
    pool.step(resident_report(agents[0], &[("red", 1)], at(3)), at(3));
    pool.step(resident_report(agents[1], &[("blue", 1)], at(3)), at(3));
    (pool, agents)
}

#[test]
fn a_task_goes_to_the_agent_that_holds_its_context_and_the_record_says_why() {
    let (mut pool, [red, blue]) = two();
    let actions = pool.step(PoolEvent::Assigned(vec![version(task(1, Some("blue")), 1)]), at(4));
    assert!(matches!(&actions[0], PoolAction::Run { agent, .. } if *agent == blue));
    let record = records(&actions)[0];
    assert_eq!((record.reason, record.chosen.agent, record.chosen.cost_s), (PlacementReason::Warm, blue, 0.0));
    let other = &record.others[0];
    assert_eq!((other.agent, other.missing_bytes, record.idle_agents), (red, MB, 2));
    assert_eq!(
        (other.restore_s, other.displacement_s, other.cost_s),
        (2.0, 0.0, 2.0),
        "there is room, and nobody came back yet"
    );
    assert_eq!((pool.tally().warm_hits, pool.tally().warm_misses), (1, 2));
    assert_eq!((pool.tally().hit_bytes, pool.tally().missing_bytes), (MB, 0));
}

#[test]
fn an_older_version_is_worth_what_need_not_be_brought() {
    let (mut pool, [red, _]) = two();
    let actions = pool.step(PoolEvent::Assigned(vec![version(task(1, Some("red")), 2)]), at(4));
    let record = records(&actions)[0];
    assert_eq!((record.reason, record.chosen.agent), (PlacementReason::PartlyWarm, red));
    assert!(record.chosen.missing_bytes < MB);
}

#[test]
fn all_that_came_at_once_land_where_they_are_warm() {
    let (mut pool, [red, blue]) = two();
    let tasks = [("blue", 1), ("red", 2)].map(|(context, n)| version(task(n, Some(context)), 1));
    let placed = pool.step(PoolEvent::Assigned(tasks.to_vec()), at(4));
    let ran = placed.iter().filter_map(|action| match action {
        PoolAction::Run { agent, task, .. } => Some((*agent, task.context.clone()?)),
        _ => None,
    });
    let mut ran: Vec<_> = ran.collect();
    ran.sort();
    let mut expected = vec![(red, name("red")), (blue, name("blue"))];
    expected.sort();
    assert_eq!(ran, expected);
}

#[test]
fn an_agent_that_was_given_another_task_at_the_same_time_is_not_told_as_idle() {
    let (mut pool, _) = warm(2, 2);
    let tasks = [1, 2].map(|n| task(n, Some(["red", "blue"][n as usize - 1])));
    let placed = pool.step(PoolEvent::Assigned(tasks.to_vec()), at(4));
    let [first, last] = records(&placed)[..] else { panic!("two are placed: {placed:?}") };
    assert_eq!((first.reason, first.idle_agents, first.others.len()), (PlacementReason::Room, 2, 1));
    assert_eq!((last.reason, last.idle_agents), (PlacementReason::OnlyIdle, 1));
    assert!(last.others.iter().all(|other| other.busy), "{last:?}");
}

#[test]
fn the_queue_is_looked_at_once_restoring_is_dear_and_the_warm_task_goes_first() {
    let (mut plain, _) = warm(2, 2);
    assert!(!plain.uses_lookahead());
    run(&mut plain, task(1, None), at(0));
    assert!(!plain.uses_lookahead());
    let (mut pool, [red, _]) = two();
    assert!(pool.uses_lookahead());
    run(&mut pool, version(task(1, Some("blue")), 1), at(4));
    let tasks = [candidate(2, "green", at(4)), candidate(3, "red", at(5))];
    let selection = pool.select(&tasks, 1, at(6));
    assert_eq!((selection.take, selection.deferred), (vec![tasks[1].task], 0), "the only idle agent holds red");
    pool.step(PoolEvent::Pause, at(6));
    assert!(pool.select(&tasks, 1, at(6)).take.is_empty());
    assert_eq!(pool.agent(red).and_then(AgentRecord::task), None);
}

#[test]
fn a_task_is_held_back_for_its_busy_agent_and_told_for_how_long() {
    let (mut pool, [_, blue]) = two();
    // Blue's agent runs another task. Tasks take a second on average, a restore takes two.
    run(&mut pool, version(task(1, Some("blue")), 1), at(4));
    let wanted = [candidate(2, "blue", at(4))];
    let selection = pool.select(&wanted, 1, at(4) + Duration::from_millis(500));
    assert_eq!((selection.take.len(), selection.deferred), (0, 1));
    let again_at = selection.again_at.unwrap();
    assert!(again_at > at(5) && again_at <= at(7), "{again_at}");
    pool.step(resident_report(blue, &[("blue", 1)], at(5)), at(5));
    assert_eq!(pool.select(&wanted, 2, at(5)).take, [wanted[0].task]);
    let actions = pool.step(PoolEvent::Assigned(vec![version(task(2, Some("blue")), 1)]), at(5));
    let record = records(&actions)[0];
    assert_eq!((record.chosen.agent, record.deferred_s), (blue, 0.5));
    assert_eq!(pool.tally().deferral_micros, 500_000);
}

#[test]
fn shrinking_lets_the_agent_go_whose_contexts_are_worth_least_unless_told_otherwise() {
    for (stop, expected) in [(ScaleDownOrder::LeastValuable, 1), (ScaleDownOrder::OldestIdle, 0)] {
        let mut pool = PoolMachine::new(PoolRules { stop, ..rules(2, 2) }, 2);
        for agent in spawned(&pool.step(PoolEvent::Tick, at(0))) {
            pool.step(PoolEvent::Started { agent, pid: None }, at(0));
        }
        let agents = ["red", "blue"].map(|context| run(&mut pool, task(9, Some(context)), at(0)));
        pool.step(resident_report(agents[0], &[("green", 1), ("red", 1)], at(3)), at(3));
        pool.step(resident_report(agents[1], &[("blue", 1)], at(3)), at(4));
        pool.step(PoolEvent::Configure { min: 1, max: 1 }, at(5));
        assert_eq!(stopped(&pool.step(PoolEvent::Tick, at(10))), [agents[expected]], "{stop:?}");
    }
}

#[test]
fn an_agent_is_worth_what_its_contexts_cost_times_the_chance_that_they_are_wanted() {
    // Contexts of equal size, the red one used longer ago. Sessions come back after ten seconds, if at all; where all chances
    // are equal the agent that was idle for longest stops.
    for (chances, expected) in [
        (vec![(0.0, 0.1), (8.0, 0.9)], 1),
        (vec![(0.0, 0.9), (8.0, 0.1)], 0),
        (vec![(0.0, 0.5)], 0),
        (vec![(0.0, 0.0)], 0),
    ] {
        let mut pool = PoolMachine::new(PoolRules { stop: ScaleDownOrder::LeastValuable, ..rules(2, 2) }, 2);
        for agent in spawned(&pool.step(PoolEvent::Tick, at(0))) {
            pool.step(PoolEvent::Started { agent, pid: None }, at(0));
        }
        let agents = ["red", "blue"].map(|context| run(&mut pool, task(9, Some(context)), at(0)));
        pool.step(resident_report(agents[0], &[("red", 1)], at(1)), at(1));
        pool.step(resident_report(agents[1], &[("blue", 1)], at(5)), at(5));
        pool.step(PoolEvent::Returns(crate::placement::ReturnChances::new(chances.clone())), at(5));
        pool.step(PoolEvent::Configure { min: 1, max: 1 }, at(10));
        assert_eq!(stopped(&pool.step(PoolEvent::Tick, at(20))), [agents[expected]], "{chances:?}");
    }
}

#[test]
fn what_is_known_of_a_context_outlasts_reports_about_another() {
    let (mut pool, [_, blue]) = two();
    run(&mut pool, version(task(1, Some("blue")), 1), at(4));
    pool.step(resident_report(blue, &[("blue", 2)], at(5)), at(5));
    run(&mut pool, version(task(2, Some("red")), 1), at(6));
    assert_eq!(run(&mut pool, version(task(3, Some("green")), 0), at(6)), blue, "the only idle one");
    // An agent reports the version that it got, not the one that its own task created.
    pool.step(resident_report(blue, &[("blue", 1), ("green", 1)], at(8)), at(8));
    let resident: Vec<_> = pool.contexts_of(blue).map(|entry| (entry.version, entry.used_at)).collect();
    assert_eq!(resident, [(2, at(5)), (1, at(8))]);
}

#[test]
fn a_context_that_was_removed_is_warm_nowhere() {
    let (mut pool, [red, _]) = two();
    pool.forget_context(&name("red"));
    let actions = pool.step(PoolEvent::Assigned(vec![version(task(1, Some("red")), 1)]), at(4));
    assert_ne!(records(&actions)[0].reason, PlacementReason::Warm);
    assert_eq!(pool.contexts_of(red).count(), 0);
}

#[test]
fn agents_that_hold_nothing_go_before_those_that_do() {
    let (mut pool, agents) = warm(2, 2);
    let busy = run(&mut pool, task(1, Some("red")), at(0));
    pool.step(resident_report(busy, &[("red", 1)], at(1)), at(1));
    let other = run(&mut pool, task(2, None), at(2));
    assert_ne!(other, busy, "a task without a context goes where nothing is at stake");
    pool.step(ready(other), at(9));
    pool.step(PoolEvent::Configure { min: 1, max: 1 }, at(9));
    assert_eq!(stopped(&pool.step(PoolEvent::Tick, at(20))), [other]);
    assert!(agents.contains(&busy));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, no agent has two tasks, requested slots are returned, and a lost agent leaves no record.
    #[test]
    fn contexts_keep_the_machine_s_laws(steps in prop::collection::vec((0_u8..6, 0_u8..4, 0_u8..4), 1..120)) {
        let (mut pool, _) = warm(3, 3);
        let (mut now, mut next) = (10, 1_u128);
        let contexts = ["a", "b", "c", "d"];
        for (what, which, context) in steps {
            now += 1;
            let mut all: Vec<AgentId> = pool.agents().map(|(agent, _)| *agent).collect();
            all.sort();
            let agent = all.get(usize::from(which)).copied();
            let actions = match (what, agent) {
                (0..3, _) => {
                    next += 1;
                    let context = contexts[usize::from(context)];
                    let wanted = version(task(next, (what > 0).then_some(context)), u64::from(which));
                    pool.select(&[candidate(next, context, at(now - 1))], 1, at(now));
                    pool.step(PoolEvent::Assigned(vec![wanted]), at(now))
                }
                (3, Some(agent)) if pool.agent(agent).and_then(AgentRecord::task).is_some() => {
                    pool.step(resident_report(agent, &[(contexts[usize::from(context)], 1)], at(now)), at(now))
                }
                (4, Some(agent)) => pool.step(PoolEvent::Down { agent, reason: Some("killed".into()) }, at(now)),
                _ => pool.step(PoolEvent::Tick, at(now)),
            };
            for agent in spawned(&actions) {
                pool.step(PoolEvent::Started { agent, pid: None }, at(now));
            }
            let known: Vec<AgentId> = pool.agents().map(|(agent, _)| *agent).collect();
            let runs = actions.iter().filter(|action| matches!(action, PoolAction::Run { .. })).count();
            let released = actions.iter().filter(|action| matches!(action, PoolAction::Release(_))).count();
            prop_assert_eq!(runs + released, usize::from(what < 3));
            for name in contexts.map(name) {
                prop_assert!(pool.residency.agents_with(&name).iter().all(|agent| known.contains(agent)));
            }
        }
    }
}
