//! What the actors of a cluster hear and answer.

use actix::{Message, MessageResponse, Recipient};
use forerunner_core::NodeId;

use super::report::{PoolPlan, PoolReport};
use crate::status::{NodeStatus, PoolPatch};

/// Say how your part of the pool stands. Sent by the `ClusterActor` before each beat.
#[derive(Message)]
#[rtype(result = "ReportReady")]
pub(crate) struct MakeReport;

/// How a node's part of a pool stands, and what its forecast wants of all nodes.
#[derive(Debug, MessageResponse)]
pub(crate) struct ReportReady {
    pub(crate) report: PoolReport,
    pub(crate) plan: Option<PoolPlan>,
}

/// Beat now: there is a new plan. Sent by the `ShareActor` of a leader.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct HeartbeatNow;

/// How the other nodes stand. Sent by the `ClusterActor` after each beat.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ClusterView {
    /// This node plans for all.
    pub(crate) leads: bool,
    pub(crate) others: Vec<(NodeId, PoolReport)>,
    /// The newest plan, whoever made it.
    pub(crate) plan: Option<PoolPlan>,
    /// Where a leader says that it has a new one.
    pub(crate) beat: Recipient<HeartbeatNow>,
}

/// Do as was set for all nodes. Sent by the `ClusterActor` to a `ForecastActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ApplySettings(pub(crate) PoolPatch);

/// List the nodes. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "Nodes")]
pub(crate) struct ListNodes;

/// The nodes that live, oldest first.
#[derive(Debug, MessageResponse)]
pub(crate) struct Nodes(pub(crate) Vec<NodeStatus>);

/// Beat no more, and tell the others that this node goes. Sent by the wiring when the node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Leave {
    pub(crate) reply: tokio::sync::oneshot::Sender<()>,
}
