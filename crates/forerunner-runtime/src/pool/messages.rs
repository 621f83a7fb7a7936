//! The messages of a pool: requests that it accepts, reports that it sends.

use actix::{Message, MessageResponse, Recipient};
use forerunner_core::{
    AgentCounts, ContextId, PoolTally, StartStatus, TaskId, Timestamp,
    placement::{PlacementRecord, ReturnChances},
};
use tokio::sync::oneshot;

use crate::{
    PoolSettings,
    batcher::BatchSender,
    queue::messages::{Demand, Nudge, PoolFacts, Settle, Withdraw},
    status::{AgentStatus, ColdStart, PoolPatch, PoolState},
};

/// Scale to this many agents. Sent by the `ForecastActor` when its decision differs from the wanted size.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(crate) struct Resize(pub(crate) u32);

/// When contexts are wanted again. Sent by the `ForecastActor` from time to time, once it knows.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(crate) struct SetReturnChances(pub(crate) ReturnChances);

/// Change the bounds. Sent by the `ForecastActor` on behalf of a `Handle`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Configure(pub(crate) PoolPatch);

/// Pause or resume the pool. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SetPaused(pub(crate) bool);

/// Return the state of the pool. Sent by the `ForecastActor` and by a `Handle`.
#[derive(Message)]
#[rtype(result = "PoolSample")]
pub(crate) struct GetPool;

/// The state of a pool.
#[derive(Debug, Clone, PartialEq, MessageResponse)]
pub(crate) struct PoolSample {
    pub(crate) counts: AgentCounts,
    /// Busy agents that stop after their task; `counts` has them under `cooldown`.
    pub(crate) draining: u32,
    pub(crate) desired: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// Most agents that may start at the same time.
    pub(crate) max_starting: u32,
    /// Of this node: what that follows from.
    pub(crate) starts: StartStatus,
    pub(crate) state: PoolState,
    pub(crate) cold_start: Option<ColdStart>,
    pub(crate) tally: PoolTally,
    pub(crate) agent_seconds: f64,
}

impl PoolSample {
    /// A pool without agents.
    pub(crate) fn empty(settings: &PoolSettings) -> Self {
        Self {
            counts: AgentCounts::default(),
            draining: 0,
            desired: 0,
            min: settings.min,
            max: settings.max,
            max_starting: u32::MAX,
            starts: StartStatus::default(),
            state: PoolState::Running,
            cold_start: None,
            tally: PoolTally::default(),
            agent_seconds: 0.0,
        }
    }
}

/// Return the placement of a task. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "RecordedPlacement")]
pub(crate) struct GetPlacement(pub(crate) TaskId);

/// The placement of a task, if the pool has recorded it.
#[derive(MessageResponse)]
pub(crate) struct RecordedPlacement {
    pub(crate) record: Option<Box<PlacementRecord>>,
    pub(crate) state: PoolState,
}

/// List the agents. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "AgentList")]
pub(crate) struct ListAgents;

/// The agents of a pool, oldest first.
#[derive(MessageResponse)]
pub(crate) struct AgentList(pub(crate) Vec<AgentStatus>);

/// Evict a context from all agents: it was deleted. Sent by a `Handle`; the pool passes it on to its agents.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub(crate) struct ForgetContext(pub(crate) ContextId);

/// Stop. Idle agents stop at once, busy ones after their task, and all of them at `kill_at`. Sent by the wiring; the
/// pool answers when it has no agents left.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop {
    pub(crate) kill_at: Timestamp,
    pub(crate) reply: oneshot::Sender<()>,
}

/// The addresses to which a pool sends messages. A pool receives them when it is created.
pub(crate) struct PoolLinks {
    pub(crate) demand: Recipient<Demand>,
    pub(crate) withdraw: Recipient<Withdraw>,
    pub(crate) settle: BatchSender<Settle>,
    pub(crate) facts: Recipient<PoolFacts>,
    /// Receives reports of lost agents; `None` for a pool without a forecast.
    pub(crate) nudge: Option<Recipient<Nudge>>,
}

/// Report lost agents to this address from now on. Sent once by the wiring.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttachForecast(pub(crate) Recipient<Nudge>);
