//! Which contexts are resident in which agents, and what that is worth.

use std::{collections::HashMap, time::Duration};

use crate::{
    AgentId, ContextId, IdMap, TaskId, Timestamp,
    placement::{AgentContexts, Candidate, PairCost, PlacementStats, Rates, ResidentSet, Restored, ReturnChances},
};

/// Seconds of a restore from which the pool peeks into the queue: about the cost of a peek.
const LOOKAHEAD_COST_S: f64 = 0.005;

/// The contexts that are resident in a pool's agents, and what the pool has learned about restoring them.
#[derive(Debug, Default)]
pub(super) struct ContextResidency {
    resident: IdMap<AgentId, ResidentSet<ContextId>>,
    /// Agents in which a context is resident, in any version.
    agents_with: HashMap<ContextId, Vec<AgentId>>,
    stats: PlacementStats<ContextId>,
    /// When contexts are wanted again; empty before it is known.
    returns: ReturnChances,
    /// Tasks that are deferred, since when.
    deferred_since: IdMap<TaskId, Timestamp>,
}

impl ContextResidency {
    /// Whether no context is resident.
    pub fn is_empty(&self) -> bool {
        self.resident.is_empty()
    }

    /// Whether choosing a task from the first ones of the queue pays, instead of taking the head.
    pub fn uses_lookahead(&self) -> bool {
        !self.is_empty() && self.rates().restore.seconds(self.stats.mean_bytes()) >= LOOKAHEAD_COST_S
    }

    pub fn rates(&self) -> Rates {
        self.stats.rates()
    }

    /// Size that is assumed for a context of unknown size.
    pub fn guessed_bytes(&self) -> u64 {
        self.stats.mean_bytes()
    }

    /// Whether an agent has any context.
    pub fn is_warm(&self, agent: AgentId) -> bool {
        self.resident.contains_key(&agent)
    }

    /// The contexts of an agent.
    pub fn resident_in(&self, agent: AgentId) -> Option<&ResidentSet<ContextId>> {
        self.resident.get(&agent)
    }

    /// The agents in which a context is resident.
    pub fn agents_with(&self, context: &ContextId) -> &[AgentId] {
        self.agents_with.get(context).map_or(&[], Vec::as_slice)
    }

    /// Replaces the contexts of an agent by those it reports. Only the newest can have changed: for the others the pool
    /// uses the known version and time of last use.
    pub fn set(&mut self, agent: AgentId, memory: AgentContexts) {
        let before = self.remove(agent);
        let mut resident = ResidentSet::new(memory.room);
        let newest = memory.contexts.len().saturating_sub(1);
        for (place, context) in memory.contexts.into_iter().enumerate() {
            let known = before.as_ref().and_then(|before| before.get(&context.context)).filter(|_| place < newest);
            self.agents_with.entry(context.context.clone()).or_default().push(agent);
            resident.insert(known.cloned().unwrap_or(context));
        }
        if !resident.is_empty() {
            self.resident.insert(agent, resident);
        }
    }

    /// Removes an agent, and returns the contexts it had.
    pub fn remove(&mut self, agent: AgentId) -> Option<ResidentSet<ContextId>> {
        let resident = self.resident.remove(&agent)?;
        for context in resident.iter() {
            let Some(agents) = self.agents_with.get_mut(&context.context) else { continue };
            agents.retain(|other| *other != agent);
            if agents.is_empty() {
                self.agents_with.remove(&context.context);
            }
        }
        Some(resident)
    }

    /// Removes a context from all agents: it was deleted.
    pub fn remove_context(&mut self, context: &ContextId) {
        for agent in self.agents_with.remove(context).unwrap_or_default() {
            if let Some(resident) = self.resident.get_mut(&agent) {
                resident.remove(context);
            }
        }
    }

    /// Replaces what is known of when contexts are wanted again.
    pub fn set_returns(&mut self, returns: ReturnChances) {
        self.returns = returns;
    }

    /// What the contexts of an agent are worth: the cost of restoring them, times the chance that a task needs them
    /// before another agent could be ready. While that chance is unknown, their freshness replaces it.
    pub fn worth(&self, agent: AgentId, rates: &Rates, now: Timestamp) -> f64 {
        let worth = |held: &ResidentSet<ContextId>| match self.returns.is_empty() {
            true => held.worth_bytes(rates, now),
            false => held.wanted_bytes(&self.returns, now),
        };
        self.resident_in(agent).map_or(0.0, worth)
    }

    /// Learns from an attempt of length `ran`, including the restore of its context, which has `bytes` bytes now.
    pub fn learn(&mut self, bytes: u64, restored: Restored, ran: Duration) {
        let restoring = Duration::try_from_secs_f64(restored.seconds).unwrap_or_default();
        self.stats.sized(bytes);
        self.stats.restored(restored.bytes, restored.seconds);
        self.stats.served(ran.saturating_sub(restoring));
    }

    /// Notes that a task of a context starts.
    pub fn used(&mut self, context: &ContextId, now: Timestamp) {
        self.stats.used(context, now);
    }

    /// The cost of a pair of a task and an agent.
    pub fn fit(&self, task: &Candidate, agent: AgentId, rates: &Rates, now: Timestamp) -> PairCost {
        let Some(resident) = self.resident.get(&agent) else {
            return PairCost { missing_bytes: task.context_bytes, displacement_bytes: 0.0 };
        };
        let own = task.context.as_ref().and_then(|context| resident.get(context));
        let missing_bytes = match own {
            Some(own) if own.version == task.context_version => 0,
            // The part after the version that the agent has.
            Some(own) if own.version < task.context_version => task.context_bytes.saturating_sub(own.bytes).max(1),
            _ => task.context_bytes,
        };
        let displacement_bytes = resident.displacement_bytes(task.context.as_ref(), task.context_bytes, rates, now);
        PairCost { missing_bytes, displacement_bytes }
    }

    /// Makes these tasks the deferred ones: since now, unless they were deferred before.
    pub fn defer(&mut self, tasks: impl IntoIterator<Item = TaskId>, now: Timestamp) {
        let before = std::mem::take(&mut self.deferred_since);
        let since = |task: TaskId| (task, before.get(&task).copied().unwrap_or(now));
        self.deferred_since = tasks.into_iter().map(since).collect();
    }

    /// Whether a task is deferred.
    pub fn is_deferred(&self, task: TaskId) -> bool {
        self.deferred_since.contains_key(&task)
    }

    /// How long a task that starts now was deferred.
    pub fn deferred_for(&mut self, task: TaskId, now: Timestamp) -> Duration {
        self.deferred_since.remove(&task).map_or(Duration::ZERO, |since| now.since(since))
    }
}
