//! What nodes tell each other, and the plan: JSON in the store. What a newer version adds is ignored by an older one.

use std::collections::BTreeMap;

use forerunner_core::{AgentCounts, NodeId, PoolName, Timestamp};
use serde::{Deserialize, Serialize};

use super::recent::Recent;
use crate::{queue::totals::QueueTotals, status::ColdStart};

/// What a node tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NodeReport {
    pub(crate) version: String,
    pub(crate) started_at: Timestamp,
    pub(crate) pools: BTreeMap<PoolName, PoolReport>,
}

/// What a node tells of its part of a pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PoolReport {
    /// Most agents that it may run.
    pub(crate) capacity: u32,
    pub(crate) counts: AgentCounts,
    /// Busy agents that stop after their task.
    pub(crate) draining: u32,
    /// Tasks on agents.
    pub(crate) running: u32,
    pub(crate) peak_running: u32,
    pub(crate) cold_start: Option<ColdStart>,
    /// Since the node started.
    pub(crate) totals: QueueTotals,
    pub(crate) recent: Recent,
    /// What this node plans for the pool, in the place of a leader that does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<PoolPlan>,
}

impl PoolReport {
    /// Agents that exist, also those on the way in or out.
    pub(crate) const fn holds(&self) -> u32 {
        self.counts.size() + self.counts.cooldown
    }
}

/// What the leader plans: for each pool.
pub(crate) type PlanText = BTreeMap<PoolName, PoolPlan>;

/// How many agents a pool holds in all, and on which nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PoolPlan {
    pub(crate) desired: u32,
    pub(crate) shares: BTreeMap<NodeId, u32>,
}
