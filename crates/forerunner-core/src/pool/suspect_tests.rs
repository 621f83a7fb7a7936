use std::{collections::BTreeMap, sync::Arc};

use super::{
    tests::{at, ready, rules, run, spawned, task, warm},
    *,
};
use crate::{ErrorKind, Task, TaskError};

/// A task that cost an agent before.
fn suspect(n: u128) -> Arc<Task> {
    let mut suspect = Task::clone(&task(n, None));
    suspect.crashes = 1;
    suspect.error = Some(TaskError::new(ErrorKind::AgentLost, "killed"));
    Arc::new(suspect)
}

fn down(agent: AgentId) -> PoolEvent {
    PoolEvent::Down { agent, reason: Some("killed".to_owned()) }
}

fn runs(actions: &[PoolAction]) -> Vec<(AgentId, TaskId)> {
    let run = |action: &PoolAction| {
        if let PoolAction::Run { agent, task, .. } = action { Some((*agent, task.id)) } else { None }
    };
    actions.iter().filter_map(run).collect()
}

/// Lets one agent of a warm pool finish a task; answers the pool, that agent and the others.
fn with_one_proven(size: u32) -> (PoolMachine, AgentId, Vec<AgentId>) {
    let (mut pool, agents) = warm(size, size);
    let proven = run(&mut pool, task(100, None), at(0));
    pool.step(ready(proven), at(0));
    (pool, proven, agents.into_iter().filter(|agent| *agent != proven).collect())
}

#[test]
fn who_is_to_blame_follows_from_what_the_agent_and_the_task_did_before() {
    // Tasks that the agent finished, whether its task is a suspect → whether a death counts as one of new agents.
    for (finished, is_suspect, counts) in [(0, false, true), (0, true, false), (1, false, false), (1, true, false)] {
        let (mut pool, agents) = warm(1, 1);
        let mut agent = agents[0];
        for round in 0..6 {
            (0..finished).for_each(|_| {
                run(&mut pool, task(1, None), at(round));
                pool.step(ready(agent), at(round));
            });
            run(&mut pool, if is_suspect { suspect(2) } else { task(2, None) }, at(round));
            let actions = pool.step(down(agent), at(round));
            let began = actions.iter().any(|action| matches!(action, PoolAction::ProbationBegan { .. }));
            assert_eq!(began, counts && round == 5, "{finished} finished, suspect: {is_suspect}, round {round}");
            let Some(next) = spawned(&actions).pop() else { break };
            agent = next;
            pool.step(PoolEvent::Started { agent, pid: None }, at(round));
        }
        assert_eq!(pool.circuit(at(6)).is_some(), counts);
    }
}

#[test]
fn agents_that_do_not_start_open_the_circuit_as_ever() {
    let mut pool = PoolMachine::new(rules(6, 6), 6);
    let agents = spawned(&pool.step(PoolEvent::Tick, at(0)));
    let opened = |actions: Vec<PoolAction>| actions.iter().any(|a| matches!(a, PoolAction::CircuitOpened { .. }));
    let openings: Vec<bool> = agents.into_iter().map(|agent| opened(pool.step(down(agent), at(0)))).collect();
    assert_eq!(openings, [false, false, false, false, false, true]);
}

#[test]
fn a_suspect_goes_to_an_agent_that_proved_itself_and_a_fresh_task_to_any() {
    let (mut pool, proven, _) = with_one_proven(3);
    // An unsuspected task would go to the agent used last, which is the proven one.
    let actions = pool.step(PoolEvent::Assigned(vec![suspect(1)]), at(1));
    assert_eq!(runs(&actions), [(proven, suspect(1).id)]);
    let actions = pool.step(PoolEvent::Assigned(vec![suspect(2)]), at(1));
    assert_eq!(runs(&actions).len(), 1, "with none left a new agent has to do");
}

/// A task that dies of one crash more.
fn on_last_life(n: u128) -> Arc<Task> {
    let mut task = Task::clone(&suspect(n));
    task.crashes = task.retry.max_crashes - 1;
    Arc::new(task)
}

#[test]
fn the_last_try_is_on_an_agent_that_ran_nothing_else() {
    let (mut pool, proven, _) = with_one_proven(3);
    let actions = pool.step(PoolEvent::Assigned(vec![on_last_life(1)]), at(1));
    let [(agent, _)] = runs(&actions)[..] else { panic!("{actions:?}") };
    assert_ne!(agent, proven);
}

#[test]
fn an_idle_agent_is_replaced_for_a_last_try_if_none_is_unused_and_other_suspects_do_not_wait() {
    let (mut pool, _) = warm(3, 3);
    let used: Vec<AgentId> = (0..3).map(|n| run(&mut pool, task(200 + n, None), at(1))).collect();
    used.iter().for_each(|agent| drop(pool.step(ready(*agent), at(1))));
    let actions = pool.step(PoolEvent::Assigned(vec![on_last_life(1), on_last_life(2), suspect(3)]), at(2));
    assert_eq!(runs(&actions).iter().map(|(_, task)| *task).collect::<Vec<_>>(), [suspect(3).id], "{actions:?}");
    let stopped = actions.iter().filter(|action| matches!(action, PoolAction::Stop(_))).count();
    let fresh = spawned(&actions);
    assert_eq!((stopped, fresh.len()), (1, 1), "one at a time: {actions:?}");
    let actions = pool.step(PoolEvent::Tick, at(3));
    assert_eq!((runs(&actions).len(), spawned(&actions).len()), (0, 0), "the replacement starts: {actions:?}");
    let actions = pool.step(PoolEvent::Started { agent: fresh[0], pid: None }, at(4));
    assert_eq!(runs(&actions), [(fresh[0], on_last_life(1).id)]);
    pool.step(PoolEvent::Stop, at(5));
    assert_eq!(pool.waiting_suspects().count(), 0);
}

#[test]
fn one_agent_is_left_for_the_others_while_suspects_run() {
    let (mut pool, agents) = warm(3, 3);
    let actions = pool.step(PoolEvent::Assigned((1..=3).map(suspect).collect()), at(1));
    assert_eq!(runs(&actions).len(), 2, "{actions:?}");
    assert_eq!(pool.waiting_suspects().collect::<Vec<_>>(), [suspect(3).id]);
    assert!(actions.contains(&PoolAction::Demand(1)), "other work is asked for: {actions:?}");
    let actions = pool.step(PoolEvent::Assigned(vec![task(4, None)]), at(1));
    assert_eq!(runs(&actions).len(), 1);
    let free = *agents.iter().find(|agent| pool.runner(suspect(1).id) == Some(**agent)).unwrap();
    assert_eq!(runs(&pool.step(ready(free), at(2))), [(free, suspect(3).id)]);
}

#[test]
fn a_pool_of_one_runs_suspects_too() {
    let (mut pool, agents) = warm(1, 1);
    assert_eq!(runs(&pool.step(PoolEvent::Assigned(vec![suspect(1)]), at(1))), [(agents[0], suspect(1).id)]);
}

#[test]
fn a_suspect_that_waits_goes_back_when_it_is_to_stop_and_when_its_deadline_or_a_pause_comes() {
    let waiting = || {
        let (mut pool, _) = warm(2, 2);
        let mut late = Task::clone(&suspect(2));
        late.deadline = Some(at(5));
        pool.step(PoolEvent::Assigned(vec![suspect(1), Arc::new(late.clone())]), at(1));
        assert_eq!(pool.waiting_suspects().count(), 1);
        (pool, Arc::new(late))
    };
    for (event, when) in [
        (PoolEvent::Unwanted(suspect(2).id), at(2)),
        (PoolEvent::Tick, at(5)),
        (PoolEvent::Pause, at(2)),
        (PoolEvent::Stop, at(2)),
    ] {
        let (mut pool, late) = waiting();
        let actions = pool.step(event.clone(), when);
        assert!(actions.contains(&PoolAction::Release(late)), "{event:?}: {actions:?}");
        assert_eq!(pool.waiting_suspects().count(), 0);
    }
    let (mut pool, _) = waiting();
    assert!(pool.step(PoolEvent::Tick, at(2)).contains(&PoolAction::Wake(at(5))));
}

#[test]
fn starts_in_flight_are_bounded() {
    let mut pool = PoolMachine::new(PoolRules { max_starting: 4, ..rules(10, 10) }, 10);
    let first = spawned(&pool.step(PoolEvent::Tick, at(0)));
    assert_eq!(first.len(), 4);
    let mut started = 0;
    let mut queue = first;
    while let Some(agent) = queue.pop() {
        queue.extend(spawned(&pool.step(PoolEvent::Started { agent, pid: None }, at(1))));
        started += 1;
        assert!(pool.counts().starting <= 4);
    }
    assert_eq!((started, pool.counts().ready), (10, 10));
}

/// A pool in a simulated world, in milliseconds: starts take time, good tasks succeed, and poison kills its agent.
struct World {
    pool: PoolMachine,
    now: i64,
    /// What happens when.
    due: BTreeMap<(i64, u64), Due>,
    serial: u64,
    /// Tasks in the queue: by priority, then by arrival.
    queue: BTreeMap<(bool, i64, u64), Waiting>,
    slots: usize,
    waits: Vec<i64>,
    dead: usize,
    /// Good tasks among the dead.
    dead_good: usize,
    /// Poison ends well, and its agent so many milliseconds later. Good tasks take longer then.
    fuse: Option<i64>,
}

#[derive(Clone)]
struct Waiting {
    task: Arc<Task>,
    is_poison: bool,
    came: i64,
}

enum Due {
    Pool(PoolEvent),
    Arrives(Waiting),
}

impl World {
    const COLD_START: i64 = 300;
    const RUN: i64 = 10;

    fn new(agents: u32) -> Self {
        let pool = PoolMachine::new(rules(agents, agents), agents);
        let mut world = Self {
            pool,
            now: 0,
            due: BTreeMap::new(),
            serial: 0,
            queue: BTreeMap::new(),
            slots: 0,
            waits: Vec::new(),
            dead: 0,
            dead_good: 0,
            fuse: None,
        };
        world.later(0, Due::Pool(PoolEvent::Tick));
        world
    }

    fn later(&mut self, after: i64, due: Due) {
        self.serial += 1;
        self.due.insert((self.now + after, self.serial), due);
    }

    fn arrives(&mut self, at: i64, is_poison: bool) {
        self.serial += 1;
        let task = task(u128::from(self.serial), None);
        let due = Due::Arrives(Waiting { task, is_poison, came: at });
        self.due.insert((at, self.serial), due);
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.now * 1_000)
    }

    fn run(&mut self, until: i64) {
        let mut known = BTreeMap::new();
        while let Some(((at, _), due)) = self.due.pop_first() {
            if at > until {
                return;
            }
            self.now = at;
            match due {
                Due::Arrives(waiting) => {
                    self.serial += 1;
                    self.queue.insert((waiting.is_poison, at, self.serial), waiting);
                }
                Due::Pool(event) => self.step(event, &mut known),
            }
            self.assign(&mut known);
        }
    }

    fn assign(&mut self, known: &mut BTreeMap<TaskId, Waiting>) {
        while self.slots > 0
            && let Some((_, waiting)) = self.queue.pop_first()
        {
            self.slots -= 1;
            known.insert(waiting.task.id, waiting.clone());
            self.step(PoolEvent::Assigned(vec![waiting.task]), known);
        }
    }

    fn step(&mut self, event: PoolEvent, known: &mut BTreeMap<TaskId, Waiting>) {
        for action in self.pool.step(event, self.time()) {
            match action {
                PoolAction::Spawn(agent) => {
                    self.later(Self::COLD_START, Due::Pool(PoolEvent::Started { agent, pid: None }));
                }
                PoolAction::Run { agent, task, .. } => {
                    let waiting = &known[&task.id];
                    let is_poison = waiting.is_poison;
                    if !is_poison {
                        self.waits.push(self.now - waiting.came);
                    }
                    let ends_well = !is_poison || self.fuse.is_some();
                    let run = if !is_poison && self.fuse.is_some() { 30 * Self::RUN } else { Self::RUN };
                    self.later(run, Due::Pool(if ends_well { ready(agent) } else { down(agent) }));
                    if let Some(fuse) = self.fuse.filter(|_| is_poison) {
                        self.later(Self::RUN + fuse, Due::Pool(down(agent)));
                    }
                }
                PoolAction::Lost { task, .. } => self.crashed(known[&task].clone()),
                PoolAction::Demand(slots) => self.slots += slots,
                PoolAction::Withdraw(asked) => {
                    let got = asked.min(self.slots);
                    self.slots -= got;
                    self.later(0, Due::Pool(PoolEvent::Withdrawn { asked, got }));
                }
                PoolAction::Wake(at) => {
                    let after = (at.since(self.time()).as_micros() as i64 + 999) / 1_000;
                    self.later(after, Due::Pool(PoolEvent::Tick));
                }
                _ => {}
            }
        }
    }

    fn crashed(&mut self, waiting: Waiting) {
        let mut task = Task::clone(&waiting.task);
        task.crashes += 1;
        task.error = Some(TaskError::new(ErrorKind::AgentLost, "killed"));
        if task.crashes == 3 {
            self.dead += 1;
            self.dead_good += usize::from(!waiting.is_poison);
            return;
        }
        let due = i64::from(task.crashes) * 200;
        self.later(due, Due::Arrives(Waiting { task: Arc::new(task), ..waiting }));
    }
}

/// Six poisonous tasks a second and urgent good ones: few, many, or none until the poison has arrived for long.
#[test]
fn urgent_tasks_get_through_beside_poison() {
    for agents in [1, 2, 4, 8] {
        for (first, every) in [(0, 250), (0, 5_000), (30_000, 1_000)] {
            let mut world = World::new(agents);
            (0..60_000).step_by(167).for_each(|at| world.arrives(at, true));
            (first..60_000).step_by(every).for_each(|at| world.arrives(at, false));
            world.run(65_000);
            let worst = world.waits.iter().max().copied().unwrap_or(i64::MAX);
            let sent = (first..60_000).step_by(every).count();
            assert_eq!(world.waits.len(), sent, "{agents} agents, one in {every} ms from {first} ms");
            assert!(worst <= 2_000, "{agents} agents, one in {every} ms from {first} ms: waited {worst} ms");
        }
    }
}

/// Tasks that end well and leave something behind that ends their agent in the middle of the next task.
#[test]
fn what_a_task_leaves_in_its_agent_costs_no_other_task_its_life() {
    for agents in [1, 2, 4, 8] {
        for (fuse, every) in [(50, 100), (50, 300), (150, 400), (250, 1_000)] {
            let mut world = World::new(agents);
            world.fuse = Some(fuse);
            (0..60_000).step_by(every).for_each(|at| world.arrives(at, true));
            (5..60_000).step_by(every).for_each(|at| world.arrives(at, false));
            world.run(600_000);
            assert_eq!(world.dead_good, 0, "{agents} agents, a fuse of {fuse} ms, one in {every} ms");
        }
    }
}

/// Agents that die in each first task: tasks lose a try each, and few all of them.
#[test]
fn broken_agents_kill_few_tasks() {
    let mut world = World::new(4);
    (0..2_000).for_each(|n| world.arrives(n, true));
    world.run(120_000);
    assert!(world.dead <= 8, "{} tasks are dead after two minutes", world.dead);
    assert!(world.pool.circuit(world.time()).is_some());
}
