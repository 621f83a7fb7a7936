//! How an attempt ended, and why it ended without an output.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Payload;

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With an output.
    Succeeded(Payload),
    /// With an error that another attempt may cure.
    Failed(TaskError),
    /// With an error that no other attempt would cure.
    Rejected(TaskError),
    /// Stopped by request.
    Cancelled,
    /// Released untouched: the attempt does not count.
    Released,
    /// The agent asked something: the list of its questions. The last one has no answer.
    Asked(Payload),
}

/// Why an attempt ended without an output. The name is part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The agent answered with an error.
    AgentError,
    /// The agent's code panicked.
    AgentPanicked,
    /// The agent, or its process, went away during the attempt.
    AgentLost,
    /// The agent broke the protocol, or went over a bound.
    AgentProtocol,
    /// The attempt ran longer than its timeout.
    Timeout,
    /// The deadline passed.
    DeadlineExceeded,
    /// Someone asked for it to stop.
    Cancelled,
    /// The input does not fit the agent's type.
    InvalidInput,
    /// The output or the context is over its limit.
    TooLarge,
    /// The node went away during the attempt.
    NodeLost,
    /// The context could not be restored.
    ContextLost,
    /// The row of the task in the store cannot be read.
    Damaged,
}

impl ErrorKind {
    /// Returns the name used in JSON, metrics and stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentError => "agent_error",
            Self::AgentPanicked => "agent_panicked",
            Self::AgentLost => "agent_lost",
            Self::AgentProtocol => "agent_protocol",
            Self::Timeout => "timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
            Self::InvalidInput => "invalid_input",
            Self::TooLarge => "too_large",
            Self::NodeLost => "node_lost",
            Self::ContextLost => "context_lost",
            Self::Damaged => "damaged",
        }
    }

    /// Returns whether the attempt crashed the agent or its node: such a task is quarantined early. An agent that broke
    /// the protocol is stopped, so it counts too.
    pub const fn is_crash(self) -> bool {
        matches!(self, Self::AgentPanicked | Self::AgentLost | Self::AgentProtocol | Self::NodeLost)
    }

    /// Returns whether the attempt may have cost its agent: the agent crashed, or was stopped since it did not end in time.
    pub const fn costs_agent(self) -> bool {
        matches!(self, Self::AgentPanicked | Self::AgentLost | Self::AgentProtocol | Self::Timeout)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt, or a task, ended without an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskError {
    /// The kind, for programs.
    pub kind: ErrorKind,
    /// What happened, for people.
    pub message: String,
    /// The last lines that the agent wrote to standard error. They are stored with the attempt, not with the error of
    /// the task.
    #[serde(skip)]
    pub log: Option<Box<str>>,
    /// Whether the agent reports that what it depends on failed. It is for the pool, and not stored.
    #[serde(skip)]
    pub dependency: Option<DependencyFault>,
}

/// What an agent knows of a failure of what it depends on, such as a model provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DependencyFault {
    /// How long the dependency asks callers to wait, as in the header `Retry-After` of HTTP.
    pub retry_after: Option<Duration>,
}

impl TaskError {
    /// Builds an error.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), log: None, dependency: None }
    }

    /// Blames what the agent depends on.
    pub fn with_dependency(self, dependency: Option<DependencyFault>) -> Self {
        Self { dependency, ..self }
    }

    /// Adds the last lines that the agent wrote to standard error.
    pub fn with_log(self, log: Option<String>) -> Self {
        Self { log: log.map(String::into_boxed_str), ..self }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}
