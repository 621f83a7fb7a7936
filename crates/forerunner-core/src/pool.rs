//! The pool's choices: which agents to start, stop and reclaim, and which agent gets which task.

mod event;
mod isolation;
mod placing;
mod record;
mod residency;
mod scaling;
mod start_concurrency;
mod suspects;

#[cfg(test)]
mod residency_tests;
#[cfg(test)]
mod suspect_tests;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use event::{PoolAction, PoolEvent, RunPace, RunSummary};
pub use isolation::Isolation;
use isolation::Tenants;
pub use placing::Selection;
pub use record::AgentRecord;
use record::Blame;
use residency::ContextResidency;
pub use start_concurrency::{MeasuredStarts, StartConcurrency, StartStatus};
use suspects::WaitingSuspects;

use crate::{
    AgentCounts, AgentId, AgentState, Circuit, CircuitState, ContextId, IdMap, LeaseEpoch, RestartBudget,
    RestartPolicy, TaskId, Timestamp,
    placement::{AgentContexts, IdleAgents, Rates, ResidentEntry, ResidentSet},
};

/// What a [`PoolMachine`] is made with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolRules {
    /// Fewest agents.
    pub min: u32,
    /// Most agents.
    pub max: u32,
    /// How long an idle agent that is not needed stays in cooldown before it stops.
    pub cooldown: std::time::Duration,
    /// Which idle agent stops when there are too many.
    pub stop: ScaleDownOrder,
    /// How failed agents are replaced.
    pub restart: RestartPolicy,
    /// Most agents that start at the same time, at least 1.
    pub max_starting: u32,
    /// What an agent may run after a task of one tenant.
    pub isolation: Isolation,
    /// Agents that start at the same time; `None` to learn it, up to `max_starting`.
    pub start_concurrency: Option<u32>,
    /// Most leases of one run, at least 1: more than 1 only for a store that costs nothing to claim from.
    pub max_burst: u32,
    /// Makes the ids of this pool's agents differ from those of others; any random number.
    pub id_seed: u64,
}

/// Which idle agent stops when there are too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleDownOrder {
    /// The one whose contexts are worth least, each its bytes weighed by how lately it was used; the longest idle on ties.
    #[default]
    LeastValuable,
    /// The one idle for longest.
    OldestIdle,
}

/// What a pool did since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolTally {
    /// Agents started to grow the pool, or reclaimed from cooldown.
    pub scale_ups: u64,
    /// Agents sent to cooldown to shrink the pool.
    pub scale_downs: u64,
    /// Agents that failed.
    pub failures: u64,
    /// Tasks that found their context warm.
    pub warm_hits: u64,
    /// Tasks with a context that was not warm on an idle agent.
    pub warm_misses: u64,
    /// Bytes of contexts that were resident in the agents when tasks were placed, as far as known.
    pub hit_bytes: u64,
    /// Bytes of contexts that they lacked.
    pub missing_bytes: u64,
    /// Microseconds for which tasks were deferred for busy agents, summed.
    pub deferral_micros: u64,
}

/// Decides for one pool. Pure: time and ids come in with the events and rules.
///
/// Invariants, checked after each step in debug builds:
/// - the idle index contains exactly the agents in state `ready`;
/// - a busy agent has a lease, any other has none;
/// - the idle leases are those that the agents in state `ready` may get in their next runs;
/// - a suspect waits only while no idle agent may run it.
#[derive(Debug)]
pub struct PoolMachine {
    rules: PoolRules,
    desired: u32,
    paused: bool,
    stopping: bool,
    agents: IdMap<AgentId, AgentRecord>,
    idle: IdleAgents,
    /// How many leases the next runs of the idle agents may have.
    idle_leases: usize,
    residency: ContextResidency,
    counts: AgentCounts,
    budget: RestartBudget,
    starts: StartConcurrency,
    circuit_reason: Option<String>,
    suspects: WaitingSuspects,
    /// Whose tasks the pool was given.
    tenants: Tenants,
    /// Slots asked of the queue and not yet filled or withdrawn.
    open_slots: usize,
    /// Of those, slots that the queue was asked to forget.
    withdrawing: usize,
    next_serial: u32,
    agent_micros: u64,
    tally: PoolTally,
}

impl PoolMachine {
    /// A pool without agents, whose target is `desired`, within the bounds.
    pub fn new(rules: PoolRules, desired: u32) -> Self {
        Self {
            desired: desired.clamp(rules.min, rules.max),
            paused: false,
            stopping: false,
            agents: IdMap::default(),
            idle: IdleAgents::default(),
            idle_leases: 0,
            residency: ContextResidency::default(),
            counts: AgentCounts::default(),
            budget: RestartBudget::new(rules.restart),
            starts: StartConcurrency::new(rules.max_starting, rules.start_concurrency),
            circuit_reason: None,
            suspects: WaitingSuspects::default(),
            tenants: Tenants::default(),
            open_slots: 0,
            withdrawing: 0,
            next_serial: 0,
            agent_micros: 0,
            tally: PoolTally::default(),
            rules,
        }
    }

    /// Applies an event at `now` and returns the actions, in order.
    pub fn step(&mut self, event: PoolEvent, now: Timestamp) -> Vec<PoolAction> {
        let mut actions = Vec::new();
        self.step_into(event, now, &mut actions);
        actions
    }

    /// Like [`step`](Self::step), for a caller that reuses the vector.
    pub fn step_into(&mut self, event: PoolEvent, now: Timestamp, actions: &mut Vec<PoolAction>) {
        match event {
            PoolEvent::Tick => {}
            PoolEvent::Resize(target) => self.desired = self.clamped(target),
            PoolEvent::Configure { min, max } => self.configure(min, max),
            PoolEvent::Returns(chances) => self.residency.set_returns(chances),
            PoolEvent::Pause => {
                self.paused = true;
                self.release_suspects(actions);
            }
            PoolEvent::Resume => self.paused = false,
            PoolEvent::Stop => self.stop_all(now, actions),
            PoolEvent::Started { agent, pid } => self.on_started(agent, pid, now, actions),
            PoolEvent::Assigned(tasks) => self.on_assigned(tasks, now, actions),
            PoolEvent::Ready { agent, memory, run } => {
                self.remember(agent, memory, now);
                self.on_ready(agent, run, now, actions);
            }
            PoolEvent::Down { agent, reason } => self.on_down(agent, reason, now, actions),
            PoolEvent::Unwanted(task) => self.release_suspect(task, actions),
            PoolEvent::Withdrawn { asked, got } => {
                self.withdrawing = self.withdrawing.saturating_sub(asked);
                self.open_slots = self.open_slots.saturating_sub(got);
            }
        }
        if !self.stopping {
            self.rebalance(now, actions);
            self.place_suspects(now, actions);
        }
        self.starts.observe(self.counts.starting, now);
        self.ask_for_work(actions);
        self.check_invariants();
    }

    /// Returns how many agents may start at the same time.
    pub const fn max_starting(&self) -> u32 {
        self.starts.limit()
    }

    /// Returns the same with what it follows from.
    pub fn starts(&self) -> StartStatus {
        self.starts.status()
    }

    /// Returns the number of agents wanted now.
    pub const fn desired(&self) -> u32 {
        self.desired
    }

    /// Returns the bounds.
    pub const fn bounds(&self) -> (u32, u32) {
        (self.rules.min, self.rules.max)
    }

    /// Returns whether the pool gives out no work.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Returns until when no agent is started, and why, if the circuit is open or new agents are on probation.
    pub fn circuit(&self, now: Timestamp) -> Option<(Timestamp, &str)> {
        let reason = self.circuit_reason.as_deref()?;
        match self.budget.circuit(now) {
            Circuit::Open(until) | Circuit::Probation(until) => Some((until.max(now), reason)),
            Circuit::HalfOpen => Some((now, reason)),
            // What was an open circuit by itself became an ordinary pause.
            Circuit::Closed | Circuit::BackingOff(_) => None,
        }
    }

    /// Returns the agents by state.
    pub const fn counts(&self) -> AgentCounts {
        self.counts
    }

    /// Returns how many busy agents stop after their task.
    pub fn draining(&self) -> u32 {
        if self.counts.cooldown == 0 {
            return 0;
        }
        self.agents.values().filter(|record| record.draining && record.state == AgentState::Busy).count() as u32
    }

    /// Returns what the pool did so far.
    pub const fn tally(&self) -> PoolTally {
        self.tally
    }

    /// Returns what was measured of contexts and tasks so far.
    pub fn rates(&self) -> Rates {
        self.residency.rates()
    }

    /// Records that a context was deleted: no agent has it any more.
    pub fn forget_context(&mut self, context: &ContextId) {
        self.residency.remove_context(context);
    }

    /// Returns the contexts resident in an agent, the one used last at the end.
    pub fn contexts_of(&self, agent: AgentId) -> impl Iterator<Item = &ResidentEntry<ContextId>> {
        self.residency.resident_in(agent).into_iter().flat_map(ResidentSet::iter)
    }

    /// Returns the resident contexts of an agent with a freshness of ½ or more ([`Rates::freshness`]), the one used
    /// last first.
    pub fn hot_contexts(&self, agent: AgentId, now: Timestamp) -> Vec<&ResidentEntry<ContextId>> {
        let rates = self.rates();
        let is_hot = |entry: &&ResidentEntry<ContextId>| rates.freshness(now.since(entry.used_at).as_secs_f64()) >= 0.5;
        let mut hot: Vec<_> = self.contexts_of(agent).filter(is_hot).collect();
        hot.reverse();
        hot
    }

    /// Returns all agents that exist, in no order.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &AgentRecord)> {
        self.agents.iter()
    }

    /// Returns whether an agent has this lease.
    pub fn has_lease(&self, agent: AgentId, task: TaskId, epoch: LeaseEpoch) -> bool {
        self.agents.get(&agent).is_some_and(|record| record.leases.contains(&(task, epoch)))
    }

    /// Returns the record of an agent.
    pub fn agent(&self, agent: AgentId) -> Option<&AgentRecord> {
        self.agents.get(&agent)
    }

    /// Returns the agent that runs a task.
    pub fn runner(&self, task: TaskId) -> Option<AgentId> {
        // An agent that is ending may still have an older lease of the task.
        let lease = |record: &AgentRecord| record.leases.iter().find(|(leased, _)| *leased == task).copied();
        let runners = self.agents.iter().filter_map(|(agent, record)| Some((lease(record)?.1, *agent)));
        runners.max().map(|(_, agent)| agent)
    }

    /// Returns the seconds of life of all agents so far, summed, from the request to the end.
    pub fn agent_seconds(&self, now: Timestamp) -> f64 {
        let living: u64 = self.agents.values().map(|record| now.since(record.asked_at).as_micros() as u64).sum();
        (self.agent_micros + living) as f64 / 1e6
    }

    fn configure(&mut self, min: u32, max: u32) {
        self.rules.min = min;
        self.rules.max = max.max(min);
        self.desired = self.clamped(self.desired);
    }

    fn clamped(&self, target: u32) -> u32 {
        target.clamp(self.rules.min, self.rules.max)
    }

    fn on_started(&mut self, agent: AgentId, pid: Option<u32>, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let Some(record) = self.agents.get_mut(&agent) else { return };
        record.pid = pid;
        if record.state != AgentState::Starting {
            // Its instance was replaced between two tasks.
            return;
        }
        let cold_start = now.since(record.asked_at);
        record.cold_start = Some(cold_start);
        let agent_s = self.starts.agent_seconds(now) - record.starts_before_s;
        record.started_with = Some((agent_s / cold_start.as_secs_f64().max(1e-6)).max(1.0));
        self.starts.started();
        self.on_ready(agent, RunSummary { tasks: 0, ..RunSummary::ONE }, now, actions);
    }

    /// An agent is warm and idle: after its start, or after a run.
    fn on_ready(&mut self, agent: AgentId, run: RunSummary, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let Some(record) = self.agents.get(&agent) else { return };
        let was_busy = !record.leases.is_empty();
        let tasks = if was_busy { run.tasks } else { 0 };
        // That an old agent still works proves nothing about new ones.
        if tasks > 0 && record.is_unproven() && self.budget.proved(record.asked_at, now) {
            self.circuit_reason = None;
        }
        if record.draining || self.stopping {
            self.retire(agent, tasks, now, actions);
            return;
        }
        let most = if self.has_runs() { self.rules.max_burst.max(1) } else { 1 };
        self.change(agent, |record| {
            record.end_run(tasks);
            record.burst = match run.pace {
                RunPace::Quick => most.min(record.burst.saturating_mul(2)),
                RunPace::Long => most.min(record.burst / 2).max(1),
                RunPace::Waited => 1,
            };
            record.state = AgentState::Ready;
            record.last_used = Some(now);
        });
    }

    /// Records the contexts that an agent reports. Without a report, the earlier contexts stay.
    fn remember(&mut self, agent: AgentId, memory: Option<Box<AgentContexts>>, now: Timestamp) {
        let Some(record) = self.agents.get_mut(&agent) else { return };
        if let Some(memory) = memory {
            let bytes = memory.contexts.last().map_or(0, |entry| entry.bytes);
            if let Some(restored) = memory.restored {
                self.residency.learn(bytes, restored, now.since(record.idle_since()));
            }
            self.residency.set(agent, *memory);
        } else if self.residency.is_empty() {
            return;
        }
        let newest = self.residency.resident_in(agent).and_then(|resident| resident.iter().last());
        record.context = newest.map(|entry| entry.context.clone());
        record.context_bytes = newest.map_or(0, |entry| entry.bytes);
    }

    fn on_down(&mut self, agent: AgentId, reason: Option<String>, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let Some(record) = self.forget(agent, now) else { return };
        if record.state == AgentState::Starting {
            self.starts.spoil();
        }
        for &(task, epoch) in &record.leases {
            let reason = reason.clone().unwrap_or_else(|| "it stopped".to_owned());
            actions.push(PoolAction::Lost { agent, task, epoch, reason });
        }
        let Some(reason) = reason else { return };
        if record.state == AgentState::Cooldown {
            return;
        }
        self.tally.failures += 1;
        match record.blame() {
            Blame::Task => return,
            Blame::Agent if self.budget.failed(now) => {
                actions.push(PoolAction::CircuitOpened { reason: reason.clone() })
            }
            Blame::Unclear if self.budget.died_unclear(now) => {
                actions.push(PoolAction::ProbationBegan { reason: reason.clone() });
            }
            Blame::Agent | Blame::Unclear => {}
        }
        let is_limited = self.budget.circuit(now).state() != CircuitState::Closed;
        self.circuit_reason = is_limited.then_some(reason);
    }

    /// Makes the slots requested from the queue equal to the leases that the idle agents may get.
    fn ask_for_work(&mut self, actions: &mut Vec<PoolAction>) {
        let wanted = match self.has_runs() {
            _ if self.paused || self.stopping => 0,
            true => self.idle_leases,
            false => self.idle.len(),
        };
        // Slots may be filled while they are being withdrawn, so the difference can be below zero for a moment.
        let open = self.open_slots.saturating_sub(self.withdrawing);
        if wanted > open {
            self.open_slots += wanted - open;
            actions.push(PoolAction::Demand(wanted - open));
        } else if open > wanted {
            self.withdrawing += open - wanted;
            actions.push(PoolAction::Withdraw(open - wanted));
        }
    }

    /// Changes a record, and updates the idle index and the counts.
    fn change(&mut self, agent: AgentId, edit: impl FnOnce(&mut AgentRecord)) {
        let is_warm = !self.residency.is_empty() && self.residency.is_warm(agent);
        let Some(record) = self.agents.get_mut(&agent) else { return };
        record.uncount(&mut self.counts);
        if record.state == AgentState::Ready {
            self.idle.remove(agent, record.idle_since(), is_warm);
            self.idle_leases -= record.burst as usize;
        }
        edit(record);
        record.count(&mut self.counts);
        if record.state == AgentState::Ready {
            self.idle.insert(agent, record.idle_since(), is_warm);
            self.idle_leases += record.burst as usize;
        }
    }

    fn forget(&mut self, agent: AgentId, now: Timestamp) -> Option<AgentRecord> {
        let record = self.agents.remove(&agent)?;
        record.uncount(&mut self.counts);
        if record.state == AgentState::Ready {
            self.idle.remove(agent, record.idle_since(), self.residency.is_warm(agent));
            self.idle_leases -= record.burst as usize;
        }
        drop(self.residency.remove(agent));
        self.agent_micros += now.since(record.asked_at).as_micros() as u64;
        Some(record)
    }

    /// Whether any idle agent may run any task, so that it matters little which one gets several.
    fn has_runs(&self) -> bool {
        let is_isolated = match self.rules.isolation {
            Isolation::Pool => false,
            Isolation::Agent => self.tenants.are_several(),
            Isolation::Task => true,
        };
        self.residency.is_empty() && !is_isolated
    }

    fn leases_of_idle(&self) -> usize {
        let ready = self.agents.values().filter(|record| record.state == AgentState::Ready);
        ready.map(|record| record.burst as usize).sum()
    }

    fn check_invariants(&self) {
        debug_assert_eq!(self.idle.len() as u32, self.counts.ready, "the idle index holds exactly the ready agents");
        debug_assert!(
            self.agents.len() > 64
                || self.agents.values().all(|record| record.leases.is_empty() == (record.state != AgentState::Busy)),
            "a busy agent has a lease, any other has none"
        );
        debug_assert!(
            self.agents.len() > 64 || self.idle_leases == self.leases_of_idle(),
            "the idle leases are those of the ready agents"
        );
    }
}
