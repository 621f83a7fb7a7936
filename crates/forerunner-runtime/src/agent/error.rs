//! How an attempt goes wrong, and whether the agent can go on.

use std::fmt;

use forerunner_core::{ErrorKind, Outcome, TaskError};

/// Why an agent did not answer with an output.
///
/// `?` works on any error in an agent's code: it becomes a retryable [`ErrorKind::AgentError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentError {
    kind: ErrorKind,
    message: String,
    retryable: bool,
    usable: bool,
    /// The last lines that the agent wrote to standard error.
    log: Option<String>,
}

impl AgentError {
    /// An error that another attempt may cure, such as a service that did not answer.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::AgentError, message: message.into(), retryable: true, usable: true, log: None }
    }

    /// An error that no other attempt would cure, such as an order that makes no sense.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { retryable: false, ..Self::retryable(message) }
    }

    /// The input does not fit the agent's type. Not tried again.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::InvalidInput, ..Self::fatal(message) }
    }

    /// An output or a context is over its limit. Not tried again.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::TooLarge, ..Self::fatal(message) }
    }

    /// The agent stopped because it was asked to.
    pub fn cancelled() -> Self {
        Self { kind: ErrorKind::Cancelled, ..Self::fatal("the agent stopped as asked") }
    }

    /// The agent is gone: its process ended, or its code panicked. Another agent tries the task.
    pub fn lost(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::AgentLost, usable: false, ..Self::retryable(message) }
    }

    /// The agent broke the protocol or a bound and cannot be trusted any more. Another agent tries the task.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::AgentProtocol, usable: false, ..Self::retryable(message) }
    }

    /// An error of any kind; `usable` says whether the agent can take another task.
    pub fn new(kind: ErrorKind, message: impl Into<String>, retryable: bool, usable: bool) -> Self {
        Self { kind, message: message.into(), retryable, usable, log: None }
    }

    /// Adds the last lines that the agent wrote to standard error, to be kept with the attempt.
    pub fn with_log(self, log: Option<String>) -> Self {
        Self { log, ..self }
    }

    /// Takes over what another error says of the agent's last lines.
    pub(crate) fn logged_as(self, other: &Self) -> Self {
        self.with_log(other.log.clone())
    }

    /// Returns the kind.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns what happened, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns whether another attempt may cure it.
    pub const fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Returns whether the agent can take another task.
    pub const fn is_agent_usable(&self) -> bool {
        self.usable
    }

    /// Returns what it makes of the attempt.
    pub fn into_outcome(self) -> Outcome {
        let error = TaskError::new(self.kind, self.message).with_log(self.log);
        match (self.kind, self.retryable) {
            (ErrorKind::Cancelled, _) => Outcome::Cancelled,
            (_, true) => Outcome::Failed(error),
            (_, false) => Outcome::Rejected(error),
        }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Any error of the agent's own code may pass through `?`. (That is why `AgentError` itself is no `Error`.)
impl<E: std::error::Error> From<E> for AgentError {
    fn from(error: E) -> Self {
        Self::retryable(error.to_string())
    }
}
