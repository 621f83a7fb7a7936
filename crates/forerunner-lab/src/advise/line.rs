//! A line of observations as others write it.

use forerunner_forecast::{Arrival, Observation};
use serde::{Deserialize, Deserializer, de};

/// An observation. Like [`Observation`], but required members are required, and optional ones may be null.
#[derive(Deserialize)]
pub struct Line {
    t: f64,
    arrivals: Count,
    completions: Count,
    mean_service_s: Option<f64>,
    queue_depth: Count,
    in_flight: Count,
    ready: Count,
    starting: Count,
    mean_context_tokens: Option<f64>,
    draining: Option<Count>,
    peak_concurrency: Option<Count>,
    started: Option<Count>,
    late: Option<Count>,
    cold_start_s: Option<f64>,
    arrived: Option<Vec<Arrival>>,
    completed: Option<Vec<(u64, f64)>>,
    announced: Option<Vec<(f64, Count)>>,
    max_starting: Option<Count>,
}

/// A count; languages without whole numbers may write `3.0`.
#[derive(Debug, Clone, Copy, Default)]
struct Count(u64);

impl Count {
    /// As a number of tasks or agents at one time.
    fn size(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refuse = |found: &dyn std::fmt::Display| {
            de::Error::custom(format_args!("a count is {found}; write a whole number of at least 0"))
        };
        let number = serde_json::Number::deserialize(deserializer)?;
        if let Some(count) = number.as_u64() {
            return Ok(Self(count));
        }
        let whole = number.as_f64().filter(|x| x.fract() == 0.0 && (0.0..=9e15).contains(x));
        whole.map(|count| Self(count as u64)).ok_or_else(|| refuse(&number))
    }
}

impl Line {
    /// Seconds since some fixed start.
    pub const fn t(&self) -> f64 {
        self.t
    }
}

impl From<Line> for Observation {
    fn from(line: Line) -> Self {
        let optional = |count: Option<Count>| count.unwrap_or_default();
        Self {
            t: line.t,
            arrivals: line.arrivals.0,
            completions: line.completions.0,
            mean_service_s: line.mean_service_s,
            queue_depth: line.queue_depth.size(),
            in_flight: line.in_flight.size(),
            ready: line.ready.size(),
            starting: line.starting.size(),
            mean_context_tokens: line.mean_context_tokens,
            draining: optional(line.draining).size(),
            peak_concurrency: optional(line.peak_concurrency).size(),
            started: optional(line.started).0,
            late: optional(line.late).0,
            cold_start_s: line.cold_start_s,
            arrived: line.arrived.unwrap_or_default(),
            completed: line.completed.unwrap_or_default(),
            max_starting: line.max_starting.map(Count::size),
            announced: line.announced.unwrap_or_default().into_iter().map(|(due_s, tasks)| (due_s, tasks.0)).collect(),
            ..Self::default()
        }
    }
}

/// Explains what is wrong with a line, for the author of the program that wrote it.
pub fn explain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    // A line is one line: the place in it is the column.
    let (reason, place) = message.split_once(" at line ").unwrap_or((&message, ""));
    let column = place.split_once("column ").map(|(_, column)| format!(", at column {column}")).unwrap_or_default();
    match reason.strip_prefix("missing field ") {
        Some(field) => format!("{field} is missing; see `forerunner advise --help` for what a line needs"),
        None if error.is_data() => {
            format!("{reason}{column}; write one JSON object a line, as `forerunner advise --help` shows")
        }
        None => format!("not JSON: {reason}{column}; write one JSON object a line"),
    }
}
