//! The errors of attempts, and whether the agent is still usable.

use std::{fmt, time::Duration};

use forerunner_core::{DependencyFault, ErrorKind, Outcome, TaskError};

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
    /// Whether what the agent depends on is to blame.
    dependency: Option<DependencyFault>,
    /// Whether the agent went as it had announced, which is no failure.
    departed: bool,
}

impl AgentError {
    /// An error that another attempt may avoid, such as a service that did not answer.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::AgentError, message, true, true)
    }

    /// What the agent depends on failed, such as a model provider that answers 503 or 429. The task is tried again, and the
    /// attempt does not count against it. `retry_after` is how long the dependency asks callers to wait, if it does.
    ///
    /// When many tasks fail alike the pool stops giving out tasks, and tries with one at a time. It notices that without this
    /// hint too, after a few more failures.
    pub fn dependency(message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self::retryable(message).blaming(Some(DependencyFault { retry_after }))
    }

    /// An error that every attempt would have, such as an order that makes no sense.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { retryable: false, ..Self::retryable(message) }
    }

    /// The input does not fit the agent's type. The task is not retried.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::InvalidInput, ..Self::fatal(message) }
    }

    /// An output or a context exceeds its limit. The task is not retried.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::TooLarge, ..Self::fatal(message) }
    }

    /// The agent stopped on request.
    pub fn cancelled() -> Self {
        Self { kind: ErrorKind::Cancelled, ..Self::fatal("the agent stopped as asked") }
    }

    /// The agent ended: its process exited, or its code panicked. The task is retried on another agent.
    pub fn lost(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::AgentLost, usable: false, ..Self::retryable(message) }
    }

    /// The idle agent went as it had announced. The pool replaces it, and counts no failure.
    pub fn departed(message: impl Into<String>) -> Self {
        Self { departed: true, ..Self::lost(message) }
    }

    /// The agent broke the protocol or a bound and is no longer trusted. The task is retried on another agent.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::AgentProtocol, usable: false, ..Self::retryable(message) }
    }

    /// An error of any kind. `usable` is whether the agent can take another task.
    pub fn new(kind: ErrorKind, message: impl Into<String>, retryable: bool, usable: bool) -> Self {
        Self { kind, message: message.into(), retryable, usable, log: None, dependency: None, departed: false }
    }

    /// Adds the last lines that the agent wrote to standard error. They are stored with the attempt.
    pub fn with_log(self, log: Option<String>) -> Self {
        Self { log, ..self }
    }

    /// Blames what the agent depends on, if `dependency` is given.
    pub fn blaming(self, dependency: Option<DependencyFault>) -> Self {
        Self { dependency, ..self }
    }

    /// Returns whether the agent blames what it depends on.
    pub const fn dependency_fault(&self) -> Option<DependencyFault> {
        self.dependency
    }

    /// Copies the log lines of another error.
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

    /// Returns whether another attempt may succeed.
    pub const fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Returns whether the agent can take another task.
    pub const fn is_agent_usable(&self) -> bool {
        self.usable
    }

    /// Returns whether the agent went as it had announced.
    pub const fn is_departure(&self) -> bool {
        self.departed
    }

    /// Returns the outcome of the attempt.
    pub fn into_outcome(self) -> Outcome {
        let error = TaskError::new(self.kind, self.message).with_log(self.log).with_dependency(self.dependency);
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
