//! The messages of the actors of a cluster.

use actix::{Message, MessageResponse, Recipient};
use forerunner_core::NodeId;

use super::report::{PoolPlan, PoolReport};
use crate::status::{NodeStatus, PoolPatch};

/// Report your part of the pool. Sent by the `ClusterActor` before each heartbeat.
#[derive(Message)]
#[rtype(result = "ReportReady")]
pub(crate) struct MakeReport;

/// The state of a node's part of a pool, and its forecast's plan for all nodes.
#[derive(Debug, MessageResponse)]
pub(crate) struct ReportReady {
    pub(crate) report: PoolReport,
    pub(crate) plan: Option<PoolPlan>,
}

/// Send a heartbeat now: the plan has changed. Sent by the `ShareActor` of a leader.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct HeartbeatNow;

/// The state of the other nodes. Sent by the `ClusterActor` after each heartbeat.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ClusterView {
    /// Whether this node plans for all nodes.
    pub(crate) leads: bool,
    pub(crate) others: Vec<(NodeId, PoolReport)>,
    /// The newest plan of any node.
    pub(crate) plan: Option<PoolPlan>,
    /// Where a leader reports a changed plan.
    pub(crate) heartbeat: Recipient<HeartbeatNow>,
}

/// Apply the settings for all nodes. Sent by the `ClusterActor` to a `ForecastActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ApplySettings(pub(crate) PoolPatch);

/// List the nodes. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "Nodes")]
pub(crate) struct ListNodes;

/// The live nodes, oldest first.
#[derive(Debug, MessageResponse)]
pub(crate) struct Nodes(pub(crate) Vec<NodeStatus>);

/// Stop the heartbeats and deregister the node. Sent by the wiring when the node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Leave {
    pub(crate) reply: tokio::sync::oneshot::Sender<()>,
}
