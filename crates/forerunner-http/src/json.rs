//! JSON in and out: read once from the bytes of the body, written once into the bytes of the answer.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::{BufMut, Bytes, BytesMut},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{error::Category, value::RawValue};

use crate::{error::Problem, problems};

/// Most answers fit, so that the buffer grows at most once or twice for the others.
const TYPICAL_ANSWER_BYTES: usize = 1024;
/// Characters of a name, or of a value, that are compared and quoted: it may have as many as a body.
const MOST_QUOTED: usize = 100;
/// Above this size the client's part is cut out of a message. Messages with known names are shorter.
const LONG_MESSAGE_BYTES: usize = 1_000;
/// A name less similar to all known ones than this (Jaro–Winkler, 0 to 1) is not a typing error.
const LIKELY_SLIP: f64 = 0.8;

/// Answers with a value.
pub(crate) fn answer<T: Serialize>(status: StatusCode, value: &T) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, header::HeaderValue::from_static("application/json")))
        .body(bytes(value))
}

/// Answers 200 with a value.
pub(crate) fn ok<T: Serialize>(value: &T) -> HttpResponse {
    answer(StatusCode::OK, value)
}

/// Writes a value. Views have a JSON form by construction: their maps have string keys, their writers do not fail.
pub(crate) fn bytes<T: Serialize>(value: &T) -> Bytes {
    let mut buffer = BytesMut::with_capacity(TYPICAL_ANSWER_BYTES).writer();
    let written = serde_json::to_writer(&mut buffer, value);
    debug_assert!(written.is_ok(), "a view has no JSON form: {written:?}");
    buffer.into_inner().freeze()
}

/// Reads a value that may borrow from the body.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None | Some(b'{') => read(body, Position::default()),
        Some(_) => Err(no_object(body)),
    }
}

/// Reads a value in a part of a body: an object that begins at `place`.
pub(crate) fn parse_part<'a, T: Deserialize<'a>>(part: &'a RawValue, place: Position) -> Result<T, Problem> {
    if part.get().starts_with('{') {
        return read(part.get().as_bytes(), place);
    }
    let detail = "it is JSON but no object; write {\"field\": value}";
    Err(Problem::new(problems::INVALID_BODY, detail).with("line", place.lines + 1).with("column", place.columns + 1))
}

/// Reads a value, and on failure reads it again to find the invalid field.
fn read<'a, T: Deserialize<'a>>(text: &'a [u8], place: Position) -> Result<T, Problem> {
    serde_json::from_slice(text).map_err(|error| {
        let message = error.to_string();
        let is_long = message.len() > LONG_MESSAGE_BYTES;
        let field = if is_long { None } else { field_of::<T>(&error, text) };
        refuse(&error, shortened(message), place, field.as_deref())
    })
}

fn field_of<'a, T: Deserialize<'a>>(error: &serde_json::Error, text: &'a [u8]) -> Option<String> {
    let again = &mut serde_json::Deserializer::from_slice(text);
    let path = serde_path_to_error::deserialize::<_, T>(again).err()?.path().to_string();
    // A dot is the whole, a question mark a place that has no name.
    let is_named = path != "." && !path.contains('?') && path.len() <= LONG_MESSAGE_BYTES;
    Some(path).filter(|_| is_named && error.classify() == Category::Data)
}

/// serde would accept an array for a struct, field by field, which is never intended.
fn no_object(body: &[u8]) -> Problem {
    match serde_json::from_slice::<IgnoredAny>(body) {
        Ok(_) => Problem::new(problems::INVALID_BODY, "the body is JSON but no object; write {\"field\": value}"),
        Err(error) => refuse(&error, shortened(error.to_string()), Position::default(), None),
    }
}

/// Where something begins in a body: so many whole lines, and then bytes, are in front of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    lines: usize,
    columns: usize,
}

impl Position {
    /// The place behind `text`, if that begins here.
    pub(crate) fn behind(self, text: &[u8]) -> Self {
        match text.iter().rposition(|byte| *byte == b'\n') {
            None => Self { columns: self.columns + text.len(), ..self },
            Some(last) => {
                let lines = text[..=last].iter().filter(|byte| **byte == b'\n').count();
                Self { lines: self.lines + lines, columns: text.len() - last - 1 }
            }
        }
    }

    /// Line and column, both from 1, of what serde found in the part that begins here.
    fn of(self, error: &serde_json::Error) -> (usize, usize) {
        let ahead = if error.line() <= 1 { self.columns } else { 0 };
        (self.lines + error.line(), ahead + error.column())
    }
}

fn refuse(error: &serde_json::Error, message: String, place: Position, field: Option<&str>) -> Problem {
    let (line, column) = place.of(error);
    // serde's own place is that within the part.
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = match message.strip_suffix(&position) {
        Some(bare) => format!("{} at line {line} column {column}", in_plain_words(bare)),
        None => message,
    };
    let problem = match (error.classify(), unknown_field(&message)) {
        (Category::Data, Some(unknown)) => {
            let detail = format!("{message}{}", nearest_hint(&message));
            let problem = Problem::new(problems::UNKNOWN_FIELD, detail).with("field", unknown.field);
            unknown.nearest.into_iter().fold(problem, |problem, known| problem.with("nearest", known))
        }
        (Category::Data, None) => match field {
            // Our own messages begin with the name.
            Some(field) if message.starts_with(field) => {
                Problem::new(problems::INVALID_BODY, message).with("field", field)
            }
            Some(field) => Problem::new(problems::INVALID_BODY, format!("{field}: {message}")).with("field", field),
            None => Problem::new(problems::INVALID_BODY, message),
        },
        _ => Problem::new(problems::INVALID_JSON, message),
    };
    problem.with("line", line).with("column", column)
}

/// Cuts the client's text out of a message of serde, whose own words are before and after it.
pub(crate) fn shortened(message: String) -> String {
    if message.len() <= LONG_MESSAGE_BYTES {
        return message;
    }
    let begin: String = message.chars().take(MOST_QUOTED).collect();
    let end = message.rfind(", expected ").or_else(|| message.rfind(" at line ")).unwrap_or(message.len());
    let quote = message[..end].chars().next_back().filter(|last| matches!(last, '`' | '"')).map(String::from);
    let own: String = message[end..].chars().take(LONG_MESSAGE_BYTES).collect();
    format!("{begin}…{}{own}", quote.unwrap_or_default())
}

/// Replaces serde's name of a type at the end of a message by its name in JSON.
fn in_plain_words(message: &str) -> String {
    const WORDS: [(&str, &str); 8] = [
        ("u8", "a whole number from 0 to 255"),
        ("u32", "a whole number from 0 to 4294967295"),
        ("u64", "a whole number, 0 or more"),
        ("usize", "a whole number, 0 or more"),
        ("f64", "a number"),
        ("a boolean", "true or false"),
        ("a map", "an object"),
        ("a sequence", "an array"),
    ];
    let known = WORDS.iter().find_map(|(type_, words)| {
        let before = message.strip_suffix(type_)?.strip_suffix(", expected ")?;
        Some(format!("{before}, expected {words}"))
    });
    known.unwrap_or_else(|| message.to_owned())
}

struct UnknownField<'a> {
    field: &'a str,
    nearest: Option<&'a str>,
}

/// Suggests the most similar known name, if serde's message is about an unknown one.
pub(crate) fn nearest_hint(message: &str) -> String {
    let nearest = unknown_field(message).and_then(|unknown| unknown.nearest);
    nearest.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default()
}

/// Parses serde's message: "unknown field `a`, expected one of `b`, `c`".
fn unknown_field(message: &str) -> Option<UnknownField<'_>> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let field = quoted.next()?;
    let nearest = quoted
        .map(|known| (strsim::jaro_winkler(field, known), known))
        .filter(|(likeness, _)| *likeness >= LIKELY_SLIP)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known);
    Some(UnknownField { field, nearest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its names matter")]
    struct Body {
        priority: u8,
        context: String,
    }

    #[test]
    fn an_unknown_field_is_named_with_the_nearest_known_one() {
        for (text, nearest) in [(r#"{"prioritty": 1}"#, Some("priority")), (r#"{"colour": 1}"#, None)] {
            let message = serde_json::from_str::<Body>(text).unwrap_err().to_string();
            assert_eq!(unknown_field(&message).unwrap().nearest, nearest, "{message}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_told_with_its_field_in_words_of_json() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only its names matter")]
        struct Outer {
            inner: Vec<Body>,
            share: Option<f64>,
        }
        for (text, detail, field) in [
            (
                r#"{"inner": [{"priority": 300}]}"#,
                "inner[0].priority: invalid value: integer `300`, expected a whole number from 0 to 255 at line 1 column 27",
                Some("inner[0].priority"),
            ),
            (
                r#"{"share": true}"#,
                "share: invalid type: boolean `true`, expected a number at line 1 column 14",
                Some("share"),
            ),
            (
                r#"{"inner": 7}"#,
                "inner: invalid type: integer `7`, expected an array at line 1 column 11",
                Some("inner"),
            ),
            (r#"{"share": 1}"#, "missing field `inner` at line 1 column 12", None),
        ] {
            let problem = parse::<Outer>(text.as_bytes()).unwrap_err();
            let body = serde_json::to_value(problem.view()).unwrap();
            assert_eq!((&body["detail"], body["field"].as_str()), (&detail.into(), field), "{text}");
        }
    }

    #[test]
    fn syntax_and_shape_are_told_apart_with_line_and_column() {
        for (text, name) in [
            ("{\n  \"priority\": ", "invalid-json"),
            ("", "invalid-json"),
            (r#"{"priority": "high"}"#, "invalid-body"),
            (r#"{"priority": 1, "prio": 1}"#, "unknown-field"),
        ] {
            let problem = parse::<Body>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.kind().name, name, "{problem}");
            assert!(problem.to_string().contains("line"), "{problem}");
        }
    }

    #[test]
    fn a_fault_in_a_part_is_told_by_its_place_in_the_whole() {
        let body = "{\"tasks\": [\n  {},\n  {\"priority\": 1,\n   \"colour\": 2}, {\"prio\": 3}]}";
        for (part, line, column) in [("{\"priority\"", 4, 11), ("{\"prio\": 3}", 4, 24)] {
            let at = body.find(part).unwrap();
            let end = at + body[at..].find('}').unwrap() + 1;
            let raw = serde_json::from_str::<&RawValue>(&body[at..end]).unwrap();
            let problem = parse_part::<Body>(raw, Position::default().behind(&body.as_bytes()[..at])).unwrap_err();
            assert!(problem.to_string().contains(&format!("at line {line} column {column}")), "{problem}");
        }
    }

    #[test]
    fn a_long_name_is_cut_before_it_is_compared_and_quoted() {
        let long = "priority`".repeat(100_000);
        for text in [format!("{{\"{long}\": 1}}"), format!("{{\"priority\": \"{long}\"}}")] {
            let problem = parse::<Body>(text.as_bytes()).unwrap_err().to_string();
            assert!(problem.len() < 400 && problem.contains(", expected ") && problem.contains("column"), "{problem}");
        }
    }

    #[test]
    fn only_an_object_is_read_as_one() {
        for (text, name) in
            [("[1, \"a\"]", "invalid-body"), (" 7", "invalid-body"), ("[1,", "invalid-json"), ("no", "invalid-json")]
        {
            assert_eq!(parse::<Body>(text.as_bytes()).unwrap_err().kind().name, name, "{text}");
        }
    }
}
