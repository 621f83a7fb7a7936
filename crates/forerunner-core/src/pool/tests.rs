use std::{sync::Arc, time::Duration};

use super::*;
use crate::{ContextId, LeaseEpoch, NewTask, Payload, PoolName, RetryPolicy, Task, TaskState};

const COOLDOWN: Duration = Duration::from_secs(5);

pub(super) const fn at(secs: i64) -> Timestamp {
    Timestamp::from_micros(secs * 1_000_000)
}

pub(super) fn rules(min: u32, max: u32) -> PoolRules {
    let (stop, restart) = (ScaleDownOrder::LeastValuable, RestartPolicy::default());
    let (isolation, start_concurrency) = (Isolation::default(), None);
    PoolRules {
        min,
        max,
        cooldown: COOLDOWN,
        stop,
        restart,
        max_starting: 32,
        start_concurrency,
        isolation,
        max_burst: 1,
        id_seed: 7,
    }
}

pub(super) fn machine(min: u32, max: u32) -> PoolMachine {
    PoolMachine::new(rules(min, max), min)
}

pub(super) fn task(n: u128, context: Option<&str>) -> Arc<Task> {
    let mut new = NewTask::new(PoolName::new("p").unwrap(), Payload::null());
    new.context = context.map(|name| ContextId::new(name).unwrap());
    let id = TaskId::from_parts(at(0), n << 64);
    let mut task = Task::accepted(id, new, at(0), Duration::from_secs(60), RetryPolicy::default());
    (task.state, task.attempt, task.epoch) = (TaskState::Running, 1, LeaseEpoch(1));
    Arc::new(task)
}

pub(super) fn spawned(actions: &[PoolAction]) -> Vec<AgentId> {
    actions
        .iter()
        .filter_map(|action| if let PoolAction::Spawn(agent) = action { Some(*agent) } else { None })
        .collect()
}

pub(super) fn stopped(actions: &[PoolAction]) -> Vec<AgentId> {
    actions.iter().filter_map(|action| if let PoolAction::Stop(agent) = action { Some(*agent) } else { None }).collect()
}

fn demanded(actions: &[PoolAction]) -> usize {
    actions.iter().map(|action| if let PoolAction::Demand(slots) = action { *slots } else { 0 }).sum()
}

/// A machine with `size` warm agents at second 0, and the agents.
pub(super) fn warm(size: u32, max: u32) -> (PoolMachine, Vec<AgentId>) {
    let mut pool = machine(size, max);
    let agents = spawned(&pool.step(PoolEvent::Tick, at(0)));
    for agent in &agents {
        pool.step(PoolEvent::Started { agent: *agent, pid: None }, at(0));
    }
    (pool, agents)
}

pub(super) fn run(pool: &mut PoolMachine, task: Arc<Task>, now: Timestamp) -> AgentId {
    let actions = pool.step(PoolEvent::Assigned(vec![task]), now);
    let PoolAction::Run { agent, .. } = actions[0] else { panic!("expected a run, got {actions:?}") };
    agent
}

pub(super) fn ready(agent: AgentId) -> PoolEvent {
    PoolEvent::Ready { agent, memory: None, run: RunSummary::ONE }
}

fn down(agent: AgentId, reason: &str) -> PoolEvent {
    PoolEvent::Down { agent, reason: Some(reason.to_owned()) }
}

#[test]
fn a_pool_keeps_its_minimum_warm_and_asks_for_as_much_work_as_it_has_idle_agents() {
    let mut pool = machine(2, 4);
    let agents = spawned(&pool.step(PoolEvent::Tick, at(0)));
    assert_eq!(agents.len(), 2);
    let actions = pool.step(PoolEvent::Started { agent: agents[0], pid: Some(42) }, at(3));
    assert_eq!(demanded(&actions), 1);
    let (_, record) = pool.agents().find(|(agent, _)| **agent == agents[0]).unwrap();
    assert_eq!((record.cold_start, record.pid), (Some(Duration::from_secs(3)), Some(42)));
    assert_eq!(record.started_with, Some(2.0), "both began to start together");
    assert_eq!(pool.counts(), AgentCounts { starting: 1, ready: 1, busy: 0, cooldown: 0 });
}

/// The tasks of each run among the actions.
fn runs(actions: &[PoolAction]) -> Vec<usize> {
    let run = |action: &PoolAction| match action {
        PoolAction::Run { further, .. } => Some(1 + further.len()),
        _ => None,
    };
    actions.iter().filter_map(run).collect()
}

#[test]
fn runs_grow_while_no_task_waits_and_shrink_to_one_task_when_one_does() {
    let mut pool = PoolMachine::new(PoolRules { max_burst: 4, ..rules(2, 2) }, 2);
    let agents = spawned(&pool.step(PoolEvent::Tick, at(0)));
    let mut demand = 0;
    for agent in &agents {
        demand += demanded(&pool.step(PoolEvent::Started { agent: *agent, pid: None }, at(0)));
    }
    let mut serial = 0;
    let (quick, long, waited) = (RunPace::Quick, RunPace::Long, RunPace::Waited);
    for (pace, expected) in
        [(quick, 2), (quick, 4), (quick, 8), (long, 8), (quick, 4), (waited, 8), (quick, 2), (long, 4)]
    {
        assert_eq!(demand, expected);
        let tasks = (0..demand).map(|_| {
            serial += 1;
            task(serial, None)
        });
        let shares = runs(&pool.step(PoolEvent::Assigned(tasks.collect()), at(1)));
        assert_eq!(shares, [expected / 2, expected / 2], "each agent gets its part");
        demand = 0;
        for agent in &agents {
            let run = RunSummary { tasks: shares[0] as u32, pace };
            demand += demanded(&pool.step(PoolEvent::Ready { agent: *agent, memory: None, run }, at(2)));
        }
    }
    assert_eq!(pool.agents().map(|(_, record)| record.tasks).sum::<u64>(), 40);
}

#[test]
fn few_tasks_are_shared_among_all_idle_agents_and_a_lost_agent_loses_each_of_its_leases() {
    let mut pool = PoolMachine::new(PoolRules { max_burst: 4, ..rules(2, 2) }, 2);
    let agents = spawned(&pool.step(PoolEvent::Tick, at(0)));
    for agent in &agents {
        pool.step(PoolEvent::Started { agent: *agent, pid: None }, at(0));
    }
    for _ in 0..2 {
        pool.step(PoolEvent::Assigned(vec![task(1, None), task(2, None)]), at(1));
        for agent in &agents {
            let run = RunSummary { tasks: 1, pace: RunPace::Quick };
            pool.step(PoolEvent::Ready { agent: *agent, memory: None, run }, at(2));
        }
    }
    let few = (1..=3).map(|number| task(number, None)).collect();
    assert_eq!(runs(&pool.step(PoolEvent::Assigned(few), at(3))), [2, 1]);
    let busy = agents.iter().find(|agent| pool.agent(**agent).unwrap().leases.len() == 2).unwrap();
    let actions = pool.step(down(*busy, "killed"), at(4));
    assert_eq!(actions.iter().filter(|action| matches!(action, PoolAction::Lost { .. })).count(), 2);
}

#[test]
fn a_resize_stays_within_the_bounds() {
    let mut pool = machine(1, 3);
    assert_eq!(spawned(&pool.step(PoolEvent::Resize(99), at(0))).len(), 3);
    pool.step(PoolEvent::Resize(0), at(1));
    assert_eq!(pool.desired(), 1);
}

#[test]
fn shrinking_lets_the_longest_idle_go_and_never_a_busy_one() {
    let (mut pool, agents) = warm(3, 3);
    let busy = run(&mut pool, task(1, None), at(1));
    let other = run(&mut pool, task(2, None), at(1));
    pool.step(ready(other), at(10));
    pool.step(PoolEvent::Configure { min: 1, max: 3 }, at(10));
    let oldest = *agents.iter().find(|agent| **agent != busy && **agent != other).unwrap();
    assert!(stopped(&pool.step(PoolEvent::Resize(1), at(20))).is_empty(), "cooldown comes first");
    let gone = stopped(&pool.step(PoolEvent::Tick, at(25)));
    assert_eq!(gone.len(), 2);
    assert!(gone.contains(&oldest) && gone.contains(&other) && !gone.contains(&busy));
    assert_eq!(pool.counts().busy, 1);
}

#[test]
fn cooldown_can_be_taken_back_without_a_start() {
    let (mut pool, _) = warm(2, 4);
    pool.step(PoolEvent::Configure { min: 0, max: 4 }, at(1));
    let actions = pool.step(PoolEvent::Resize(0), at(1));
    assert!(actions.contains(&PoolAction::Withdraw(2)), "{actions:?}");
    pool.step(PoolEvent::Withdrawn { asked: 2, got: 2 }, at(1));
    assert_eq!(pool.counts().cooldown, 2);
    let actions = pool.step(PoolEvent::Resize(2), at(3));
    assert!(spawned(&actions).is_empty());
    assert_eq!(demanded(&actions), 2);
    assert_eq!(pool.counts().ready, 2);
}

#[test]
fn a_busy_agent_that_is_not_needed_stops_after_its_task_unless_it_is_needed_again() {
    let (mut pool, _) = warm(1, 2);
    let agent = run(&mut pool, task(1, None), at(1));
    pool.step(PoolEvent::Configure { min: 0, max: 2 }, at(1));
    assert!(stopped(&pool.step(PoolEvent::Resize(0), at(2))).is_empty());
    assert_eq!(pool.counts(), AgentCounts { cooldown: 1, ..AgentCounts::default() });
    pool.step(PoolEvent::Resize(1), at(3));
    assert_eq!(pool.counts(), AgentCounts { busy: 1, ..AgentCounts::default() });
    pool.step(PoolEvent::Resize(0), at(4));
    pool.step(ready(agent), at(5));
    assert_eq!(stopped(&pool.step(PoolEvent::Tick, at(10))), vec![agent]);
}

#[test]
fn a_lost_agent_is_replaced_after_its_backoff_and_its_task_is_settled() {
    let (mut pool, _) = warm(1, 1);
    let agent = run(&mut pool, task(1, None), at(1));
    let actions = pool.step(down(agent, "killed"), at(2));
    assert!(matches!(&actions[0], PoolAction::Lost { reason, .. } if reason == "killed"), "{actions:?}");
    let replaced = spawned(&actions);
    assert_eq!(replaced.len(), 1, "one death is not enough to blame the agents for");
    let actions = pool.step(down(replaced[0], "no model"), at(2));
    let wake = actions.iter().find_map(|action| if let PoolAction::Wake(at) = action { Some(*at) } else { None });
    assert_eq!(spawned(&pool.step(PoolEvent::Tick, wake.unwrap())).len(), 1);
}

#[test]
fn a_crash_loop_opens_the_circuit_and_one_good_task_closes_it() {
    let mut pool = machine(1, 1);
    let mut agents = spawned(&pool.step(PoolEvent::Tick, at(0)));
    let mut now = at(0);
    let mut opened = false;
    while let Some(agent) = agents.pop() {
        now = now + Duration::from_millis(10);
        let actions = pool.step(down(agent, "no model"), now);
        opened |= actions.contains(&PoolAction::CircuitOpened { reason: "no model".into() });
        let wake = actions.iter().find_map(|action| if let PoolAction::Wake(at) = action { Some(*at) } else { None });
        now = wake.unwrap();
        agents = if opened { vec![] } else { spawned(&pool.step(PoolEvent::Tick, now)) };
    }
    assert!(opened);
    assert_eq!(pool.circuit(now - Duration::from_secs(1)).unwrap().1, "no model");
    let trial = spawned(&pool.step(PoolEvent::Tick, now));
    assert_eq!(trial.len(), 1, "one agent is tried once the circuit has been open for its time");
    pool.step(PoolEvent::Started { agent: trial[0], pid: None }, now);
    run(&mut pool, task(1, None), now);
    pool.step(ready(trial[0]), now);
    assert!(pool.circuit(now).is_none());
}

#[test]
fn a_crash_in_a_later_task_is_blamed_on_the_task() {
    let (mut pool, agents) = warm(1, 1);
    let mut agent = agents[0];
    for round in 0..50 {
        let now = at(round);
        run(&mut pool, task(1, None), now);
        pool.step(ready(agent), now);
        run(&mut pool, task(2, None), now);
        agent = spawned(&pool.step(down(agent, "poison"), now))[0];
        pool.step(PoolEvent::Started { agent, pid: None }, now);
    }
    assert!(pool.circuit(at(50)).is_none());
    assert_eq!(pool.tally().failures, 50);
}

#[test]
fn a_paused_pool_hands_tasks_back_and_asks_for_none() {
    let (mut pool, _) = warm(2, 2);
    assert_eq!(pool.step(PoolEvent::Pause, at(1)), vec![PoolAction::Withdraw(2)]);
    let late = task(1, None);
    assert_eq!(pool.step(PoolEvent::Assigned(vec![late.clone()]), at(1)), vec![PoolAction::Release(late)]);
    pool.step(PoolEvent::Withdrawn { asked: 2, got: 1 }, at(1));
    assert_eq!(demanded(&pool.step(PoolEvent::Resume, at(2))), 2);
}

#[test]
fn stopping_lets_running_tasks_finish() {
    let (mut pool, agents) = warm(2, 2);
    let busy = run(&mut pool, task(1, None), at(1));
    let idle = *agents.iter().find(|agent| **agent != busy).unwrap();
    assert_eq!(stopped(&pool.step(PoolEvent::Stop, at(2))), vec![idle]);
    assert_eq!(stopped(&pool.step(ready(busy), at(3))), vec![busy]);
    pool.step(PoolEvent::Down { agent: idle, reason: None }, at(3));
    pool.step(PoolEvent::Down { agent: busy, reason: None }, at(3));
    assert_eq!(pool.agents().count(), 0);
    assert!((pool.agent_seconds(at(9)) - 6.0).abs() < 1e-9);
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Move {
        Resize(u32),
        Bounds(u32, u32),
        Start,
        Assign(usize),
        Finish(bool),
        Crash,
        Pause(bool),
        Answer,
        Wait(u16),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            1 => (0u32..12).prop_map(Move::Resize),
            1 => (0u32..4, 0u32..10).prop_map(|(min, more)| Move::Bounds(min, min + more)),
            4 => Just(Move::Start),
            4 => (1usize..6).prop_map(Move::Assign),
            4 => any::<bool>().prop_map(Move::Finish),
            1 => Just(Move::Crash),
            1 => any::<bool>().prop_map(Move::Pause),
            2 => Just(Move::Answer),
            1 => (0u16..8_000).prop_map(Move::Wait),
        ];
        proptest::collection::vec(one, 1..120)
    }

    proptest! {
        /// Whatever happens in whatever order: no task is lost, no task runs twice, the bounds apply, and no busy agent
        /// is stopped.
        #[test]
        fn no_lease_is_lost_and_the_bounds_hold(moves in moves()) {
            let mut pool = PoolMachine::new(PoolRules { max_burst: 4, ..rules(1, 4) }, 1);
            let (mut now, mut serial, mut open, mut withdrawals) = (at(0), 0u128, 0usize, Vec::new());
            let mut out = std::collections::HashSet::new();
            let mut queue = vec![PoolEvent::Tick];
            for step in moves {
                let pick = |state: AgentState, pool: &PoolMachine| {
                    pool.agents().filter(|(_, record)| record.state == state).map(|(agent, _)| *agent).min()
                };
                match step {
                    Move::Resize(target) => queue.push(PoolEvent::Resize(target)),
                    Move::Bounds(min, max) => queue.push(PoolEvent::Configure { min, max }),
                    Move::Start => queue.extend(pick(AgentState::Starting, &pool).map(|agent| PoolEvent::Started { agent, pid: None })),
                    Move::Assign(count) if open > 0 => {
                        let count = count.min(open);
                        open -= count;
                        let tasks = (0..count).map(|_| {
                            serial += 1;
                            let mut task = task(serial, None);
                            Arc::make_mut(&mut task).crashes = u32::from(serial % 3 == 0);
                            out.insert(task.id);
                            task
                        });
                        queue.push(PoolEvent::Assigned(tasks.collect()));
                    }
                    Move::Finish(is_quick) => queue.extend(pick(AgentState::Busy, &pool).map(|agent| {
                        let record = pool.agents().find(|(id, _)| **id == agent).unwrap().1;
                        assert!(record.leases.iter().all(|(task, _)| out.remove(task)));
                        let pace = if is_quick { RunPace::Quick } else { RunPace::Waited };
                        let run = RunSummary { tasks: record.leases.len() as u32, pace };
                        PoolEvent::Ready { agent, memory: None, run }
                    })),
                    Move::Crash => queue.extend(pick(AgentState::Busy, &pool).map(|agent| down(agent, "crash"))),
                    Move::Pause(true) => queue.push(PoolEvent::Pause),
                    Move::Pause(false) => queue.push(PoolEvent::Resume),
                    Move::Answer => queue.extend(withdrawals.pop().map(|asked: usize| {
                        let got = asked.min(open);
                        open -= got;
                        PoolEvent::Withdrawn { asked, got }
                    })),
                    Move::Wait(millis) => now = now + Duration::from_millis(u64::from(millis)),
                    Move::Assign(_) => {}
                }
                queue.push(PoolEvent::Tick);
                for event in queue.drain(..) {
                    for action in pool.step(event, now) {
                        match action {
                            PoolAction::Demand(slots) => open += slots,
                            PoolAction::Withdraw(slots) => withdrawals.push(slots),
                            PoolAction::Release(task) => prop_assert!(out.remove(&task.id)),
                            PoolAction::Lost { task, .. } => prop_assert!(out.remove(&task)),
                            PoolAction::Stop(agent) => prop_assert!(
                                pool.agents().any(|(id, record)| *id == agent && record.leases.is_empty()),
                                "a busy agent was stopped"
                            ),
                            _ => {}
                        }
                    }
                    let (min, max) = pool.bounds();
                    prop_assert!((min..=max).contains(&pool.desired()));
                    prop_assert!(pool.counts().size() <= max.max(pool.desired()));
                    let running: std::collections::HashSet<_> = pool.agents().flat_map(|(_, record)| &record.leases).map(|(task, _)| *task).chain(pool.waiting_suspects()).collect();
                    prop_assert_eq!(&running, &out, "every task that is out is with exactly one agent, or waits for one");
                }
            }
        }
    }
}
