//! Problems as answers: RFC 9457, `application/problem+json`.

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use forerunner_core::TaskState;
use forerunner_runtime::Error;
use forerunner_store::{Refusal, StateConflict, StoreError};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    json,
    problems::{self, ProblemType},
};

/// When to try again a node that shuts down: by then another one has its place.
const RETRY_NODE: Duration = Duration::from_secs(5);
/// When to try again a store that has just failed.
const RETRY_STORE: Duration = Duration::from_secs(1);

/// When to try again a pool without room for another context: by then it is measured anew.
const RETRY_CONTEXTS: Duration = Duration::from_secs(60);

/// What a problem may repeat of a request, which may be large.
const MOST_DETAIL_BYTES: usize = 4_096;
const MOST_MEMBER_BYTES: usize = 512;

/// Cuts text that is longer than `most` bytes, at the end of a character.
fn quoted(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|index| text.is_char_boundary(*index)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

/// One occurrence of a problem.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: &'static ProblemType,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(header::HeaderName, String)>,
    close: bool,
}

impl Problem {
    pub(crate) fn new(kind: &'static ProblemType, detail: impl Into<String>) -> Self {
        let detail = quoted(detail.into(), MOST_DETAIL_BYTES);
        Self { kind, detail, members: Map::new(), headers: Vec::new(), close: false }
    }

    /// Adds an extension member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::String(text) => Value::String(quoted(text, MOST_MEMBER_BYTES)),
            other => other,
        };
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Says when to try again: in the header, and as a member. Whole seconds, rounded up, at least 1.
    pub(crate) fn retry_after(self, delay: Duration) -> Self {
        let secs = (delay.as_secs_f64().ceil() as u64).max(1);
        self.with("retry_after_s", secs).header(header::RETRY_AFTER, secs.to_string())
    }

    /// Closes the connection after the answer, because what follows on it cannot be made sense of.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Says of what in the body it is.
    pub(crate) fn of(mut self, part: &str) -> Self {
        self.detail.insert_str(0, &format!("{part}: "));
        self
    }

    /// Returns whether the node, and not what it was sent, is the reason.
    pub(crate) const fn is_of_the_node(&self) -> bool {
        self.kind.status >= 500
    }

    /// Returns the body it is answered with.
    pub(crate) fn view(&self) -> ProblemView<'_> {
        ProblemView {
            reference: self.kind.reference(),
            title: self.kind.title,
            status: self.kind.status,
            detail: &self.detail,
            members: &self.members,
        }
    }

    #[cfg(test)]
    pub(crate) const fn kind(&self) -> &'static ProblemType {
        self.kind
    }
}

/// The body of a problem: the members of RFC 9457, then those of the occurrence.
#[derive(Serialize)]
pub(crate) struct ProblemView<'a> {
    #[serde(rename = "type")]
    reference: String,
    title: &'static str,
    pub(crate) status: u16,
    detail: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type("application/problem+json");
        for (name, value) in &self.headers {
            response.insert_header((name, value.as_str()));
        }
        if self.close {
            response.force_close();
        }
        response.body(json::bytes(&self.view()))
    }
}

impl From<forerunner_core::Error> for Problem {
    fn from(error: forerunner_core::Error) -> Self {
        Self::new(problems::INVALID_VALUE, error.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Invalid(error) => error.into(),
            Error::NoPool { pool, .. } => Self::new(problems::NO_POOL, detail).with("pool", pool),
            Error::QueueFull { pool, depth, limit, retry_after } => Self::new(problems::QUEUE_FULL, detail)
                .with("pool", pool.as_str())
                .with("depth", depth)
                .with("limit", limit)
                .retry_after(retry_after),
            Error::BytesFull { pool, size, bytes, limit, retry_after } => Self::new(problems::BYTES_FULL, detail)
                .with("pool", pool.as_str())
                .with("size", size)
                .with("bytes", bytes)
                .with("limit", limit)
                .retry_after(retry_after),
            Error::NotMovable { task, pool, .. } => {
                Self::new(problems::NOT_MOVABLE, detail).with("task", task.to_string()).with("pool", pool.as_str())
            }
            Error::TooLarge { size, limit, .. } => {
                Self::new(problems::PAYLOAD_TOO_LARGE, detail).with("size", size).with("limit", limit)
            }
            Error::Refused(refusal) => refusal.into(),
            Error::StateConflict(mismatch) => mismatch.into(),
            Error::Store(error) => error.into(),
            Error::ShuttingDown => Self::new(problems::SHUTTING_DOWN, detail).retry_after(RETRY_NODE).closing(),
            Error::OutcomeUnknown { pool } => Self::new(problems::OUTCOME_UNKNOWN, detail).with("pool", pool.as_str()),
            _ => internal(detail),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::KeyReused { key, task } => Self::new(problems::KEY_REUSED, detail)
                .with("idempotency_key", key.as_str())
                .with("task", task.to_string()),
            Refusal::ContextsFull { pool, context, stored_bytes, limit_bytes } => {
                Self::new(problems::CONTEXTS_FULL, detail)
                    .with("pool", pool.as_str())
                    .with("context", context.as_str())
                    .with("bytes", stored_bytes)
                    .with("limit", limit_bytes)
                    .retry_after(RETRY_CONTEXTS)
            }
            Refusal::NoParent { parent } => Self::new(problems::NO_PARENT, detail).with("task", parent.to_string()),
            Refusal::TooDeep { parent, depth, limit } => Self::new(problems::TOO_DEEP, detail)
                .with("task", parent.to_string())
                .with("depth", depth)
                .with("limit", limit),
            Refusal::Unstorable { .. } => Self::new(problems::INVALID_VALUE, detail),
            _ => internal(detail),
        }
    }
}

impl From<StateConflict> for Problem {
    fn from(mismatch: StateConflict) -> Self {
        let detail = mismatch.to_string();
        match mismatch {
            StateConflict::NoTask { task } => Self::new(problems::NO_TASK, detail).with("task", task.to_string()),
            StateConflict::WrongState { task, state, .. } => {
                Self::new(problems::WRONG_STATE, detail).with("task", task.to_string()).with("state", state.as_str())
            }
            StateConflict::Damaged { task, .. } => Self::new(problems::WRONG_STATE, detail)
                .with("task", task.to_string())
                .with("state", TaskState::Damaged.as_str()),
            StateConflict::NoContext { pool, context } => {
                Self::new(problems::NO_CONTEXT, detail).with("pool", pool.as_str()).with("context", context.as_str())
            }
            StateConflict::ContextInUse { context, task } => Self::new(problems::CONTEXT_IN_USE, detail)
                .with("context", context.as_str())
                .with("task", task.to_string()),
            _ => internal(detail),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Closed { .. } => Self::new(problems::SHUTTING_DOWN, detail).retry_after(RETRY_NODE).closing(),
            error if error.is_retryable() => Self::new(problems::STORE_UNAVAILABLE, detail).retry_after(RETRY_STORE),
            _ => internal(detail),
        }
    }
}

/// A failure that the caller did not cause: logged here, since nobody further up handles it.
pub(crate) fn internal(detail: String) -> Problem {
    tracing::error!(%detail, "a request failed because of an internal error");
    Problem::new(problems::INTERNAL, detail)
}

#[cfg(test)]
mod tests {
    use forerunner_core::{ErrorKind, PoolName, TaskError, TaskId, Timestamp};

    use super::*;

    fn kind_of(error: Error) -> &'static str {
        Problem::from(error).kind().name
    }

    #[test]
    fn failures_of_the_node_are_told_apart_from_those_that_pass() {
        let pool = PoolName::new("coder").unwrap();
        let task = TaskId::from_parts(Timestamp::from_micros(0), 1);
        let reason = || "disk".to_owned();
        assert_eq!(kind_of(Error::OutcomeUnknown { pool }), "outcome-unknown");
        assert_eq!(kind_of(StoreError::Unavailable { store: "sqlite", reason: reason() }.into()), "store-unavailable");
        assert_eq!(kind_of(StoreError::Full { store: "sqlite", reason: reason() }.into()), "store-unavailable");
        assert_eq!(kind_of(StoreError::Closed { store: "sqlite" }.into()), "shutting-down");
        assert_eq!(kind_of(StoreError::Damaged { place: "x".into(), reason: reason() }.into()), "internal");
        assert_eq!(kind_of(Error::Task { task, error: TaskError::new(ErrorKind::Timeout, "late") }), "internal");
    }

    #[test]
    fn a_delay_is_told_in_whole_seconds_and_never_as_none() {
        for (delay, told) in [(0, "1"), (1_000, "1"), (1_001, "2"), (59_500, "60")] {
            let problem = Problem::new(problems::QUEUE_FULL, "").retry_after(Duration::from_millis(delay));
            assert_eq!(problem.error_response().headers().get("retry-after").unwrap(), told);
        }
    }
}
