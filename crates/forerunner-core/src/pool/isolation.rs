//! Which agent a task goes to in a pool that several tenants share.

use std::{cmp::Reverse, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{PoolAction, PoolMachine};
use crate::{AgentId, AgentState, Task, TenantName, Timestamp};

/// What an agent may run after a task of one tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Tasks of any tenant: all tenants of the pool trust its agents.
    Pool,
    /// Tasks of the same tenant. For a task of another one the instance is replaced first.
    #[default]
    Agent,
    /// Nothing: each task has an instance of its own.
    Task,
}

/// The tenants whose tasks a pool was given.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    first: Option<TenantName>,
    are_several: bool,
}

impl Tenants {
    /// Whether the pool was given tasks of more than one tenant.
    pub(super) const fn are_several(&self) -> bool {
        self.are_several
    }

    fn note(&mut self, tenant: &TenantName) {
        match &self.first {
            Some(first) => self.are_several |= first != tenant,
            None => self.first = Some(tenant.clone()),
        }
    }
}

impl PoolMachine {
    /// Notes whose tasks these are; returns whether agents are chosen by tenant. A pool of one tenant pays nothing.
    pub(super) fn is_isolated(&mut self, tasks: &[Arc<Task>]) -> bool {
        if self.rules.isolation != Isolation::Agent {
            return false;
        }
        tasks.iter().for_each(|task| self.tenants.note(&task.tenant));
        self.tenants.are_several
    }

    /// Gives a task to the idle agent that serves its tenant, else to one that serves nobody yet, else to the one of
    /// another tenant that is idle for longest: its instance is replaced.
    pub(super) fn place_by_tenant(&mut self, task: Arc<Task>, now: Timestamp, actions: &mut Vec<PoolAction>) {
        match self.agent_of_tenant(&task) {
            Some(agent) => self.place_on(agent, task, now, actions),
            None => actions.push(PoolAction::Release(task)),
        }
    }

    fn agent_of_tenant(&self, task: &Task) -> Option<AgentId> {
        let has_context =
            |agent: &AgentId| task.context.as_ref().is_some_and(|id| self.residency.agents_with(id).contains(agent));
        let idle = self.agents.iter().filter(|(_, record)| record.state == AgentState::Ready);
        let best = idle.max_by_key(|(agent, record)| {
            let since = record.idle_since();
            match &record.tenant {
                Some(tenant) if *tenant == task.tenant => (2, has_context(agent), Some(since), None),
                None => (1, false, Some(since), None),
                Some(_) => (0, false, None, Some(Reverse(since))),
            }
        });
        best.map(|(agent, _)| *agent)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            PoolRules,
            tests::{at, ready, rules, run, task, warm},
        },
        *,
    };
    use crate::pool::PoolEvent;

    fn of(tenant: &str, n: u128) -> Arc<Task> {
        Arc::new(Task { tenant: TenantName::new(tenant).unwrap(), ..Task::clone(&task(n, None)) })
    }

    #[test]
    fn an_agent_stays_with_its_tenant_while_others_are_idle() {
        let (mut pool, agents) = warm(3, 3);
        let a = run(&mut pool, of("a", 1), at(1));
        let b = run(&mut pool, of("b", 2), at(1));
        assert_ne!(a, b);
        for agent in [a, b] {
            pool.step(ready(agent), at(2));
        }
        for round in 3..9 {
            assert_eq!(run(&mut pool, of("a", 1), at(round)), a, "its own agent first");
            assert_eq!(run(&mut pool, of("b", 2), at(round)), b);
            let fresh = *agents.iter().find(|agent| ![a, b].contains(agent)).unwrap();
            assert_eq!(pool.agent(fresh).unwrap().tenant, None, "an agent that serves nobody is left alone");
            for agent in [a, b] {
                pool.step(ready(agent), at(round));
            }
        }
        run(&mut pool, of("b", 2), at(9));
        pool.step(ready(b), at(9));
        let c = run(&mut pool, of("c", 3), at(10));
        assert!(![a, b].contains(&c), "one that serves nobody before one of another tenant");
        assert_eq!(run(&mut pool, of("c", 4), at(10)), a, "then the one that is idle for longest");
        assert_eq!(pool.agent(a).unwrap().tenant.as_ref().unwrap().as_str(), "c");
    }

    #[test]
    fn a_pool_of_trust_or_of_one_tenant_chooses_as_ever() {
        let (mut pool, _) = warm(2, 2);
        assert!(!pool.is_isolated(&[of("a", 1), of("a", 2)]) && pool.is_isolated(&[of("b", 3)]));
        let mut pool = super::super::PoolMachine::new(PoolRules { isolation: Isolation::Pool, ..rules(1, 1) }, 1);
        assert!(!pool.is_isolated(&[of("a", 1), of("b", 2)]));
        pool.step(PoolEvent::Tick, at(0));
    }
}
