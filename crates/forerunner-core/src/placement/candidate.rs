//! The description of a task that could be placed, and of an agent that could run it.

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

/// The contexts that a ready agent reports as resident.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentContexts {
    /// All of them, the one used last at the end.
    pub contexts: Vec<ResidentEntry<ContextId>>,
    /// Room for contexts, the resident ones included.
    pub room: Room,
    /// The cost of restoring the context of its last task, if that task had one.
    pub restored: Option<Restored>,
}

/// The cost of restoring a context into an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Restored {
    /// Bytes of the context that the agent lacked, as it is in memory.
    pub bytes: u64,
    /// Seconds from the begin of the attempt until it had them.
    pub seconds: f64,
}
