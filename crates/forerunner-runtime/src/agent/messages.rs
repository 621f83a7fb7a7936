//! The messages of an agent: requests that it accepts, reports that it sends.

use std::{sync::Arc, time::Duration};

use actix::{Message, Recipient};
use forerunner_core::{AgentId, RunSummary, Task, TaskId, placement::AgentContexts};

use super::CancelReason;
use crate::{batcher::BatchSender, queue::messages::Settle};

/// Run a task, and further ones as long as none waits for anything. Sent by the `PoolActor`, to a ready agent only.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Run {
    pub(crate) task: Arc<Task>,
    pub(crate) further: Vec<Arc<Task>>,
    /// Become ready again only after the end is durable.
    pub(crate) await_settle: bool,
}

/// Stop the task, if it is the current one. Sent by the `PoolActor` for a task that was cancelled or whose lease is
/// lost.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopRun {
    pub(crate) task: TaskId,
    pub(crate) reason: CancelReason,
}

/// Stop the agent. Sent by the `PoolActor` to an agent that is idle or starting, and to all agents at the end of the
/// grace. A task that still runs is released.
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

/// The agent's run is settled, and the agent can take another. Sent to the `PoolActor` in batches.
pub(crate) struct AgentReady {
    pub(crate) agent: AgentId,
    /// The resident contexts; `None` if the last report still holds.
    pub(crate) memory: Option<Box<AgentContexts>>,
    pub(crate) run: RunSummary,
}

/// The agent has ended. Sent to the `PoolActor` when the actor is dropped, for whatever reason.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AgentDown {
    pub(crate) agent: AgentId,
    /// Why it ended; `None` if it was stopped on request.
    pub(crate) reason: Option<String>,
}

/// The addresses to which an agent sends its reports.
#[derive(Clone)]
pub(crate) struct AgentLinks {
    pub(crate) settle: BatchSender<Settle>,
    pub(crate) started: Recipient<AgentStarted>,
    pub(crate) ready: BatchSender<AgentReady>,
    pub(crate) down: Recipient<AgentDown>,
}
