//! The values of a record about a task, as text.

use std::borrow::Cow;

/// What a column can be mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// When the task was due.
    Arrival,
    /// When an agent began to work on it.
    Start,
    /// When the work ended.
    End,
    /// How long the work took.
    Duration,
    /// Which tasks share a context.
    Session,
    /// Tokens of the context.
    Tokens,
    /// Tokens of the answer.
    OutputTokens,
    /// When it became known that the task would arrive.
    Announced,
}

impl Key {
    /// All keys, in the order of [`Cells`].
    pub const ALL: [Self; 8] = [
        Self::Arrival,
        Self::Start,
        Self::End,
        Self::Duration,
        Self::Session,
        Self::Tokens,
        Self::OutputTokens,
        Self::Announced,
    ];

    /// The key in `--map`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Start => "start",
            Self::End => "end",
            Self::Duration => "duration",
            Self::Session => "session",
            Self::Tokens => "tokens",
            Self::OutputTokens => "output_tokens",
            Self::Announced => "announced",
        }
    }

    /// The column of a trace of Forerunner's own.
    pub const fn native(self) -> Option<&'static str> {
        match self {
            Self::Arrival => Some("arrival_s"),
            Self::Duration => Some("service_s"),
            Self::Session => Some("session"),
            Self::Tokens => Some("context_tokens"),
            Self::OutputTokens => Some("output_tokens"),
            Self::Announced => Some("announced_s"),
            Self::Start | Self::End => None,
        }
    }
}

/// The values of one record, one for each key; `None` where the record has nothing.
#[derive(Debug, Default)]
pub struct Cells<'a>([Option<Cow<'a, str>>; Key::ALL.len()]);

impl<'a> Cells<'a> {
    /// Sets a value. An empty one is none.
    pub fn set(&mut self, key: Key, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        let is_given = !value.trim().is_empty();
        self.0[key as usize] = is_given.then_some(value);
    }

    /// Returns a value without the space around it.
    pub fn get(&self, key: Key) -> Option<&str> {
        self.0[key as usize].as_deref().map(str::trim)
    }
}
