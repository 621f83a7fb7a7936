//! What is told of a task that could be placed, and of an agent that could take it.

use super::{ResidentEntry, Room};
use crate::{ContextId, Priority, TaskId, Timestamp};

/// A task that could be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub task: TaskId,
    /// Its context, if it has one.
    pub context: Option<ContextId>,
    /// The stored version of that; 0 for none.
    pub context_version: u64,
    /// The size of that, in bytes; 0 for none.
    pub context_bytes: u64,
    /// A higher one is claimed first.
    pub priority: Priority,
    /// When it became due for the first time.
    pub due: Timestamp,
}

/// What an agent that is ready says of the contexts it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentContexts {
    /// All of them, the one used last at the end.
    pub contexts: Vec<ResidentEntry<ContextId>>,
    /// Room for contexts, those held included.
    pub room: Room,
    /// What it took to bring the context of its last task, if that had one.
    pub restored: Option<Restored>,
}

/// What it took to bring a context to an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Restored {
    /// Bytes of the context that the agent lacked, as it is in memory.
    pub bytes: u64,
    /// Seconds from the begin of the attempt until it had them.
    pub seconds: f64,
}
