//! The last lines that agents wrote to the log of their task.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Most lines that a task has.
const MAX_LINES: usize = 100;
/// Most bytes of all lines of a task.
const MAX_BYTES: usize = 16 << 10;
/// Most bytes of one line. The rest of a longer one is cut.
const MAX_LINE_BYTES: usize = 1 << 10;

/// One line of the log of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// When the node read it.
    pub at: Timestamp,
    /// The attempt that it belongs to.
    pub attempt: u32,
    /// Where it comes from.
    pub source: LogSource,
    /// How important it is.
    #[serde(default)]
    pub level: LogLevel,
    /// The text, without a line break.
    pub text: String,
}

/// Where a line of a log comes from. The name is part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// The agent sent it to the log.
    Agent,
    /// The agent wrote it to its standard error while it ran the task.
    Stderr,
}

/// How important a line of a log is. The name is part of the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For the author of the agent.
    Debug,
    /// For people who follow the task.
    #[default]
    Info,
    /// Something is odd, and the agent continues.
    Warn,
    /// Something failed.
    Error,
}

/// The last lines of a task: at most 100, and at most 16 KiB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct TaskLog {
    /// The lines, oldest first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<LogLine>))]
    pub lines: VecDeque<LogLine>,
    /// How many older lines were dropped.
    pub dropped: u64,
}

impl TaskLog {
    /// Adds a line, cut to 1 KiB. Older lines that are over a limit are dropped.
    pub fn push(&mut self, mut line: LogLine) {
        cut(&mut line.text);
        self.lines.push_back(line);
        let mut bytes: usize = self.lines.iter().map(size).sum();
        while self.lines.len() > MAX_LINES || bytes > MAX_BYTES {
            bytes -= self.lines.pop_front().as_ref().map_or(0, size);
            self.dropped += 1;
        }
    }

    /// Adds the lines of a later attempt.
    pub fn append(&mut self, later: Self) {
        self.dropped += later.dropped;
        later.lines.into_iter().for_each(|line| self.push(line));
    }

    /// Returns whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

fn size(line: &LogLine) -> usize {
    const FIXED: usize = 64;
    FIXED + line.text.len()
}

fn cut(text: &mut String) {
    if text.len() > MAX_LINE_BYTES {
        let end = (0..=MAX_LINE_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        let at = Timestamp::from_micros(1);
        LogLine { at, attempt: 1, source: LogSource::Agent, level: LogLevel::Info, text: text.to_owned() }
    }

    #[test]
    fn the_last_lines_stay_and_the_others_are_counted() {
        let mut log = TaskLog::default();
        (0..150).for_each(|number| log.push(line(&number.to_string())));
        assert_eq!((log.lines.len(), log.dropped, log.lines[0].text.as_str()), (MAX_LINES, 50, "50"));
        (0..100).for_each(|_| log.push(line(&"é".repeat(5_000))));
        assert!(log.lines.iter().map(size).sum::<usize>() <= MAX_BYTES, "{}", log.lines.len());
        assert_eq!(log.lines.len() as u64 + log.dropped, 250);
        assert!(log.lines[0].text.ends_with("é…") && log.lines[0].text.len() <= MAX_LINE_BYTES + 3);
    }

    #[test]
    fn a_later_attempt_adds_to_the_log() {
        let (mut log, mut later) = (TaskLog::default(), TaskLog { dropped: 7, ..TaskLog::default() });
        assert!(log.is_empty());
        log.push(line("a"));
        later.push(line("b"));
        log.append(later);
        assert_eq!(log.lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(log.dropped, 7);
    }
}
