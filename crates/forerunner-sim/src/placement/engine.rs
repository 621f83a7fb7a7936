//! The discrete events of a replay.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet, VecDeque},
};

use forerunner_core::{
    Timestamp,
    placement::{Agent, LOOKAHEAD, PairCost, PlacementPlan, RestoreCost, Room, WaitingTask, choose},
};

use super::{
    PlacementLoad, PlacementPolicy, PlacementReport, agents::Workers, push::Router, queue::Queue, report::Sums,
};

/// How a load is replayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlacementReplay {
    /// Agents, at least 1.
    pub agents: u32,
    /// Room of each for contexts.
    pub room: Room,
    /// All agents share one store with the room of all: a context that one restored is resident in all.
    pub shared_store: bool,
    /// The cost of restoring a context.
    pub restore: RestoreCost,
    /// At most one task of a context runs at any time, as in a pool.
    pub one_of_a_context: bool,
}

impl Default for PlacementReplay {
    /// Twelve agents with 4 MB each, 5 ms and 2 s/MB for a restore.
    fn default() -> Self {
        Self {
            agents: 12,
            room: Room::of_bytes(4_000_000),
            shared_store: false,
            restore: RestoreCost { fixed_s: 0.005, s_per_byte: 2e-6 },
            one_of_a_context: false,
        }
    }
}

/// Replays a load under a policy; `progress` gets the number of started tasks now and then.
pub fn replay_placement(
    load: &PlacementLoad,
    policy: PlacementPolicy,
    settings: &PlacementReplay,
    mut progress: impl FnMut(usize),
) -> PlacementReport {
    let mut engine = Engine::new(load, policy, settings);
    while let Some((now, event)) = engine.next() {
        engine.happen(now, event);
        engine.place(now);
        if engine.begun.is_multiple_of(256) {
            progress(engine.begun);
        }
    }
    progress(engine.begun);
    engine.sums.report(load, policy.as_str(), settings)
}

/// A task that began on an agent, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlacementStart {
    /// The task, by its place in the load.
    pub task: usize,
    /// The agent, counted from 0.
    pub agent: usize,
    /// Seconds from the begin of the load.
    pub at_s: f64,
}

/// Computes the figures of decisions that were made elsewhere. `starts` has the place of each task, in the order of
/// their starts.
pub fn count_placement(load: &PlacementLoad, starts: &[PlacementStart], settings: &PlacementReplay) -> PlacementReport {
    let mut workers = Workers::new(load, settings);
    let mut sums = Sums::default();
    for PlacementStart { task, agent, at_s } in starts {
        let start = workers.start(*task, *agent, at(*at_s), settings);
        let one = &load.tasks()[*task];
        sums.began(one.bytes, start.missing_bytes, (at_s - one.arrival_s).max(0.0), start.restore_s);
        workers.finish(*agent, at(*at_s));
    }
    sums.report(load, "given", settings)
}

/// What happens next; in this order when several are due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Finish(usize),
    Arrive(usize),
    /// A deferral ends.
    Wake,
}

struct Engine<'a> {
    load: &'a PlacementLoad,
    policy: PlacementPolicy,
    settings: &'a PlacementReplay,
    workers: Workers<'a>,
    queue: Queue,
    router: Router,
    /// Under push policies, which task waits for which agent.
    lines: Vec<VecDeque<usize>>,
    events: BinaryHeap<Reverse<(Timestamp, Event)>>,
    arrived: usize,
    begun: usize,
    deferred: HashSet<usize>,
    sums: Sums,
}

impl<'a> Engine<'a> {
    fn new(load: &'a PlacementLoad, policy: PlacementPolicy, settings: &'a PlacementReplay) -> Self {
        Self {
            load,
            policy,
            settings,
            workers: Workers::new(load, settings),
            queue: Queue::new(settings.one_of_a_context),
            router: Router::default(),
            lines: vec![VecDeque::new(); settings.agents as usize],
            events: BinaryHeap::new(),
            arrived: 0,
            begun: 0,
            deferred: HashSet::new(),
            sums: Sums::default(),
        }
    }

    fn next(&mut self) -> Option<(Timestamp, Event)> {
        let arrival = self.load.tasks().get(self.arrived).map(|task| (at(task.arrival_s), Event::Arrive(self.arrived)));
        match (self.events.peek(), arrival) {
            (Some(Reverse(event)), Some(arrival)) if *event > arrival => {
                self.arrived += 1;
                Some(arrival)
            }
            (None, Some(arrival)) => {
                self.arrived += 1;
                Some(arrival)
            }
            (Some(_), _) => self.events.pop().map(|Reverse(event)| event),
            (None, None) => None,
        }
    }

    fn happen(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Wake => {}
            Event::Arrive(task) => {
                if self.queue.arrive(task, self.load.tasks()[task].context) {
                    self.route(task);
                }
            }
            Event::Finish(worker) => {
                let Some(task) = self.workers.finish(worker, now) else { return };
                if let Some(next) = self.queue.finish(self.load.tasks()[task].context) {
                    self.route(next);
                }
            }
        }
    }

    /// Under a push policy, sends a task that may run to an agent's own line.
    fn route(&mut self, task: usize) {
        if !self.policy.is_push() {
            return;
        }
        let load = |(worker, line): (usize, &VecDeque<usize>)| line.len() + usize::from(!self.workers.is_idle(worker));
        let loads: Vec<usize> = self.lines.iter().enumerate().map(load).collect();
        let worker = self.router.route(self.policy, self.load.tasks()[task].context, &loads);
        self.queue.ready.remove(&task);
        self.lines[worker].push_back(task);
    }

    /// Assigns tasks to idle agents.
    fn place(&mut self, now: Timestamp) {
        match self.policy {
            PlacementPolicy::Ours => self.place_by_choice(now),
            policy if policy.is_push() => {
                for worker in 0..self.lines.len() {
                    if self.workers.is_idle(worker)
                        && let Some(task) = self.lines[worker].pop_front()
                    {
                        self.begin(task, worker, now);
                    }
                }
            }
            policy => self.place_in_order(policy, now),
        }
    }

    fn place_in_order(&mut self, policy: PlacementPolicy, now: Timestamp) {
        while let Some(task) = self.queue.ready.first().copied() {
            let mut idle = (0..self.workers.all.len()).filter(|worker| self.workers.is_idle(*worker));
            let chosen = match policy {
                PlacementPolicy::LeastRecentlyUsed => idle.min_by_key(|worker| self.workers.all[*worker].idle_since),
                _ => idle.next(),
            };
            let Some(worker) = chosen else { return };
            self.queue.ready.remove(&task);
            self.begin(task, worker, now);
        }
    }

    fn place_by_choice(&mut self, now: Timestamp) {
        while self.workers.any_idle() && !self.queue.ready.is_empty() {
            let (order, agents) = self.workers.seen(now);
            let idle = agents.iter().filter(|agent| **agent == Agent::Idle).count();
            let window: Vec<usize> = self.queue.ready.iter().copied().take(idle + LOOKAHEAD).collect();
            let plan = self.plan(&window, &order, &agents, now);
            for deferral in &plan.deferrals {
                self.deferred.insert(window[deferral.task]);
                self.events.push(Reverse((now + seconds(deferral.for_s), Event::Wake)));
            }
            if plan.choices.is_empty() {
                return;
            }
            for choice in plan.choices {
                let task = window[choice.task];
                self.queue.ready.remove(&task);
                self.begin(task, order[choice.agent], now);
            }
        }
    }

    fn plan(&self, window: &[usize], order: &[usize], agents: &[Agent], now: Timestamp) -> PlacementPlan {
        let waiting = |task: &usize| {
            let task = &self.load.tasks()[*task];
            WaitingTask { bytes: task.bytes, waited_s: now.since(at(task.arrival_s)).as_secs_f64(), priority: 0 }
        };
        let tasks: Vec<WaitingTask> = window.iter().map(waiting).collect();
        let rates = self.workers.learned.rates();
        let fit = |task: usize, agent: usize| self.workers.fit(window[task], order[agent], &rates, now);
        if self.workers.is_shared() {
            let same: Vec<PairCost> = (0..window.len()).map(|task| fit(task, 0)).collect();
            return choose(&tasks, agents, &rates, true, |task, _| same[task]);
        }
        choose(&tasks, agents, &rates, true, fit)
    }

    fn begin(&mut self, task: usize, worker: usize, now: Timestamp) {
        let start = self.workers.start(task, worker, now, self.settings);
        let one = &self.load.tasks()[task];
        let wait_s = now.since(at(one.arrival_s)).as_secs_f64();
        self.sums.began(one.bytes, start.missing_bytes, wait_s, start.restore_s);
        self.sums.deferred += u64::from(self.deferred.remove(&task));
        self.begun += 1;
        let ends = now + seconds(start.restore_s + one.service_s);
        self.events.push(Reverse((ends, Event::Finish(worker))));
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_micros((seconds * 1e6).round() as i64)
}

/// At least a microsecond, so that time advances.
fn seconds(seconds: f64) -> std::time::Duration {
    let micros = (seconds * 1e6).ceil().clamp(1.0, 1e15);
    std::time::Duration::from_micros(micros as u64)
}
