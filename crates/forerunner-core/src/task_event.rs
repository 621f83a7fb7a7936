//! What happened to a task, as clients that follow it see it.

use serde::Serialize;

use crate::{AgentRequest, LogLine, TaskError, TaskState, Timestamp};

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskEvent {
    /// Grows with the task's events: counts those on this node from 1, or, where the store keeps them, is the same on all
    /// nodes and has gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: TaskEventKind,
}

/// What happened to a task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TaskEventKind {
    /// It went to another state.
    State {
        /// The state.
        state: TaskState,
        /// Attempts begun.
        attempt: u32,
        /// Why the last attempt ended without an output.
        error: Option<TaskError>,
    },
    /// Its agent reported progress.
    Progress {
        /// A line for people.
        text: String,
    },
    /// Its agent asked something, and the task waits for the answer.
    Asked {
        /// What it asked.
        request: Box<AgentRequest>,
    },
    /// Its agent wrote a line to its log.
    Log {
        /// The line.
        line: LogLine,
    },
    /// Its agent streamed a piece of the output.
    Output {
        /// The piece.
        chunk: String,
    },
}
