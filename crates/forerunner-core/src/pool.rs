//! The pool's choices: which agents to start, stop and take back, and who gets which task.

mod event;
mod record;
mod scaling;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use event::{PoolAction, PoolEvent};
pub use record::AgentRecord;

use crate::{
    AgentCounts, AgentId, AgentState, IdMap, RestartBudget, RestartPolicy, Task, TaskId, Timestamp,
    placement::IdleAgents,
};

/// What a [`PoolMachine`] is made with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PoolRules {
    /// Fewest agents.
    pub min: u32,
    /// Most agents.
    pub max: u32,
    /// How long an idle agent that is not needed waits to be taken back before it stops.
    pub cooldown: std::time::Duration,
    /// How failed agents are replaced.
    pub restart: RestartPolicy,
    /// Makes the ids of this pool's agents differ from those of others; any random number.
    pub id_seed: u64,
}

/// What a pool did since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolTally {
    /// Agents started to grow the pool, or taken back from cooldown.
    pub scale_ups: u64,
    /// Agents sent to cooldown to shrink the pool.
    pub scale_downs: u64,
    /// Agents that failed.
    pub failures: u64,
    /// Tasks that found their context warm.
    pub warm_hits: u64,
    /// Tasks with a context that was not warm on an idle agent.
    pub warm_misses: u64,
}

/// Decides for one pool. Pure: time and ids come in with the events and rules.
///
/// Invariants, checked after each step in debug builds:
/// - the idle index holds exactly the agents in state `ready`;
/// - a busy agent has a task, any other has none.
#[derive(Debug)]
pub struct PoolMachine {
    rules: PoolRules,
    desired: u32,
    paused: bool,
    stopping: bool,
    agents: IdMap<AgentId, AgentRecord>,
    idle: IdleAgents,
    counts: AgentCounts,
    budget: RestartBudget,
    circuit_reason: Option<String>,
    /// Slots asked of the queue and not yet filled or withdrawn.
    open_slots: usize,
    /// Of those, slots that the queue was asked to forget.
    withdrawing: usize,
    next_serial: u32,
    agent_micros: u64,
    tally: PoolTally,
}

impl PoolMachine {
    /// A pool without agents that wants `desired` of them, within the bounds.
    pub fn new(rules: PoolRules, desired: u32) -> Self {
        Self {
            desired: desired.clamp(rules.min, rules.max),
            paused: false,
            stopping: false,
            agents: IdMap::default(),
            idle: IdleAgents::default(),
            counts: AgentCounts::default(),
            budget: RestartBudget::new(rules.restart),
            circuit_reason: None,
            open_slots: 0,
            withdrawing: 0,
            next_serial: 0,
            agent_micros: 0,
            tally: PoolTally::default(),
            rules,
        }
    }

    /// Takes in what happened at `now` and says what to do, in order.
    pub fn step(&mut self, event: PoolEvent, now: Timestamp) -> Vec<PoolAction> {
        let mut actions = Vec::new();
        self.step_into(event, now, &mut actions);
        actions
    }

    /// As [`step`](Self::step), for a caller that keeps the vector from step to step.
    pub fn step_into(&mut self, event: PoolEvent, now: Timestamp, actions: &mut Vec<PoolAction>) {
        match event {
            PoolEvent::Tick => {}
            PoolEvent::Resize(target) => self.desired = self.clamped(target),
            PoolEvent::Configure { min, max } => self.configure(min, max),
            PoolEvent::Pause => self.paused = true,
            PoolEvent::Resume => self.paused = false,
            PoolEvent::Stop => self.stop_all(now, actions),
            PoolEvent::Started { agent, pid } => self.on_started(agent, pid, now, actions),
            PoolEvent::Assigned(tasks) => self.on_assigned(tasks, now, actions),
            PoolEvent::Ready { agent, context, context_bytes } => {
                if let Some(record) = self.agents.get_mut(&agent) {
                    record.context = context;
                    record.context_bytes = context_bytes;
                }
                self.on_ready(agent, now, actions);
            }
            PoolEvent::Down { agent, reason } => self.on_down(agent, reason, now, actions),
            PoolEvent::Withdrawn { asked, got } => {
                self.withdrawing = self.withdrawing.saturating_sub(asked);
                self.open_slots = self.open_slots.saturating_sub(got);
            }
        }
        if !self.stopping {
            self.rebalance(now, actions);
        }
        self.ask_for_work(actions);
        self.check_invariants();
    }

    /// Returns the agents wanted now.
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

    /// Returns until when no agent is started, and why, if the circuit is open.
    pub fn circuit(&self, now: Timestamp) -> Option<(Timestamp, &str)> {
        let reason = self.circuit_reason.as_deref()?;
        match self.budget.allowance(now) {
            crate::Allowance::Open(until) => Some((until, reason)),
            _ => Some((now, reason)),
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

    /// Returns all agents that exist, in no order.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &AgentRecord)> {
        self.agents.iter()
    }

    /// Returns the task that an agent runs.
    pub fn task_of(&self, agent: AgentId) -> Option<TaskId> {
        self.agents.get(&agent).and_then(|record| record.task)
    }

    /// Returns what the pool knows of an agent.
    pub fn agent(&self, agent: AgentId) -> Option<&AgentRecord> {
        self.agents.get(&agent)
    }

    /// Returns the agent that runs a task.
    pub fn runner(&self, task: TaskId) -> Option<AgentId> {
        self.agents.iter().find(|(_, record)| record.task == Some(task)).map(|(agent, _)| *agent)
    }

    /// Returns the seconds that agents have lived so far, summed, from being asked for to being gone.
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
        if record.state != AgentState::Starting {
            return;
        }
        record.cold_start = Some(now.since(record.asked_at));
        record.pid = pid;
        self.on_ready(agent, now, actions);
    }

    /// An agent is warm and idle: after its start, or after a task.
    fn on_ready(&mut self, agent: AgentId, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let Some(record) = self.agents.get(&agent) else { return };
        let was_busy = record.task.is_some();
        if was_busy && self.budget.proved() {
            self.circuit_reason = None;
        }
        if record.draining || self.stopping {
            self.retire(agent, now, actions);
            return;
        }
        self.change(agent, |record| {
            record.tasks += u64::from(was_busy);
            record.task = None;
            record.state = AgentState::Ready;
            record.last_used = Some(now);
        });
    }

    fn on_assigned(&mut self, tasks: Vec<Arc<Task>>, now: Timestamp, actions: &mut Vec<PoolAction>) {
        self.open_slots = self.open_slots.saturating_sub(tasks.len());
        for task in tasks {
            let chosen = if self.paused || self.stopping { None } else { self.idle.choose(task.context.as_ref()) };
            let Some(agent) = chosen else {
                actions.push(PoolAction::Release(task));
                continue;
            };
            self.note_warmth(agent, &task);
            self.change(agent, |record| {
                record.task = Some(task.id);
                record.state = AgentState::Busy;
                record.context.clone_from(&task.context);
                record.last_used = Some(now);
            });
            actions.push(PoolAction::Run { agent, task });
        }
    }

    fn note_warmth(&mut self, agent: AgentId, task: &Task) {
        if task.context.is_none() {
            return;
        }
        match self.agents.get(&agent).is_some_and(|record| record.context == task.context) {
            true => self.tally.warm_hits += 1,
            false => self.tally.warm_misses += 1,
        }
    }

    fn on_down(&mut self, agent: AgentId, reason: Option<String>, now: Timestamp, actions: &mut Vec<PoolAction>) {
        let Some(record) = self.forget(agent, now) else { return };
        if let Some(task) = record.task {
            actions.push(PoolAction::Lost { task, reason: reason.clone().unwrap_or_else(|| "it stopped".to_owned()) });
        }
        let Some(reason) = reason else { return };
        if record.state == AgentState::Cooldown {
            return;
        }
        self.tally.failures += 1;
        let blamed_on_task = record.state == AgentState::Busy && record.tasks > 0;
        if !blamed_on_task && self.budget.failed(now) {
            actions.push(PoolAction::CircuitOpened { reason: reason.clone() });
        }
        if !blamed_on_task {
            self.circuit_reason = matches!(self.budget.allowance(now), crate::Allowance::Open(_)).then_some(reason);
        }
    }

    /// Keeps the slots asked of the queue equal to the idle agents.
    fn ask_for_work(&mut self, actions: &mut Vec<PoolAction>) {
        let wanted = if self.paused || self.stopping { 0 } else { self.idle.len() };
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

    /// Changes a record, keeping the idle index and the counts true.
    fn change(&mut self, agent: AgentId, edit: impl FnOnce(&mut AgentRecord)) {
        let Some(record) = self.agents.get_mut(&agent) else { return };
        record.uncount(&mut self.counts);
        if record.state == AgentState::Ready {
            self.idle.remove(agent, record.idle_since(), record.context.as_ref());
        }
        edit(record);
        record.count(&mut self.counts);
        if record.state == AgentState::Ready {
            self.idle.insert(agent, record.idle_since(), record.context.as_ref());
        }
    }

    fn forget(&mut self, agent: AgentId, now: Timestamp) -> Option<AgentRecord> {
        let record = self.agents.remove(&agent)?;
        record.uncount(&mut self.counts);
        if record.state == AgentState::Ready {
            self.idle.remove(agent, record.idle_since(), record.context.as_ref());
        }
        self.agent_micros += now.since(record.asked_at).as_micros() as u64;
        Some(record)
    }

    fn check_invariants(&self) {
        debug_assert_eq!(self.idle.len() as u32, self.counts.ready, "the idle index holds exactly the ready agents");
        debug_assert!(
            self.agents.len() > 64
                || self.agents.values().all(|record| record.task.is_some() == (record.state == AgentState::Busy)),
            "a busy agent has a task, any other has none"
        );
    }
}
