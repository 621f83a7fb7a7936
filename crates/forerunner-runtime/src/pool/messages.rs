//! What a pool hears and answers.

use actix::{Message, MessageResponse, Recipient};
use forerunner_core::{AgentCounts, ContextId, PoolTally, TaskId, Timestamp, placement::PlacementRecord};
use tokio::sync::oneshot;

use crate::{
    PoolSettings,
    batcher::BatchSender,
    queue::messages::{Demand, Nudge, PoolFacts, Settle, Withdraw},
    status::{AgentStatus, ColdStart, PoolPatch, PoolState},
};

/// Hold this many agents. Sent by the `ForecastActor` when its decision says so.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub(crate) struct Resize(pub(crate) u32);

/// Change the bounds. Sent by the `ForecastActor`, which passes on what a `Handle` asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Configure(pub(crate) PoolPatch);

/// Give out work, or none. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SetPaused(pub(crate) bool);

/// Say how you stand. Sent by the `ForecastActor` and by a `Handle`.
#[derive(Message)]
#[rtype(result = "PoolSample")]
pub(crate) struct GetPool;

/// How a pool stands.
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
            state: PoolState::Running,
            cold_start: None,
            tally: PoolTally::default(),
            agent_seconds: 0.0,
        }
    }
}

/// Say why a task went where it went. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "KeptPlacement")]
pub(crate) struct GetPlacement(pub(crate) TaskId);

/// Why a task went where it went, if that is kept.
#[derive(MessageResponse)]
pub(crate) struct KeptPlacement {
    pub(crate) record: Option<Box<PlacementRecord>>,
    pub(crate) state: PoolState,
}

/// List your agents. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "AgentList")]
pub(crate) struct ListAgents;

/// The agents of a pool, oldest first.
#[derive(MessageResponse)]
pub(crate) struct AgentList(pub(crate) Vec<AgentStatus>);

/// Let no agent remember a context: it was removed. Sent by a `Handle`, and passed on to the agents.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub(crate) struct ForgetContext(pub(crate) ContextId);

/// Stop: idle agents at once, busy ones after their task, all of them at `kill_at`. Sent by the wiring; answered once
/// no agent is left.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop {
    pub(crate) kill_at: Timestamp,
    pub(crate) reply: oneshot::Sender<()>,
}

/// Where to send things. Given to a pool when it is made.
pub(crate) struct PoolLinks {
    pub(crate) demand: Recipient<Demand>,
    pub(crate) withdraw: Recipient<Withdraw>,
    pub(crate) settle: BatchSender<Settle>,
    pub(crate) facts: Recipient<PoolFacts>,
    /// Learns of lost agents; absent where nothing decides.
    pub(crate) nudge: Option<Recipient<Nudge>>,
}

/// Learn of lost agents from now on. Sent once by the wiring.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttachForecast(pub(crate) Recipient<Nudge>);
