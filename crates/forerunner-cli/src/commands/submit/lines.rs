//! Tasks in a file: one JSON object a line.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
};

use anyhow::Context;
use forerunner_console::{Usage, text};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// Longest line; no pool accepts an input like that.
const LONGEST_BYTES: u64 = 256 << 20;
/// The field that makes a task repeatable.
const KEY: &str = "idempotency_key";

/// The lines of a file, without empty ones.
pub struct Lines {
    reader: Box<dyn BufRead>,
    name: String,
    number: u64,
}

/// A task as a line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counts the lines of the file from 1.
    pub number: u64,
    /// A JSON object without a line break.
    pub text: String,
    /// Whether sending it again makes no second task.
    pub keyed: bool,
}

/// Why a line is no task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// The kind of problem that the service would have answered with.
    pub kind: &'static str,
    /// What is wrong, for people.
    pub why: String,
}

fn no_json(why: String) -> LineError {
    LineError { kind: "invalid-json", why }
}

impl Lines {
    /// Opens a file, or standard input for `-`.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        if name == "-" {
            return Ok(Self::of(std::io::stdin().lock(), "standard input"));
        }
        match File::open(name) {
            Ok(file) => Ok(Self::of(BufReader::new(file), name)),
            Err(error) => Err(Usage(format!("--file {name} cannot be read: {error}")).into()),
        }
    }

    fn of(reader: impl BufRead + 'static, name: &str) -> Self {
        Self { reader: Box::new(reader), name: name.to_owned(), number: 0 }
    }

    /// Reads the next line that is not empty, with its number. A byte order mark is no part of the first.
    pub fn next(&mut self) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let mut text = Vec::new();
            let read = self.reader.by_ref().take(LONGEST_BYTES).read_until(b'\n', &mut text);
            if read.with_context(|| format!("{} cannot be read", self.name))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.number == 1 {
                text.drain(..text.len() - text::unmarked(&text).len());
            }
            if text.len() as u64 == LONGEST_BYTES {
                anyhow::bail!("line {} of {} has more than {LONGEST_BYTES} bytes", self.number, self.name);
            }
            if !text.trim_ascii().is_empty() {
                return Ok(Some((self.number, text)));
            }
        }
    }
}

impl Line {
    /// Parses a line. A line without a key gets its number after the prefix.
    ///
    /// # Errors
    /// Why it is not a task.
    pub fn read(number: u64, text: &[u8], key_prefix: Option<&str>) -> Result<Self, LineError> {
        let text = text::decode(text).map_err(no_json)?.trim();
        let not_json = |error| no_json(format!("it is not JSON: {error}"));
        if !text.starts_with('{') {
            serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
            return Err(LineError {
                kind: "invalid-body",
                why: "it is no JSON object; write {\"input\": …}".to_owned(),
            });
        }
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(not_json)?;
        let own = fields.get(KEY).map(|key| key.get() != "null");
        Ok(match (own, key_prefix) {
            (None, Some(prefix)) => {
                Self { number, text: with_key(text, fields.is_empty(), &key(prefix, number)), keyed: true }
            }
            (own, _) => Self { number, text: text.to_owned(), keyed: own == Some(true) },
        })
    }
}

/// The key of a line.
pub fn key(prefix: &str, number: u64) -> String {
    format!("{prefix}-{number}")
}

/// Adds the key at the end, so that faults in front of it are where they are in the file.
fn with_key(object: &str, is_empty: bool, key: &str) -> String {
    let open = object.strip_suffix('}').unwrap_or(object);
    let comma = if is_empty { "" } else { "," };
    format!("{open}{comma}\"{KEY}\":{}}}", serde_json::Value::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, prefix: Option<&str>) -> Result<Line, LineError> {
        Line::read(7, text.as_bytes(), prefix)
    }

    #[test]
    fn a_line_without_a_key_gets_one_and_is_else_left_as_it_is() {
        for (given, sent, keyed) in [
            (r#"{"input": 1.50 }"#, r#"{"input": 1.50 ,"idempotency_key":"x-7"}"#, true),
            ("{}", r#"{"idempotency_key":"x-7"}"#, true),
            (r#"{"idempotency_key":"own"}"#, r#"{"idempotency_key":"own"}"#, true),
            (r#"{"idempotency_key":null}"#, r#"{"idempotency_key":null}"#, false),
        ] {
            let read = line(&format!(" {given}\r\n"), Some("x")).unwrap();
            assert_eq!((read.text.as_str(), read.keyed), (sent, keyed));
        }
        let plain = line(r#"{"input":1}"#, None).unwrap();
        assert_eq!((plain.text.as_str(), plain.keyed), (r#"{"input":1}"#, false));
    }

    #[test]
    fn a_line_that_is_no_object_is_refused_with_what_is_wrong() {
        for (text, kind, said) in [
            ("[1]", "invalid-body", "no JSON object"),
            ("hello", "invalid-json", "not JSON"),
            ("{\"input\": ", "invalid-json", "not JSON"),
        ] {
            let refused = line(text, None).unwrap_err();
            assert!(refused.kind == kind && refused.why.contains(said), "{text}: {refused:?}");
        }
        assert!(Line::read(1, b"{\"input\": \"\xff\"}", None).unwrap_err().why.contains("not UTF-8"));
    }

    #[test]
    fn empty_lines_are_counted_and_left_out() {
        let mut lines = Lines::of("\u{feff}{\"input\":1}\n\n  \r\n{\"input\":2}".as_bytes(), "a test");
        let read: Vec<(u64, Vec<u8>)> = std::iter::from_fn(|| lines.next().unwrap()).collect();
        assert_eq!(read.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(read[0].1, b"{\"input\":1}\n", "without a byte order mark");
    }
}
