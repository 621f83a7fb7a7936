//! The events of a pool, and the actions that answer them.

use std::sync::Arc;

use crate::{
    AgentId, LeaseEpoch, Task, TaskId, Timestamp,
    placement::{AgentContexts, PlacementRecord, ReturnChances},
};

/// Something a pool must know.
#[derive(Debug, Clone)]
pub enum PoolEvent {
    /// Time has passed: a wake-up that was asked for.
    Tick,
    /// A decision asks for this many agents.
    Resize(u32),
    /// The bounds changed.
    Configure {
        /// Fewest agents.
        min: u32,
        /// Most agents.
        max: u32,
    },
    /// The forecast learned when contexts are wanted again.
    Returns(ReturnChances),
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
        /// The id of its process, if it has one.
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
    /// The tasks of an agent's run are settled, and the agent is idle again.
    Ready {
        /// The agent.
        agent: AgentId,
        /// The contexts resident in it now; `None` if they are the same as in the last report.
        memory: Option<Box<AgentContexts>>,
        /// How its run went.
        run: RunSummary,
    },
    /// A task is to stop. Matters if it waits for an agent: what runs is stopped by its agent.
    Unwanted(TaskId),
    /// An agent ended.
    Down {
        /// The agent.
        agent: AgentId,
        /// Why, unless it was asked to stop.
        reason: Option<String>,
    },
}

/// How the run of an agent went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSummary {
    /// Tasks that it finished.
    pub tasks: u32,
    /// How long the next run may be.
    pub pace: RunPace,
}

/// What a run says of how many tasks an agent can get at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunPace {
    /// No task waited for anything, and all ended within a moment.
    Quick,
    /// No task waited, but the run took its time.
    Long,
    /// A task waited for something.
    Waited,
}

impl RunSummary {
    /// One task, that waited for something.
    pub const ONE: Self = Self { tasks: 1, pace: RunPace::Waited };
}

/// An action of a pool.
#[derive(Debug, Clone, PartialEq)]
pub enum PoolAction {
    /// Start an agent under this id.
    Spawn(AgentId),
    /// Give a run to an agent.
    Run {
        /// The agent.
        agent: AgentId,
        /// The first task.
        task: Arc<Task>,
        /// Tasks that follow it, as long as none waits for anything.
        further: Vec<Arc<Task>>,
    },
    /// Record why the task of the last [`PoolAction::Run`], which has a context, went to its agent.
    Placed(Box<PlacementRecord>),
    /// Stop an agent that is idle or starting.
    Stop(AgentId),
    /// Hand a task back to the queue untouched.
    Release(Arc<Task>),
    /// Settle the attempt of an agent that vanished.
    Lost {
        /// The agent.
        agent: AgentId,
        /// The task.
        task: TaskId,
        /// Its lease.
        epoch: LeaseEpoch,
        /// Why the agent vanished.
        reason: String,
    },
    /// Ask the queue for this many tasks more.
    Demand(usize),
    /// Ask the queue to forget this many open slots.
    Withdraw(usize),
    /// Send [`PoolEvent::Tick`] at this time, or sooner.
    Wake(Timestamp),
    /// Report to the operator that new agents died in tasks that had crashed none before: the pool starts one agent at
    /// a time until one finishes a task.
    ProbationBegan {
        /// Why the last one died.
        reason: String,
    },
    /// Report to the operator that agents failed too often.
    CircuitOpened {
        /// Why the last one failed.
        reason: String,
    },
}
