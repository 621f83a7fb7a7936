//! What an agent actor hears, and what it tells its pool.

use std::{sync::Arc, time::Duration};

use actix::{Message, Recipient};
use forerunner_core::{AgentId, Task, TaskId, placement::AgentContexts};

use super::CancelReason;
use crate::{batcher::BatchSender, queue::messages::Settle};

/// Do a task. Sent by the `PoolActor`, to a ready agent only.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Run {
    pub(crate) task: Arc<Task>,
    /// Be ready again only once the end is durable.
    pub(crate) await_settle: bool,
}

/// Stop the task, if it is the one that runs. Sent by the `PoolActor` for a task that was cancelled or lost.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopRun {
    pub(crate) task: TaskId,
    pub(crate) reason: CancelReason,
}

/// Stop for good. Sent by the `PoolActor` to an agent that is idle or starting, and to all at the end of the grace: a
/// task that still runs is handed back.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopAgent {
    pub(crate) grace: Duration,
}

/// The agent is warm for the first time. Sent to the `PoolActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AgentStarted {
    pub(crate) agent: AgentId,
    pub(crate) pid: Option<u32>,
}

/// The agent's task is settled and it can take another. Sent to the `PoolActor`. Gathers on its way.
pub(crate) struct AgentReady {
    pub(crate) agent: AgentId,
    /// What it holds of contexts now, unless that is what it told last.
    pub(crate) memory: Option<Box<AgentContexts>>,
}

/// The agent is gone. Sent to the `PoolActor` when the actor is dropped, however that came about.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AgentDown {
    pub(crate) agent: AgentId,
    /// Why, unless it was asked to stop.
    pub(crate) reason: Option<String>,
}

/// Where an agent sends what it has to tell.
#[derive(Clone)]
pub(crate) struct AgentLinks {
    pub(crate) settle: BatchSender<Settle>,
    pub(crate) started: Recipient<AgentStarted>,
    pub(crate) ready: BatchSender<AgentReady>,
    pub(crate) down: Recipient<AgentDown>,
}
