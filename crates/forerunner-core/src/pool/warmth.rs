//! Which agents hold which contexts, and what that is worth.

use std::{collections::HashMap, time::Duration};

use crate::{
    AgentId, ContextId, IdMap, TaskId, Timestamp,
    placement::{AgentMemory, Candidate, Experience, Fit, Held, Rates, Restored},
};

/// Seconds from which on a restore is worth a look at the queue: about what the look itself takes.
const WORTH_A_LOOK_S: f64 = 0.005;

/// What the agents of a pool hold of contexts, and what was learned about bringing them.
#[derive(Debug, Default)]
pub(super) struct Warmth {
    held: IdMap<AgentId, Held<ContextId>>,
    /// Agents that hold a context, in whatever version.
    holders: HashMap<ContextId, Vec<AgentId>>,
    experience: Experience<ContextId>,
    /// Tasks that are held back, since when.
    held_back: IdMap<TaskId, Timestamp>,
}

impl Warmth {
    /// Whether no agent holds a context.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether a task had better be chosen from the queue than taken from its head.
    pub fn looks_ahead(&self) -> bool {
        !self.is_empty() && self.rates().restore.seconds(self.experience.mean_bytes()) >= WORTH_A_LOOK_S
    }

    pub fn rates(&self) -> Rates {
        self.experience.rates()
    }

    /// Size of a context that nobody holds and whose size is not known.
    pub fn guessed_bytes(&self) -> u64 {
        self.experience.mean_bytes()
    }

    /// Whether an agent holds any context.
    pub fn is_warm(&self, agent: AgentId) -> bool {
        self.held.contains_key(&agent)
    }

    /// What an agent holds.
    pub fn held_by(&self, agent: AgentId) -> Option<&Held<ContextId>> {
        self.held.get(&agent)
    }

    /// The agents that hold a context.
    pub fn holders(&self, context: &ContextId) -> &[AgentId] {
        self.holders.get(context).map_or(&[], Vec::as_slice)
    }

    /// An agent holds this from now on. Only the newest can have changed: of the others, what was known before stays true,
    /// when they were used and in which version their last task left them.
    pub fn remember(&mut self, agent: AgentId, memory: AgentMemory) {
        let before = self.forget(agent);
        let mut held = Held::new(memory.room);
        let newest = memory.contexts.len().saturating_sub(1);
        for (place, context) in memory.contexts.into_iter().enumerate() {
            let known = before.as_ref().and_then(|before| before.get(&context.context)).filter(|_| place < newest);
            self.holders.entry(context.context.clone()).or_default().push(agent);
            held.hold(known.cloned().unwrap_or(context));
        }
        if !held.is_empty() {
            self.held.insert(agent, held);
        }
    }

    /// An agent holds nothing from now on; answers what it held.
    pub fn forget(&mut self, agent: AgentId) -> Option<Held<ContextId>> {
        let held = self.held.remove(&agent)?;
        for context in held.iter() {
            let Some(holders) = self.holders.get_mut(&context.context) else { continue };
            holders.retain(|holder| *holder != agent);
            if holders.is_empty() {
                self.holders.remove(&context.context);
            }
        }
        Some(held)
    }

    /// No agent holds a context any more: it was removed.
    pub fn forget_context(&mut self, context: &ContextId) {
        for agent in self.holders.remove(context).unwrap_or_default() {
            if let Some(held) = self.held.get_mut(&agent) {
                held.forget(context);
            }
        }
    }

    /// An attempt with a context ended after `ran`, of which bringing the context is a part. The context has this size now.
    pub fn learn(&mut self, bytes: u64, restored: Restored, ran: Duration) {
        let bringing = Duration::try_from_secs_f64(restored.seconds).unwrap_or_default();
        self.experience.sized(bytes);
        self.experience.restored(restored.bytes, restored.seconds);
        self.experience.served(ran.saturating_sub(bringing));
    }

    /// A task of a context begins.
    pub fn used(&mut self, context: &ContextId, now: Timestamp) {
        self.experience.used(context, now);
    }

    /// What the pair of a task and an agent means.
    pub fn fit(&self, task: &Candidate, agent: AgentId, rates: &Rates, now: Timestamp) -> Fit {
        let Some(held) = self.held.get(&agent) else {
            return Fit { missing_bytes: task.context_bytes, stake_bytes: 0.0 };
        };
        let own = task.context.as_ref().and_then(|context| held.get(context));
        let missing_bytes = match own {
            Some(own) if own.version == task.context_version => 0,
            // What came after the version that it holds.
            Some(own) if own.version < task.context_version => task.context_bytes.saturating_sub(own.bytes).max(1),
            _ => task.context_bytes,
        };
        let stake_bytes = held.stake_bytes(task.context.as_ref(), task.context_bytes, rates, now);
        Fit { missing_bytes, stake_bytes }
    }

    /// These tasks are held back, and no others: since now, unless they were before.
    pub fn hold_back(&mut self, tasks: impl IntoIterator<Item = TaskId>, now: Timestamp) {
        let before = std::mem::take(&mut self.held_back);
        let since = |task: TaskId| (task, before.get(&task).copied().unwrap_or(now));
        self.held_back = tasks.into_iter().map(since).collect();
    }

    /// Whether a task is held back.
    pub fn is_held_back(&self, task: TaskId) -> bool {
        self.held_back.contains_key(&task)
    }

    /// How long a task that begins now was held back.
    pub fn held_back_for(&mut self, task: TaskId, now: Timestamp) -> Duration {
        self.held_back.remove(&task).map_or(Duration::ZERO, |since| now.since(since))
    }
}
