//! Prints what placing a task costs: without contexts, with them, and the choice alone.

use std::{hint::black_box, sync::Arc, time::Instant};

use forerunner_core::{
    AgentId, ContextId, LeaseEpoch, NewTask, Payload, PoolAction, PoolEvent, PoolMachine, PoolName, PoolRules,
    RestartPolicy, RetryPolicy, RunSummary, ScaleDownOrder, Task, TaskId, TaskState, Timestamp,
    placement::{
        Agent, AgentContexts, LOOKAHEAD, PairCost, Rates, ResidentEntry, RestoreCost, Restored, Room, WaitingTask,
        choose,
    },
};

const TASKS: u32 = 200_000;
const MB: u64 = 1_000_000;

fn main() {
    for agents in [8, 64, 1_000] {
        report("pool, no contexts", agents, tasks(agents, false));
        report("pool, contexts", agents, tasks(agents, true));
    }
    for agents in [12, 64] {
        report("choice of 16 + idle tasks", agents, choices(agents));
    }
}

fn report(what: &str, agents: u32, nanos: f64) {
    println!("{what:>28}, {agents:>5} agents: {nanos:10.1} ns");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed(count: u32, mut work: impl FnMut(u32)) -> f64 {
    let begun = Instant::now();
    (0..count).for_each(&mut work);
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

/// One task after another through a pool: assigned, then its agent is ready again.
fn tasks(agents: u32, contexts: bool) -> f64 {
    let mut pool = warm_pool(agents);
    let names: Vec<ContextId> =
        (0..agents * 4).map(|n| ContextId::new(format!("context-{n}")).expect("a name")).collect();
    let ready: Vec<Arc<Task>> =
        (0..agents * 4).map(|n| task(u128::from(n), contexts.then(|| names[n as usize].clone()))).collect();
    let mut actions = Vec::new();
    let mut step = |n: u32| {
        let now = at(i64::from(n) + 1);
        let task = &ready[(n % (agents * 4)) as usize];
        pool.step_into(PoolEvent::Assigned(vec![task.clone()]), now, &mut actions);
        let agent = actions.drain(..).find_map(|action| match action {
            PoolAction::Run { agent, .. } => Some(agent),
            _ => None,
        });
        let Some(agent) = agent else { return };
        let memory = task.context.as_ref().map(|context| Box::new(holding(context, now)));
        pool.step_into(PoolEvent::Ready { agent, memory, run: RunSummary::ONE }, now, &mut actions);
        black_box(actions.drain(..).count());
    };
    (0..agents * 8).for_each(&mut step);
    timed(if contexts { TASKS / 10 } else { TASKS }, step)
}

fn holding(context: &ContextId, now: Timestamp) -> AgentContexts {
    let held = ResidentEntry { context: context.clone(), version: 1, bytes: MB, used_at: now };
    AgentContexts {
        contexts: vec![held],
        room: Room::of_bytes(4 * MB),
        restored: Some(Restored { bytes: MB, seconds: 2.0 }),
    }
}

fn choices(agents: u32) -> f64 {
    let idle = agents as usize / 2;
    let states: Vec<Agent> =
        (0..agents as usize).map(|n| if n < idle { Agent::Idle } else { Agent::Busy(n as f64) }).collect();
    let waiting: Vec<WaitingTask> = (0..idle + LOOKAHEAD)
        .map(|n| WaitingTask { bytes: MB, waited_s: 30.0 - n as f64 * 0.5, priority: 4 })
        .collect();
    let rates = Rates { restore: RestoreCost { fixed_s: 0.005, s_per_byte: 2e-6 }, service_s: 10.0, return_s: 60.0 };
    timed(20_000, |round| {
        black_box(choose(&waiting, &states, &rates, true, |task, agent| {
            let is_warm = (task + round as usize).is_multiple_of(states.len()) && task % states.len() == agent;
            PairCost { missing_bytes: if is_warm { 0 } else { MB }, displacement_bytes: (agent * 1_000) as f64 }
        }));
    })
}

const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn task(n: u128, context: Option<ContextId>) -> Arc<Task> {
    let mut new = NewTask::new(PoolName::new("bench").expect("a name"), Payload::null());
    new.context = context;
    let id = TaskId::from_parts(at(0), n << 64);
    let mut task = Task::accepted(id, new, at(0), std::time::Duration::from_secs(60), RetryPolicy::default());
    (task.state, task.attempt, task.epoch, task.context_version) = (TaskState::Running, 1, LeaseEpoch(1), 1);
    Arc::new(task)
}

fn warm_pool(agents: u32) -> PoolMachine {
    let rules = PoolRules {
        min: agents,
        max: agents,
        cooldown: std::time::Duration::from_secs(5),
        stop: ScaleDownOrder::LeastValuable,
        restart: RestartPolicy::default(),
        max_starting: u32::MAX,
        isolation: forerunner_core::Isolation::default(),
        start_concurrency: None,
        max_burst: 1,
        id_seed: 7,
    };
    let mut pool = PoolMachine::new(rules, agents);
    let spawned: Vec<AgentId> = pool
        .step(PoolEvent::Tick, at(0))
        .into_iter()
        .filter_map(|action| if let PoolAction::Spawn(agent) = action { Some(agent) } else { None })
        .collect();
    for agent in spawned {
        pool.step(PoolEvent::Started { agent, pid: None }, at(0));
    }
    pool
}
