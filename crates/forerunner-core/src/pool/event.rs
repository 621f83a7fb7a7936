//! What a pool hears and what it has done about it.

use std::sync::Arc;

use crate::{
    AgentId, Task, TaskId, Timestamp,
    placement::{AgentContexts, PlacementRecord},
};

/// Something a pool must know.
#[derive(Debug, Clone)]
pub enum PoolEvent {
    /// Time has passed: a wake-up that was asked for.
    Tick,
    /// A decision wants this many agents.
    Resize(u32),
    /// The bounds changed.
    Configure {
        /// Fewest agents.
        min: u32,
        /// Most agents.
        max: u32,
    },
    /// Give out no work from now on.
    Pause,
    /// Give out work again.
    Resume,
    /// Stop all agents: idle ones at once, busy ones after their task.
    Stop,
    /// An agent is warm for the first time.
    Started {
        /// The agent.
        agent: AgentId,
        /// Its process, if it has one of its own.
        pid: Option<u32>,
    },
    /// The queue filled slots.
    Assigned(Vec<Arc<Task>>),
    /// The queue forgot slots that were to be withdrawn.
    Withdrawn {
        /// How many it was asked to forget.
        asked: usize,
        /// How many were still open.
        got: usize,
    },
    /// An agent's task is settled and it can take another.
    Ready {
        /// The agent.
        agent: AgentId,
        /// The contexts that it holds now, unless they are those it told of last.
        memory: Option<Box<AgentContexts>>,
    },
    /// A task is to stop. Matters if it waits for an agent: what runs is stopped by its agent.
    Unwanted(TaskId),
    /// An agent is gone.
    Down {
        /// The agent.
        agent: AgentId,
        /// Why, unless it was asked to stop.
        reason: Option<String>,
    },
}

/// Something a pool wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum PoolAction {
    /// Start an agent under this id.
    Spawn(AgentId),
    /// Give a task to an agent.
    Run {
        /// The agent.
        agent: AgentId,
        /// The task.
        task: Arc<Task>,
    },
    /// Keep why the task of the last [`PoolAction::Run`], which has a context, went where it went.
    Placed(Box<PlacementRecord>),
    /// Stop an agent that is idle or starting.
    Stop(AgentId),
    /// Hand a task back to the queue untouched.
    Release(Arc<Task>),
    /// Settle the attempt of an agent that vanished.
    Lost {
        /// The task.
        task: TaskId,
        /// Why the agent vanished.
        reason: String,
    },
    /// Ask the queue for this many tasks more.
    Demand(usize),
    /// Ask the queue to forget this many open slots.
    Withdraw(usize),
    /// Send [`PoolEvent::Tick`] at this time, or sooner.
    Wake(Timestamp),
    /// Tell the operator that new agents died in tasks that cost none before: they are started one at a time until one of
    /// them finishes a task.
    ProbationBegan {
        /// Why the last one died.
        reason: String,
    },
    /// Tell the operator that agents failed too often.
    CircuitOpened {
        /// Why the last one failed.
        reason: String,
    },
}
