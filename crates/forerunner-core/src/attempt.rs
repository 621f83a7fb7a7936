//! How the attempts of a task went.

use serde::{Deserialize, Serialize};

use crate::{AgentId, NodeId, TaskError, TaskState, Timestamp};

/// What became of an attempt. The name is part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// It has not ended.
    Running,
    /// It failed, and the task was tried again.
    Retried,
    /// It ended with an output.
    Succeeded,
    /// It failed in a way that another attempt would not cure.
    Failed,
    /// It was stopped by request.
    Cancelled,
    /// The deadline passed.
    Expired,
    /// It was the last one that the task had.
    Dead,
}

impl From<TaskState> for AttemptOutcome {
    /// What became of an attempt, by the state that its task went to.
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Scheduled | TaskState::Queued => Self::Retried,
            TaskState::Running | TaskState::Waiting => Self::Running,
            TaskState::Succeeded => Self::Succeeded,
            // How it ended cannot be read any more.
            TaskState::Failed | TaskState::Damaged => Self::Failed,
            TaskState::Cancelled => Self::Cancelled,
            TaskState::Expired => Self::Expired,
            TaskState::Dead => Self::Dead,
        }
    }
}

/// One attempt of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = Attempt))]
pub struct AttemptRecord {
    /// Counts from 1, and anew when the task was sent back to its queue.
    pub attempt: u32,
    /// What became of it.
    pub outcome: AttemptOutcome,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub ended_at: Option<Timestamp>,
    /// The agent that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub agent: Option<AgentId>,
    /// The node that the agent belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub node: Option<NodeId>,
    /// Why it ended without an output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = TaskError))]
    pub error: Option<TaskError>,
    /// The last lines that the agent wrote to standard error, at most 2 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub log: Option<String>,
}
