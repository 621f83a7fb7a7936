//! Which idle agent gets a task, and which one goes first when there are too many.

use std::collections::{BTreeSet, HashMap};

use crate::{AgentId, ContextId, Timestamp};

/// The idle agents of a pool, ordered for both questions.
///
/// A task goes to the idle agent that holds its context. A task whose context is nowhere warm goes to an agent that
/// holds none, or else displaces the context unused for longest. Among agents without a context the one used last goes
/// first, so that the others grow old and can be stopped.
#[derive(Debug, Default)]
pub struct IdleAgents {
    /// Agents that hold no context, by when they were last used.
    plain: BTreeSet<(Timestamp, AgentId)>,
    /// Agents that hold a context, by when they were last used.
    warm: BTreeSet<(Timestamp, AgentId)>,
    holders: HashMap<ContextId, (Timestamp, AgentId)>,
}

impl IdleAgents {
    /// Returns how many agents are idle.
    pub fn len(&self) -> usize {
        self.plain.len() + self.warm.len()
    }

    /// Returns whether no agent is idle.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.warm.is_empty()
    }

    /// Adds an agent that became idle at `since`, with the context that it holds.
    pub fn insert(&mut self, agent: AgentId, since: Timestamp, context: Option<&ContextId>) {
        match context {
            None => {
                self.plain.insert((since, agent));
            }
            Some(context) => {
                self.warm.insert((since, agent));
                self.holders.insert(context.clone(), (since, agent));
            }
        }
    }

    /// Takes an agent out; returns whether it was idle. `since` and `context` are those it was added with.
    pub fn remove(&mut self, agent: AgentId, since: Timestamp, context: Option<&ContextId>) -> bool {
        let Some(context) = context else { return self.plain.remove(&(since, agent)) };
        if self.holders.get(context).is_some_and(|(_, holder)| *holder == agent) {
            self.holders.remove(context);
        }
        self.warm.remove(&(since, agent))
    }

    /// Returns the agent for a task of `context`, without taking it out.
    pub fn choose(&self, context: Option<&ContextId>) -> Option<AgentId> {
        let holder = context.and_then(|context| self.holders.get(context));
        let newest_plain = || self.plain.last();
        let oldest_warm = || self.warm.first();
        holder.or_else(newest_plain).or_else(oldest_warm).map(|(_, agent)| *agent)
    }

    /// Returns the agent unused for longest: the one to stop first.
    pub fn oldest(&self) -> Option<AgentId> {
        let oldest = match (self.plain.first(), self.warm.first()) {
            (Some(plain), Some(warm)) => Some(plain.min(warm)),
            (plain, warm) => plain.or(warm),
        };
        oldest.map(|(_, agent)| *agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(n: u128) -> AgentId {
        AgentId::from_parts(Timestamp::default(), n << 64)
    }

    const fn at(n: i64) -> Timestamp {
        Timestamp::from_micros(n)
    }

    #[test]
    fn a_task_goes_where_its_context_is_warm_and_else_displaces_as_little_as_possible() {
        let [red, blue] = ["red", "blue"].map(|name| ContextId::new(name).unwrap());
        let mut idle = IdleAgents::default();
        idle.insert(agent(1), at(1), Some(&red));
        idle.insert(agent(2), at(2), Some(&blue));
        assert_eq!(idle.choose(Some(&blue)), Some(agent(2)));
        assert_eq!(idle.choose(None), Some(agent(1)), "the context unused for longest is displaced");
        idle.insert(agent(3), at(3), None);
        idle.insert(agent(4), at(4), None);
        assert_eq!(idle.choose(None), Some(agent(4)), "the one used last goes first");
        assert_eq!(idle.oldest(), Some(agent(1)));
        assert!(idle.remove(agent(2), at(2), Some(&blue)));
        assert_eq!(idle.choose(Some(&blue)), Some(agent(4)));
        assert_eq!(idle.len(), 3);
    }
}
