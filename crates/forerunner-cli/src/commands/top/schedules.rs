//! The schedules of all pools, the one that comes next first.

use forerunner_console::{
    fields::{self, NOTHING},
    terminal::harmless,
};
use serde_json::Value;

use super::{
    facts::{columns, field},
    frame::{Line, Tone},
};
use crate::commands::schedule;

/// Draws at most `rows` schedules; nothing if there are none.
pub fn schedules(schedules: &[Value], rows: usize) -> Vec<Line> {
    if schedules.is_empty() || rows == 0 {
        return Vec::new();
    }
    let mut sorted: Vec<&Value> = schedules.iter().collect();
    sorted.sort_by_key(|schedule| first_run(schedule));
    let more = if schedules.len() > rows { format!(": {rows} of {}", schedules.len()) } else { String::new() };
    let mut lines = vec![Line::toned(Tone::Faint, format!("SCHEDULES, next first{more}"))];
    let shown: Vec<Vec<String>> = sorted.iter().take(rows).map(|schedule| row(schedule)).collect();
    let tones = sorted.iter().map(|schedule| if schedule["problem"].is_string() { Tone::Bad } else { Tone::Plain });
    lines.extend(columns(&shown, 5, 2).into_iter().zip(tones).map(|(text, tone)| Line::toned(tone, text)));
    lines
}

/// Times in RFC 3339 of the same length sort as text. Schedules that are paused or over come last.
fn first_run(schedule: &Value) -> (bool, String) {
    match fields::list(schedule, "next_runs").first().and_then(Value::as_str) {
        Some(at) => (false, at.to_owned()),
        None => (true, field(schedule, "name")),
    }
}

fn row(schedule: &Value) -> Vec<String> {
    let last = match fields::at(schedule, "last_run").filter(|last| !last.is_null()) {
        Some(last) => format!("last {}", harmless(&fields::time(last, "occurrence"))),
        None => format!("last {NOTHING}"),
    };
    let counts = match fields::number(schedule, "skipped").unwrap_or(0.0) {
        0.0 => format!("{} submitted", field(schedule, "fired")),
        skipped => format!("{} submitted, {skipped} skipped", field(schedule, "fired")),
    };
    vec![
        format!("  {}", field(schedule, "name")),
        field(schedule, "pool"),
        harmless(&schedule::times(schedule)),
        harmless(&schedule::next(schedule)),
        last,
        schedule["problem"].as_str().map_or(counts, harmless),
    ]
}
