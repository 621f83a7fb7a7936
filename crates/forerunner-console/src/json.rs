//! JSON in its original text: numbers keep all digits, and no character of it acts on a terminal.
//!
//! `serde_json::Value` has numbers of 64 bits, so a payload that passes through it may change. Payloads stay text here.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::terminal::{is_hidden, is_joiner};

/// Members of answers that contain JSON of clients and agents.
const PAYLOADS: [&str; 2] = ["input", "output"];
/// Levels that are indented: deeper ones would make most of the text blanks.
const INDENTED_LEVELS: usize = 100;

/// An answer of the service: its text as it was written, and its values for tables.
#[derive(Debug)]
pub struct Answer {
    text: Box<RawValue>,
    values: Value,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn read(bytes: &[u8]) -> serde_json::Result<Self> {
        Self::of(serde_json::from_slice(bytes)?)
    }

    fn of(text: Box<RawValue>) -> serde_json::Result<Self> {
        let Values(values) = serde_json::from_str(text.get())?;
        Ok(Self { text, values })
    }

    /// Returns the elements of a member that is a list, in order.
    pub fn list(&self, name: &str) -> Vec<Self> {
        let element = |text: Box<RawValue>| Self::of(text).ok();
        self.members().remove(name).map_or_else(Vec::new, |list| {
            let list: Vec<Box<RawValue>> = serde_json::from_str(list.get()).unwrap_or_default();
            list.into_iter().filter_map(element).collect()
        })
    }

    /// Returns the members of an object as they were written.
    pub fn members(&self) -> std::collections::BTreeMap<String, &RawValue> {
        serde_json::from_str(self.text.get()).unwrap_or_default()
    }

    /// Returns the value.
    pub fn into_values(self) -> Value {
        self.values
    }
}

impl std::ops::Deref for Answer {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.values
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

/// Values for tables. A payload that is a text is that text; another one is its JSON as it was written.
#[derive(Debug)]
struct Values(Value);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Values(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = match PAYLOADS.contains(&name.as_str()) {
                true => payload(&members.next_value::<Box<RawValue>>()?),
                false => members.next_value::<Values>()?.0,
            };
            values.insert(name, value);
        }
        Ok(values.into())
    }
}

fn payload(json: &RawValue) -> Value {
    match json.get() {
        "null" => Value::Null,
        json => Value::String(serde_json::from_str(json).unwrap_or_else(|_| compact(json))),
    }
}

/// Writes JSON with a member or an element a line. The text has to be JSON.
pub fn pretty(json: &str) -> String {
    Writer { text: String::with_capacity(json.len() * 2), depth: 0, indents: true }.write(json)
}

/// Writes JSON on one line. The text has to be JSON.
pub fn compact(json: &str) -> String {
    Writer { text: String::with_capacity(json.len()), depth: 0, indents: false }.write(json)
}

/// Copies JSON token by token; only the space between tokens changes.
struct Writer {
    text: String,
    depth: usize,
    indents: bool,
}

impl Writer {
    fn write(mut self, json: &str) -> String {
        let mut chars = json.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                ' ' | '\n' | '\r' | '\t' => {}
                '"' => self.string(&mut chars),
                '{' | '[' => {
                    self.text.push(c);
                    while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                    match chars.next_if(|c| matches!(c, '}' | ']')) {
                        Some(close) => self.text.push(close),
                        None => self.step(self.depth + 1),
                    }
                }
                '}' | ']' => {
                    self.step(self.depth.saturating_sub(1));
                    self.text.push(c);
                }
                ',' => {
                    self.text.push(c);
                    self.step(self.depth);
                }
                ':' => self.text.push_str(if self.indents { ": " } else { ":" }),
                other => self.text.push(other),
            }
        }
        self.text
    }

    /// Copies the rest of a string. Characters that are hidden on a terminal are escaped, which leaves the value
    /// unchanged.
    fn string(&mut self, chars: &mut impl Iterator<Item = char>) {
        self.text.push('"');
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => {
                    self.text.push(c);
                    self.text.extend(chars.next());
                }
                hidden if is_hidden(hidden) || is_joiner(hidden) => self.escape(hidden),
                shown => self.text.push(shown),
            }
        }
        self.text.push('"');
    }

    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            self.text.push_str(&format!("\\u{unit:04x}"));
        }
    }

    fn step(&mut self, depth: usize) {
        self.depth = depth;
        if self.indents {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n("  ", depth.min(INDENTED_LEVELS)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Numbers that 64 bits cannot represent, or that would be written differently.
    const NUMBERS: &str =
        "[18446744073709551616,1000000000000000000001,0.12345678901234567890123,1e400,-0,1E5,1.0,0e1]";

    #[test]
    fn numbers_keep_their_digits_in_every_form() {
        let text = format!("{{\"id\":\"a\",\"output\":{NUMBERS}}}");
        let answer = Answer::read(text.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
        assert_eq!(answer["output"], NUMBERS, "for tables");
        assert_eq!(compact(&pretty(&text)), text);
        assert!(pretty(&text).contains("\n    1e400,\n    -0,\n    1E5,\n"), "{}", pretty(&text));
    }

    #[test]
    fn json_is_laid_out_as_serde_json_does() {
        let value = json!({"a": [], "b": {}, "c": [1, {"d": "x, y: {z} \" \\"}, [[]]], "e": "é\n\u{1b}", "f": null});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            assert_eq!(pretty(&text), serde_json::to_string_pretty(&value).unwrap());
            assert_eq!(compact(&text), value.to_string());
        }
        for bare in ["1", "\"a b\"", "null", "[ ]", "{ }"] {
            assert_eq!(pretty(bare), bare.replace("[ ]", "[]").replace("{ }", "{}"));
        }
    }

    #[test]
    fn what_a_terminal_acts_on_is_escaped_and_means_the_same() {
        let value = json!("\u{1b}[2J\u{9b}\u{202e}\u{200b}\u{7f}\u{e0041}é");
        let shown = pretty(&value.to_string());
        assert_eq!(shown, r#""\u001b[2J\u009b\u202e\u200b\u007f\udb40\udc41é""#);
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn payloads_are_text_in_tables_and_the_rest_are_values() {
        let answer =
            Answer::read(br#"{"n":1.5,"output":"a \"b\"","input":{"x" : [1, 2]},"list":[{"output":null}]}"#).unwrap();
        assert_eq!(
            *answer,
            json!({"n": 1.5, "output": "a \"b\"", "input": "{\"x\":[1,2]}", "list": [{"output": null}]})
        );
        let half = Answer::read(br#"{"output":"\ud83d"}"#).unwrap();
        assert_eq!(half["output"], r#""\ud83d""#, "no text, but an answer all the same");
        assert_eq!(answer.list("list").len() + answer.list("none").len(), 1);
    }

    #[test]
    fn depth_costs_no_stack_and_no_page_of_blanks() {
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        assert!(pretty(&deep).len() < 25_000_000);
        assert_eq!(compact(&deep), deep);
    }
}
