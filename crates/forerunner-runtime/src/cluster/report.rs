//! What nodes tell each other, and the plan: JSON in the store. What a newer version adds is ignored by an older one.

use std::collections::BTreeMap;

use forerunner_core::{AgentCounts, NodeId, PoolName, Timestamp};
use serde::{Deserialize, Serialize};

use super::recent::Recent;
use crate::{queue::messages::QueueSample, status::ColdStart};

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
    pub(crate) totals: Totals,
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

/// What has happened since a node started. A report that is lost loses nothing: the next one has it all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    pub(crate) arrivals: u64,
    pub(crate) starts: u64,
    pub(crate) late: u64,
    pub(crate) completions: u64,
    pub(crate) service_sum_s: f64,
    pub(crate) context_sum_bytes: u64,
}

impl Totals {
    /// Adds what happened in a queue.
    pub(crate) fn add(&mut self, sample: &QueueSample) {
        self.arrivals += sample.arrivals;
        self.starts += sample.starts;
        self.late += sample.late;
        self.completions += sample.completions;
        self.service_sum_s += sample.service_sum_s;
        self.context_sum_bytes += sample.context_sum_bytes;
    }

    /// Adds to `sample` what has happened since `before`.
    pub(crate) fn add_since(&self, before: &Self, sample: &mut QueueSample) {
        sample.arrivals += self.arrivals.saturating_sub(before.arrivals);
        sample.starts += self.starts.saturating_sub(before.starts);
        sample.late += self.late.saturating_sub(before.late);
        sample.completions += self.completions.saturating_sub(before.completions);
        sample.service_sum_s += (self.service_sum_s - before.service_sum_s).max(0.0);
        sample.context_sum_bytes += self.context_sum_bytes.saturating_sub(before.context_sum_bytes);
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
