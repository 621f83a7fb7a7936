//! The reports of nodes and the plan: JSON in the store. Older versions ignore what a newer one adds.

use std::collections::BTreeMap;

use forerunner_core::{AgentCounts, DependencyReport, NodeId, PoolName, Timestamp};
use serde::{Deserialize, Serialize};

use super::recent::Recent;
use crate::{queue::totals::QueueTotals, status::ColdStart};

/// The report of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NodeReport {
    pub(crate) version: String,
    pub(crate) started_at: Timestamp,
    pub(crate) pools: BTreeMap<PoolName, PoolReport>,
}

/// The report of a node's part of a pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PoolReport {
    /// Most agents that the node may run.
    pub(crate) capacity: u32,
    pub(crate) counts: AgentCounts,
    /// Busy agents that stop after their task.
    pub(crate) draining: u32,
    /// Tasks on agents.
    pub(crate) running: u32,
    pub(crate) peak_running: u32,
    pub(crate) cold_start: Option<ColdStart>,
    /// Counters since the node started.
    pub(crate) totals: QueueTotals,
    pub(crate) recent: Recent,
    /// The state of the node's dependency circuit.
    pub(crate) dependency: DependencyReport,
    /// This node's plan for the pool, in place of a leader that does not have the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<PoolPlan>,
}

impl PoolReport {
    /// Agents that exist, with those that start or stop.
    pub(crate) const fn agents(&self) -> u32 {
        self.counts.size() + self.counts.cooldown
    }
}

/// The leader's plan for each pool.
pub(crate) type PlanText = BTreeMap<PoolName, PoolPlan>;

/// How many agents a pool should have in all, and on which nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PoolPlan {
    pub(crate) desired: u32,
    pub(crate) shares: BTreeMap<NodeId, u32>,
}
