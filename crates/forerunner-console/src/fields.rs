//! Reading JSON for tables: what is absent is shown as a dash.

use serde_json::Value;

use crate::{
    json,
    output::{self, count, seconds},
    terminal::harmless_lines,
};

/// Shown where there is no value.
pub const NOTHING: &str = "–";

/// Returns the value at a dotted path, unless it is absent or null.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// Writes the value at a path so that it cannot act on a terminal: texts bare, whole numbers grouped.
pub fn text(value: &Value, path: &str) -> String {
    match at(value, path) {
        None => NOTHING.to_owned(),
        Some(Value::String(text)) => harmless_lines(text).into_owned(),
        Some(Value::Number(number)) => number.as_u64().map_or_else(|| number.to_string(), count),
        Some(other) => json::compact(&other.to_string()),
    }
}

/// Returns the number at a path.
pub fn number(value: &Value, path: &str) -> Option<f64> {
    at(value, path)?.as_f64()
}

/// Writes the number at a path with `digits` decimals.
pub fn decimal(value: &Value, path: &str, digits: usize) -> String {
    number(value, path).map_or_else(|| NOTHING.to_owned(), |number| format!("{number:.digits$}"))
}

/// Writes the seconds at a path.
pub fn secs(value: &Value, path: &str) -> String {
    number(value, path).map_or_else(|| NOTHING.to_owned(), seconds)
}

/// Writes the share at a path.
pub fn percent(value: &Value, path: &str) -> String {
    number(value, path).map_or_else(|| NOTHING.to_owned(), output::percent)
}

/// Writes the share of late tasks at a path.
pub fn late(value: &Value, path: &str) -> String {
    number(value, path).map_or_else(|| NOTHING.to_owned(), output::late)
}

/// Writes the time at a path to the second, in UTC: `2026-01-31 12:00:00`.
pub fn time(value: &Value, path: &str) -> String {
    let text = text(value, path);
    match text.split_once('T') {
        Some((day, rest)) => format!("{day} {}", rest.get(..8).unwrap_or(rest)),
        None => text,
    }
}

/// Returns the list at a path, empty if there is none.
pub fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_for_people() {
        let value = json!({
            "id": "a", "n": 12345, "share": 0.991, "wait": { "p99": 0.25 }, "none": null,
            "at": "2026-01-31T12:00:00.123456Z", "tags": ["x"],
        });
        let shown = [
            text(&value, "id"),
            text(&value, "n"),
            percent(&value, "share"),
            secs(&value, "wait.p99"),
            text(&value, "none"),
            text(&value, "wait.p50"),
            time(&value, "at"),
        ];
        assert_eq!(shown.join(" | "), "a | 12,345 | 99.10 % | 250 ms | – | – | 2026-01-31 12:00:00");
        assert_eq!(list(&value, "tags").len() + list(&value, "none").len(), 1);
    }
}
