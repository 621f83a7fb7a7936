//! Which nodes live, and which of them leads: for stores that have this in the process.

use std::{collections::BTreeMap, time::Duration};

use forerunner_core::{NodeId, Timestamp};

use crate::{ClusterState, Heartbeat, Leader, LiveNode, Plan};

/// The nodes that share a store, by their heartbeats.
///
/// A node lives until its lease ends. One of them leads: the first that asks when nobody leads, under a term greater
/// than all before. It leads until it sent no heartbeat for two thirds of its lease.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    nodes: BTreeMap<NodeId, (Timestamp, String)>,
    leader: Option<(NodeId, Timestamp)>,
    term: u64,
    plan: Option<Plan>,
}

impl Membership {
    /// Records the heartbeat of a node, and returns the state of the cluster.
    pub(crate) fn beat(&mut self, beat: Heartbeat) -> ClusterState {
        let (until, lead) = (beat.now + beat.lease, beat.lead());
        self.nodes.retain(|_, (until, _)| *until >= beat.now);
        self.nodes.insert(beat.node, (until, beat.report));
        let leader = self.lead(beat.node, beat.now, beat.now + lead);
        if let Some(plan) = beat.plan
            && plan.term == self.term
            && leader == beat.node
        {
            self.plan = Some(plan);
        }
        let nodes = self.nodes.iter().map(|(node, (_, report))| LiveNode { node: *node, report: report.clone() });
        ClusterState {
            nodes: nodes.collect(),
            leader: Leader { node: leader, term: self.term },
            plan: self.plan.clone(),
            stops: Vec::new(),
            settings: BTreeMap::new(),
            next_end: self.next_end(beat.node, beat.now),
        }
    }

    /// Forgets a node, and that it led.
    pub(crate) fn leave(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.leader.take_if(|(leader, _)| *leader == node);
    }

    fn next_end(&self, node: NodeId, now: Timestamp) -> Option<Duration> {
        let others = self.nodes.iter().filter(|(other, _)| **other != node);
        others.map(|(_, (until, _))| until.since(now)).min()
    }

    fn lead(&mut self, node: NodeId, now: Timestamp, until: Timestamp) -> NodeId {
        match self.leader {
            Some((leader, lease)) if leader != node && lease >= now => leader,
            Some((leader, lease)) if leader == node && lease >= now => {
                self.leader = Some((node, lease.max(until)));
                node
            }
            _ => {
                self.term += 1;
                self.leader = Some((node, until));
                node
            }
        }
    }
}
