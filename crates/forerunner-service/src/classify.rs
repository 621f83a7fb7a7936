//! Which kind of problem an error of the runtime, or of its store, is.

use std::time::Duration;

use forerunner_core::{AnswerError, TaskState};
use forerunner_runtime::Error as RuntimeError;
use forerunner_store::{ApiKeyConflict, Refusal, ScheduleConflict, StateConflict, StoreError};

use crate::{error::Error, problem_kind::ProblemKind};

/// When to try again a node that shuts down: by then another one has its place.
const RETRY_NODE: Duration = Duration::from_secs(5);
/// When to try again a store that has just failed.
const RETRY_STORE: Duration = Duration::from_secs(1);
/// When to try again a pool without room for another context: by then it is measured anew.
const RETRY_CONTEXTS: Duration = Duration::from_secs(60);

impl From<forerunner_core::Error> for Error {
    fn from(error: forerunner_core::Error) -> Self {
        Self::new(ProblemKind::InvalidValue, error.to_string())
    }
}

impl From<RuntimeError> for Error {
    fn from(error: RuntimeError) -> Self {
        let detail = error.to_string();
        match error {
            RuntimeError::Invalid(error) => error.into(),
            RuntimeError::NoPool { pool, .. } => Self::new(ProblemKind::NoPool, detail).with("pool", pool),
            RuntimeError::QueueFull { pool, depth, limit, retry_after } => Self::new(ProblemKind::QueueFull, detail)
                .with("pool", pool.as_str())
                .with("depth", depth)
                .with("limit", limit)
                .retry_after(retry_after),
            RuntimeError::BytesFull { pool, size, bytes, limit, retry_after } => {
                Self::new(ProblemKind::BytesFull, detail)
                    .with("pool", pool.as_str())
                    .with("size", size)
                    .with("bytes", bytes)
                    .with("limit", limit)
                    .retry_after(retry_after)
            }
            RuntimeError::NotMovable { task, pool, .. } => {
                Self::new(ProblemKind::NotMovable, detail).with("task", task.to_string()).with("pool", pool.as_str())
            }
            RuntimeError::TooLarge { size, limit, .. } => {
                Self::new(ProblemKind::PayloadTooLarge, detail).with("size", size).with("limit", limit)
            }
            RuntimeError::NotTeachable { pool, .. } => {
                Self::new(ProblemKind::NotLearnable, detail).with("pool", pool.as_str())
            }
            RuntimeError::Refused(refusal) => refusal.into(),
            RuntimeError::StateConflict(mismatch) => mismatch.into(),
            RuntimeError::Answer { task, error } => {
                let kind = match error {
                    AnswerError::NoOption { .. } => ProblemKind::InvalidValue,
                    _ => ProblemKind::WrongState,
                };
                Self::new(kind, detail).with("task", task.to_string())
            }
            RuntimeError::Schedule(conflict) => conflict.into(),
            RuntimeError::Store(error) => error.into(),
            RuntimeError::ShuttingDown => {
                Self::new(ProblemKind::ShuttingDown, detail).retry_after(RETRY_NODE).close_connection()
            }
            RuntimeError::OutcomeUnknown { pool } => {
                Self::new(ProblemKind::OutcomeUnknown, detail).with("pool", pool.as_str())
            }
            _ => Self::internal(detail),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let refusal = local_refusal(refusal);
        let detail = refusal.to_string();
        match refusal {
            Refusal::KeyReused { key, task } => Self::new(ProblemKind::KeyReused, detail)
                .with("idempotency_key", key.as_str())
                .with("task", task.to_string()),
            Refusal::ContextsFull { pool, context, stored_bytes, limit_bytes } => {
                Self::new(ProblemKind::ContextsFull, detail)
                    .with("pool", pool.as_str())
                    .with("context", context.as_str())
                    .with("bytes", stored_bytes)
                    .with("limit", limit_bytes)
                    .retry_after(RETRY_CONTEXTS)
            }
            Refusal::NoParent { parent } => Self::new(ProblemKind::NoParent, detail).with("task", parent.to_string()),
            Refusal::TooDeep { parent, depth, limit } => Self::new(ProblemKind::TooDeep, detail)
                .with("task", parent.to_string())
                .with("depth", depth)
                .with("limit", limit),
            Refusal::Unstorable { .. } => Self::new(ProblemKind::InvalidValue, detail),
            _ => Self::internal(detail),
        }
    }
}

/// The refusal with the names that the client gave.
fn local_refusal(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::KeyReused { key, task } => Refusal::KeyReused { key: key.to_local(), task },
        Refusal::ContextsFull { pool, context, stored_bytes, limit_bytes } => {
            Refusal::ContextsFull { pool, context: context.to_local(), stored_bytes, limit_bytes }
        }
        other => other,
    }
}

/// The conflict with the names that the client gave.
fn local_conflict(conflict: StateConflict) -> StateConflict {
    match conflict {
        StateConflict::NoContext { pool, context } => StateConflict::NoContext { pool, context: context.to_local() },
        StateConflict::ContextInUse { context, task } => {
            StateConflict::ContextInUse { context: context.to_local(), task }
        }
        other => other,
    }
}

impl From<ScheduleConflict> for Error {
    fn from(conflict: ScheduleConflict) -> Self {
        let detail = conflict.to_string();
        match conflict {
            ScheduleConflict::NotFound { name } => {
                Self::new(ProblemKind::NoSchedule, detail).with("schedule", name.as_str())
            }
            ScheduleConflict::Exists { name } | ScheduleConflict::Changed { name } => {
                Self::new(ProblemKind::ScheduleConflict, detail).with("schedule", name.as_str())
            }
            ScheduleConflict::Full { most } => Self::new(ProblemKind::SchedulesFull, detail).with("limit", most),
            ScheduleConflict::Refused(refusal) => refusal.into(),
            _ => Self::internal(detail),
        }
    }
}

impl From<StateConflict> for Error {
    fn from(mismatch: StateConflict) -> Self {
        let mismatch = local_conflict(mismatch);
        let detail = mismatch.to_string();
        match mismatch {
            StateConflict::NoTask { task } => Self::new(ProblemKind::NoTask, detail).with("task", task.to_string()),
            StateConflict::WrongState { task, state, .. } => {
                Self::new(ProblemKind::WrongState, detail).with("task", task.to_string()).with("state", state.as_str())
            }
            StateConflict::Damaged { task, .. } => Self::new(ProblemKind::WrongState, detail)
                .with("task", task.to_string())
                .with("state", TaskState::Damaged.as_str()),
            StateConflict::NoContext { pool, context } => {
                Self::new(ProblemKind::NoContext, detail).with("pool", pool.as_str()).with("context", context.as_str())
            }
            StateConflict::ContextInUse { context, task } => Self::new(ProblemKind::ContextInUse, detail)
                .with("context", context.as_str())
                .with("task", task.to_string()),
            _ => Self::internal(detail),
        }
    }
}

impl From<ApiKeyConflict> for Error {
    fn from(conflict: ApiKeyConflict) -> Self {
        let detail = conflict.to_string();
        match conflict {
            ApiKeyConflict::NotFound { id } => Self::new(ProblemKind::NoApiKey, detail).with("key", id.as_str()),
            ApiKeyConflict::Exists { id } | ApiKeyConflict::Changed { id } => {
                Self::new(ProblemKind::ApiKeyConflict, detail).with("key", id.as_str())
            }
            ApiKeyConflict::Full => Self::new(ProblemKind::ApiKeysFull, detail),
            _ => Self::internal(detail),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Closed { .. } => {
                Self::new(ProblemKind::ShuttingDown, detail).retry_after(RETRY_NODE).close_connection()
            }
            error if error.is_retryable() => Self::new(ProblemKind::StoreUnavailable, detail).retry_after(RETRY_STORE),
            _ => Self::internal(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use forerunner_core::{ErrorKind, PoolName, TaskError, TaskId, Timestamp};

    use super::*;

    fn kind_of(error: RuntimeError) -> &'static str {
        Error::from(error).kind().name()
    }

    #[test]
    fn failures_of_the_node_are_told_apart_from_those_that_pass() {
        let pool = PoolName::new("coder").unwrap();
        let task = TaskId::from_parts(Timestamp::from_micros(0), 1);
        let reason = || "disk".to_owned();
        assert_eq!(kind_of(RuntimeError::OutcomeUnknown { pool }), "outcome-unknown");
        assert_eq!(kind_of(StoreError::Unavailable { store: "sqlite", reason: reason() }.into()), "store-unavailable");
        assert_eq!(kind_of(StoreError::Full { store: "sqlite", reason: reason() }.into()), "store-unavailable");
        assert_eq!(kind_of(StoreError::Closed { store: "sqlite" }.into()), "shutting-down");
        assert_eq!(kind_of(StoreError::Damaged { place: "x".into(), reason: reason() }.into()), "internal");
        let late = TaskError::new(ErrorKind::Timeout, "late");
        assert_eq!(kind_of(RuntimeError::Task { task, error: late }), "internal");
    }
}
