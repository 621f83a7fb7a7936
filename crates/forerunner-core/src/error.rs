//! What can be wrong with a value.

use crate::TaskState;

/// A value that the vocabulary refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name breaks its alphabet or length.
    #[error("{what} `{value}` is not valid; use {rule}")]
    Name {
        /// What the name is for.
        what: &'static str,
        /// The refused text, shortened.
        value: String,
        /// What would be accepted.
        rule: &'static str,
    },
    /// An id is not a UUID.
    #[error("{what} id `{value}` is not a UUID; copy it from the answer to a submission or a listing")]
    Id {
        /// What the id names.
        what: &'static str,
        /// The refused text.
        value: String,
    },
    /// A time is not RFC 3339.
    #[error("time `{value}` is not RFC 3339; write it like 2026-01-31T12:00:00Z")]
    Timestamp {
        /// The refused text.
        value: String,
    },
    /// A time is RFC 3339, and later than any that can be stored.
    #[error("time `{value}` is out of range; use one up to {latest}, or leave it out")]
    TimestampRange {
        /// The refused text.
        value: String,
        /// The last time that can be stored.
        latest: String,
    },
    /// A priority is out of range.
    #[error("priority {value} is out of range; use 0 (last) to 9 (first)")]
    Priority {
        /// The refused number.
        value: u64,
    },
    /// A payload is not JSON.
    #[error("payload is not valid JSON: {reason}; send one JSON value")]
    Payload {
        /// The message of the parser.
        reason: String,
    },
    /// A payload is nested too deep.
    #[error("payload is nested {depth} levels deep; use {} at most", crate::Payload::MAX_NESTING)]
    Nesting {
        /// How deep it is.
        depth: usize,
    },
    /// A payload has half of a surrogate pair: JSON by its grammar, but no text.
    #[error("payload has `{half}` at {place}, half of a surrogate pair; send both halves, or neither")]
    HalfSurrogate {
        /// The escape.
        half: String,
        /// Where it is, such as `messages[2].text`.
        place: String,
    },
    /// A state name is unknown.
    #[error(
        "task state `{value}` is unknown; use one of scheduled, queued, running, waiting, succeeded, failed, cancelled, expired, dead"
    )]
    State {
        /// The refused text.
        value: String,
    },
    /// A task cannot go from one state to another.
    #[error("a task cannot go from {from} to {to}")]
    Move {
        /// Where it is.
        from: TaskState,
        /// Where it cannot go.
        to: TaskState,
    },
    /// A field of a schedule is not valid, or contradicts another.
    #[error("{field} `{value}` is not valid: {rule}")]
    Schedule {
        /// The field.
        field: &'static str,
        /// The refused text, shortened.
        value: String,
        /// What is wrong, and what to write.
        rule: String,
    },
    /// A setting is outside its range, or contradicts another.
    #[error("`{key}` = {value} is not valid; {rule}")]
    Setting {
        /// The setting's name.
        key: &'static str,
        /// The refused value.
        value: String,
        /// What would be accepted.
        rule: String,
    },
}
