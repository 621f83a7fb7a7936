//! Why a call was refused, or failed: what every front renders in its own way.

use std::{fmt, time::Duration};

use serde_json::{Map, Value};

use crate::problem_kind::{ErrorClass, ProblemKind};

/// What a problem may repeat of a request, which may be large.
const MOST_DETAIL_BYTES: usize = 4_096;
const MOST_MEMBER_BYTES: usize = 512;

/// Why a call was refused, or failed.
#[derive(Debug)]
pub struct Error {
    kind: ProblemKind,
    details: Details,
    retry_after_s: Option<u64>,
    is_closing: bool,
}

/// One occurrence of a problem: a sentence for people, and values for programs.
///
/// Both are cut where they repeat more of a request than a reader needs.
#[derive(Debug)]
pub struct Details {
    /// What is wrong, with the values, and what to do.
    pub text: String,
    /// The values, by name.
    pub members: Map<String, Value>,
}

impl Details {
    /// Begins with the sentence.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: quoted(text.into(), MOST_DETAIL_BYTES), members: Map::new() }
    }

    /// Adds a value.
    pub fn insert(&mut self, name: &str, value: impl Into<Value>) {
        let value = match value.into() {
            Value::String(text) => Value::String(quoted(text, MOST_MEMBER_BYTES)),
            other => other,
        };
        self.members.insert(name.to_owned(), value);
    }
}

/// Cuts text that is longer than `most` bytes, at the end of a character.
fn quoted(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|index| text.is_char_boundary(*index)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Error {
    /// Begins with the kind and a sentence.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, details: Details::new(detail), retry_after_s: None, is_closing: false }
    }

    /// A failure that the caller did not cause. It is logged here, since no caller handles it.
    pub fn internal(detail: String) -> Self {
        tracing::error!(%detail, "a request failed because of an internal error");
        Self::new(ProblemKind::Internal, detail)
    }

    /// Adds a value for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name, value);
        self
    }

    /// Sets when to retry, in whole seconds, rounded up, at least 1.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        let secs = (delay.as_secs_f64().ceil() as u64).max(1);
        self.retry_after_s = Some(secs);
        self.with("retry_after_s", secs)
    }

    /// Asks the front to close the caller's connection after the answer.
    #[must_use]
    pub const fn close_connection(mut self) -> Self {
        self.is_closing = true;
        self
    }

    /// Returns the kind.
    pub const fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Returns what the caller is to make of it.
    pub const fn class(&self) -> ErrorClass {
        self.kind.class()
    }

    /// Returns the seconds after which to try again, if that may help.
    pub const fn retry_after_s(&self) -> Option<u64> {
        self.retry_after_s
    }

    /// Returns whether the caller's connection is to be closed behind the answer.
    pub const fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Returns the sentence and the values.
    pub const fn details(&self) -> &Details {
        &self.details
    }

    /// Returns the sentence and the values.
    pub fn into_details(self) -> Details {
        self.details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.details.text)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_told_in_whole_seconds_and_never_as_none() {
        for (delay, told) in [(0, 1), (1_000, 1), (1_001, 2), (59_500, 60)] {
            let error = Error::new(ProblemKind::QueueFull, "").retry_after(Duration::from_millis(delay));
            assert_eq!(error.retry_after_s(), Some(told));
            assert_eq!(error.details().members["retry_after_s"], told);
        }
    }

    #[test]
    fn what_is_repeated_of_a_request_is_cut_at_the_end_of_a_character() {
        let long = "ü".repeat(MOST_DETAIL_BYTES);
        let error = Error::new(ProblemKind::InvalidValue, long.as_str()).with("field", long.as_str());
        assert_eq!(error.to_string(), "ü".repeat(MOST_DETAIL_BYTES / 2) + "…");
        assert_eq!(error.details().members["field"], "ü".repeat(MOST_MEMBER_BYTES / 2) + "…");
    }
}
