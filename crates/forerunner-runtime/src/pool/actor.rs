//! Turns messages into events for [`PoolMachine`] and its actions into agents.

mod agents;
mod control;
mod queries;

use std::{iter, sync::Arc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, SpawnHandle};
use forerunner_core::{
    AgentId, ErrorKind, IdMap, LeaseEpoch, Outcome, PoolAction, PoolEvent, PoolMachine, PoolRules, Task, TaskError,
    TaskId, Timestamp,
};
use forerunner_store::Start;
use tokio::sync::oneshot;

use super::{cold_starts::ColdStarts, messages::PoolLinks, placements::Placements};
use crate::{
    agent::{
        AgentActor, AgentDeps, DriverFactory,
        messages::{AgentLinks, AgentReady, Run, StopAgent},
    },
    batcher::Batcher,
    deps::PoolDeps,
    metrics::PoolMetrics,
    queue::messages::{Assign, Demand, PoolFacts, Select, Selected, Settle, Withdraw, Withdrawn},
};

/// How long a task must run before the store gets its agent. The end of a shorter task stores its agent as well.
const ASSIGN_AFTER: Duration = Duration::from_millis(10);

/// Most leases that an agent gets in one message.
const MAX_BURST: u32 = 16;

/// Owns the agents of one pool and supervises them.
pub(crate) struct PoolActor {
    deps: Arc<PoolDeps>,
    agent_deps: Arc<AgentDeps>,
    /// The facts that the queue received last.
    facts: PoolFacts,
    /// Whether agents that start a task now become ready only after its end is durable.
    await_settles: bool,
    machine: PoolMachine,
    links: PoolLinks,
    factory: Arc<dyn DriverFactory>,
    agents: IdMap<AgentId, Addr<AgentActor>>,
    cold_starts: ColdStarts,
    placements: Placements,
    metrics: Arc<PoolMetrics>,
    /// Agents that became ready, batched.
    ready: Batcher<AgentReady>,
    /// A buffer for the machine's actions.
    actions: Vec<PoolAction>,
    /// Assignments that the store does not have yet.
    assigned: Vec<(TaskId, LeaseEpoch, Start)>,
    /// Free slots that the queue does not know of yet.
    demand: usize,
    wake: Option<(Timestamp, SpawnHandle)>,
    stopped: Option<oneshot::Sender<()>>,
}

impl PoolActor {
    /// Creates a pool without agents whose first size is `first_size`, or `min` if that is more. `min` is the settings'
    /// least size, or 0 for one node's share of a pool that several nodes share.
    pub(crate) fn new(
        agent_deps: AgentDeps,
        links: PoolLinks,
        factory: Arc<dyn DriverFactory>,
        seed: u64,
        (min, first_size): (u32, u32),
    ) -> Self {
        let deps = agent_deps.pool.clone();
        let settings = &deps.settings;
        let rules = PoolRules {
            min,
            max: settings.max,
            cooldown: settings.cooldown,
            stop: settings.scale_down,
            restart: settings.restart,
            max_starting: settings.max_starting.unwrap_or_else(|| factory.max_starting()),
            isolation: settings.isolation,
            start_concurrency: settings.start_concurrency,
            // A claim of a store in this process costs next to nothing, and so does a lease that returns.
            max_burst: if deps.node.store.local().is_some() { MAX_BURST } else { 1 },
            id_seed: seed,
        };
        Self {
            machine: PoolMachine::new(rules, first_size),
            metrics: Arc::new(PoolMetrics::new(&deps.name)),
            deps,
            agent_deps: Arc::new(agent_deps),
            facts: PoolFacts::default(),
            await_settles: false,
            links,
            factory,
            agents: IdMap::default(),
            ready: Batcher::new(),
            actions: Vec::new(),
            assigned: Vec::new(),
            demand: 0,
            cold_starts: ColdStarts::default(),
            placements: Placements::default(),
            wake: None,
            stopped: None,
        }
    }

    /// The only place where this actor's choices become effects.
    fn apply(&mut self, event: PoolEvent, ctx: &mut Context<Self>) {
        self.apply_at(self.deps.now(), event, ctx);
    }

    fn apply_at(&mut self, now: Timestamp, event: PoolEvent, ctx: &mut Context<Self>) {
        let mut assignments = Vec::new();
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.step_into(event, now, &mut actions);
        for action in actions.drain(..) {
            match action {
                PoolAction::Spawn(agent) => self.spawn_agent(agent, ctx),
                PoolAction::Run { agent, task, further } => {
                    let start = Start { agent, at: now };
                    assignments.extend(iter::once(&task).chain(&further).map(|task| (task.id, task.epoch, start)));
                    self.run(agent, task, further);
                }
                PoolAction::Placed(record) => self.placements.record(*record, &self.metrics.placement),
                PoolAction::Stop(agent) => self.stop_agent(agent),
                PoolAction::Release(task) => self.settle(task.id, task.epoch, Outcome::Released),
                PoolAction::Lost { task, epoch, reason, .. } => {
                    // The queue rejects it for a task that the agent settled before it ended.
                    self.settle(task, epoch, Outcome::Failed(TaskError::new(ErrorKind::AgentLost, reason)));
                }
                PoolAction::Demand(slots) => self.demand_soon(slots, ctx),
                PoolAction::Withdraw(slots) => {
                    self.demand_now();
                    self.links.withdraw.do_send(Withdraw(slots));
                }
                PoolAction::Wake(at) => self.wake_at(at, ctx),
                PoolAction::CircuitOpened { reason } => tracing::error!(
                    pool = %self.deps.name,
                    reason,
                    "agents fail too often; the circuit opens and no agent starts for a while; see `restart` in the configuration"
                ),
                PoolAction::ProbationBegan { reason } => tracing::warn!(
                    pool = %self.deps.name,
                    reason,
                    "new agents die in their first tasks; starting one at a time until one finishes a task"
                ),
            }
        }
        self.actions = actions;
        if !assignments.is_empty() && self.assigned.is_empty() {
            ctx.run_later(ASSIGN_AFTER, |pool, _| pool.store_assignments());
        }
        self.assigned.append(&mut assignments);
    }

    /// Stores which agents run the tasks that were assigned [`ASSIGN_AFTER`] ago. Tasks that have ended meanwhile are
    /// stored by their settle.
    fn store_assignments(&mut self) {
        let mut assigned = std::mem::take(&mut self.assigned);
        assigned.retain(|(task, epoch, start)| self.machine.has_lease(start.agent, *task, *epoch));
        if !assigned.is_empty() {
            self.deps.node.store.assign(assigned);
        }
    }

    /// Sends a demand after the messages that are in the mailbox now. So one message, and one claim, serve all agents
    /// that became ready together.
    fn demand_soon(&mut self, slots: usize, ctx: &mut Context<Self>) {
        if self.demand == 0 {
            ctx.notify(SendDemand);
        }
        self.demand += slots;
    }

    fn demand_now(&mut self) {
        match std::mem::take(&mut self.demand) {
            0 => {}
            slots => self.links.demand.do_send(Demand(slots)),
        }
    }

    fn spawn_agent(&mut self, agent: AgentId, ctx: &mut Context<Self>) {
        let links = AgentLinks {
            settle: self.links.settle.clone(),
            started: ctx.address().recipient(),
            ready: self.ready.inlet().with_reader(ctx.address().recipient()),
            down: ctx.address().recipient(),
        };
        let actor = AgentActor::new(agent, links, self.factory.clone(), self.agent_deps.clone(), self.metrics.clone());
        self.agents.insert(agent, actor.start());
    }

    fn run(&self, agent: AgentId, task: Arc<Task>, further: Vec<Arc<Task>>) {
        if let Some(actor) = self.agents.get(&agent) {
            actor.do_send(Run { task, further, await_settle: self.await_settles });
        }
    }

    fn stop_agent(&self, agent: AgentId) {
        self.preserve_contexts(agent);
        if let Some(actor) = self.agents.get(&agent) {
            actor.do_send(StopAgent { grace: self.deps.settings.task.cancel_grace });
        }
    }

    /// Restores the hot contexts of an agent that stops into the node's cache, unless the node stops too.
    fn preserve_contexts(&self, agent: AgentId) {
        if self.stopped.is_some() {
            return;
        }
        let hot = self.machine.hot_contexts(agent, self.deps.now());
        if !hot.is_empty() {
            let handed = self.agent_deps.prefetcher.hand_off(hot);
            tracing::debug!(pool = %self.deps.name, %agent, ?handed, "an agent that stops hands its contexts over");
        }
    }

    fn settle(&self, task: TaskId, epoch: LeaseEpoch, outcome: Outcome) {
        self.links.settle.send(Settle::without_run(task, epoch, outcome));
    }

    /// Sets the pool's only timer to the earliest requested wake-up.
    fn wake_at(&mut self, at: Timestamp, ctx: &mut Context<Self>) {
        if let Some((earlier, timer)) = self.wake.take() {
            if earlier <= at {
                self.wake = Some((earlier, timer));
                return;
            }
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(at.since(self.deps.now()), |pool, ctx| {
            pool.wake = None;
            pool.apply(PoolEvent::Tick, ctx);
        });
        self.wake = Some((at, timer));
    }

    /// Sends the queue the facts of the pool, if they have changed.
    fn send_facts(&mut self, facts: PoolFacts) {
        if facts != self.facts {
            self.facts = facts;
            self.links.facts.do_send(facts);
        }
    }

    /// Sends the queue the number of agents and the cost of a crash.
    fn send_size(&mut self) {
        let cold_start_s =
            self.cold_starts.summary(self.machine.max_starting()).map_or(0.0, |cold_start| cold_start.p90);
        let cold_start = Duration::from_micros((cold_start_s * 1e6) as u64);
        let counts = self.machine.counts();
        let warm = counts.ready + counts.busy + counts.cooldown;
        self.send_facts(PoolFacts { cold_start, agents: self.machine.desired(), warm, ..self.facts });
    }

    fn answer_stop_if_empty(&mut self) {
        if self.agents.is_empty()
            && let Some(reply) = self.stopped.take()
        {
            let _ = reply.send(());
        }
    }
}

impl Actor for PoolActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.apply(PoolEvent::Tick, ctx);
    }
}

/// The pool sends this to itself, to run after the messages that are in the mailbox now.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct SendDemand;

impl Handler<SendDemand> for PoolActor {
    type Result = ();

    fn handle(&mut self, _: SendDemand, _: &mut Self::Context) {
        self.demand_now();
    }
}

impl Handler<Assign> for PoolActor {
    type Result = ();

    fn handle(&mut self, Assign { tasks, await_settles }: Assign, ctx: &mut Self::Context) {
        self.await_settles = await_settles;
        self.apply(PoolEvent::Assigned(tasks), ctx);
    }
}

impl Handler<Select> for PoolActor {
    type Result = Selected;

    fn handle(&mut self, msg: Select, _: &mut Self::Context) -> Selected {
        Selected(self.machine.select(&msg.tasks, msg.limit, self.deps.now()))
    }
}

impl Handler<Withdrawn> for PoolActor {
    type Result = ();

    fn handle(&mut self, msg: Withdrawn, ctx: &mut Self::Context) {
        self.apply(PoolEvent::Withdrawn { asked: msg.asked, got: msg.got }, ctx);
    }
}
