//! The idle agents of a pool, in the orders that choices ask for.

use std::collections::VecDeque;

use crate::{AgentId, Timestamp};

/// The idle agents of a pool.
///
/// Of the agents without a context, the one used last goes first, so that the others grow old and can be stopped. Of
/// those with contexts, the one unused for longest goes first: its contexts are worth least.
#[derive(Debug, Default)]
pub struct IdleAgents {
    /// Agents without a context, by their last use.
    plain: ByLastUse,
    /// Agents with contexts, by their last use.
    warm: ByLastUse,
}

/// Agents in the order of their last use. Nearly all come and go at the end, where that costs next to nothing.
#[derive(Debug, Default)]
struct ByLastUse(VecDeque<(Timestamp, AgentId)>);

impl ByLastUse {
    fn insert(&mut self, agent: (Timestamp, AgentId)) {
        if self.0.back().is_none_or(|last| *last < agent) {
            self.0.push_back(agent);
        } else if let Err(place) = self.0.binary_search(&agent) {
            self.0.insert(place, agent);
        }
    }

    fn remove(&mut self, agent: &(Timestamp, AgentId)) -> bool {
        if self.0.back() == Some(agent) {
            return self.0.pop_back().is_some();
        }
        self.0.binary_search(agent).is_ok_and(|place| self.0.remove(place).is_some())
    }
}

impl IdleAgents {
    /// Returns how many agents are idle.
    pub fn len(&self) -> usize {
        self.plain.0.len() + self.warm.0.len()
    }

    /// Returns whether no agent is idle.
    pub fn is_empty(&self) -> bool {
        self.plain.0.is_empty() && self.warm.0.is_empty()
    }

    /// Adds an agent that became idle at `since`; `is_warm` if it has a context.
    pub fn insert(&mut self, agent: AgentId, since: Timestamp, is_warm: bool) {
        if is_warm { &mut self.warm } else { &mut self.plain }.insert((since, agent));
    }

    /// Removes an agent; returns whether it was idle. `since` and `is_warm` are those with which it was added.
    pub fn remove(&mut self, agent: AgentId, since: Timestamp, is_warm: bool) -> bool {
        if is_warm { &mut self.warm } else { &mut self.plain }.remove(&(since, agent))
    }

    /// Returns the agent for a task without a context, without taking it out.
    pub fn next(&self) -> Option<AgentId> {
        self.plain.0.back().or_else(|| self.warm.0.front()).map(|(_, agent)| *agent)
    }

    /// Returns agents without a context, the one used last first.
    pub fn newest_plain(&self, most: usize) -> impl Iterator<Item = AgentId> {
        self.plain.0.iter().rev().take(most).map(|(_, agent)| *agent)
    }

    /// Returns agents with contexts, the one unused for longest first.
    pub fn oldest_warm(&self, most: usize) -> impl Iterator<Item = AgentId> {
        self.warm.0.iter().take(most).map(|(_, agent)| *agent)
    }

    /// Returns the agent without a context that was unused for longest.
    pub fn oldest_plain(&self) -> Option<AgentId> {
        self.plain.0.front().map(|(_, agent)| *agent)
    }

    /// Returns the agent unused for longest.
    pub fn oldest(&self) -> Option<AgentId> {
        let oldest = match (self.plain.0.front(), self.warm.0.front()) {
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
    fn agents_come_in_the_orders_that_choices_ask_for() {
        let mut idle = IdleAgents::default();
        idle.insert(agent(1), at(1), true);
        idle.insert(agent(2), at(2), true);
        assert_eq!((idle.next(), idle.oldest_plain()), (Some(agent(1)), None), "the one unused for longest");
        idle.insert(agent(3), at(3), false);
        idle.insert(agent(4), at(4), false);
        assert_eq!(idle.next(), Some(agent(4)), "the one used last goes first");
        assert_eq!((idle.oldest(), idle.oldest_plain()), (Some(agent(1)), Some(agent(3))));
        assert_eq!(idle.newest_plain(9).collect::<Vec<_>>(), [agent(4), agent(3)]);
        assert_eq!(idle.oldest_warm(1).collect::<Vec<_>>(), [agent(1)]);
        assert!(idle.remove(agent(2), at(2), true) && !idle.remove(agent(2), at(2), true));
        assert_eq!(idle.len(), 3);
    }
}
