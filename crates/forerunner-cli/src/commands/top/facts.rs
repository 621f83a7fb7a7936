//! The result of a poll, as the sections of a frame need it.

use forerunner_console::{
    fields::{self, NOTHING, number},
    output::seconds,
    spark::ChartPoint,
    terminal::harmless,
};
use forerunner_core::Timestamp;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

/// Writes a text of the service so that it cannot steer the terminal.
pub fn field(value: &Value, path: &str) -> String {
    harmless(&fields::text(value, path))
}

/// Returns the count at a path, 0 if there is none.
pub fn count(value: &Value, path: &str) -> u64 {
    number(value, path).unwrap_or(0.0) as u64
}

/// Writes a rate with the digits that matter.
pub fn rate(value: Option<f64>) -> String {
    match value {
        None => NOTHING.to_owned(),
        Some(rate) if rate >= 99.5 => format!("{rate:.0}"),
        Some(rate) if rate >= 9.95 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.2}"),
    }
}

/// Seconds in a narrow column.
pub fn brief(value: f64) -> String {
    match value {
        v if v < 0.0995 => format!("{:.0}ms", v * 1e3),
        v if v < 9.95 => format!("{v:.2}s"),
        v if v < 600.0 => format!("{v:.0}s"),
        v => format!("{:.0}m", v / 60.0),
    }
}

/// Writes the last eight digits of an id, which distinguish agents and tasks of a pool.
pub fn short(value: &Value, path: &str) -> String {
    let id = field(value, path);
    let skipped = id.chars().count().saturating_sub(8);
    id.chars().skip(skipped).collect()
}

/// Writes the time of day at a path, in UTC.
pub fn clock(value: &Value, path: &str) -> String {
    let time = harmless(&fields::time(value, path));
    time.split_once(' ').map_or_else(|| time.clone(), |(_, clock)| clock.to_owned())
}

/// Returns the time at a path.
pub fn time(value: &Value, path: &str) -> Option<Timestamp> {
    fields::at(value, path)?.as_str()?.parse().ok()
}

/// Writes how long before `now` the time at a path was.
pub fn ago(value: &Value, path: &str, now: Option<Timestamp>) -> String {
    match time(value, path).zip(now) {
        None => NOTHING.to_owned(),
        Some((then, now)) => match now.since(then).as_secs_f64() {
            s if s < 1.0 => "now".to_owned(),
            s if s < 100.0 => format!("{s:.0} s ago"),
            s => format!("{} ago", seconds(s)),
        },
    }
}

/// The share of tasks that began late in the last five minutes; `None` if none began.
pub fn late_share(pool: &Value) -> Option<f64> {
    let started = number(pool, "recent.started").filter(|started| *started > 0.0)?;
    Some(number(pool, "recent.late").unwrap_or(0.0) / started)
}

/// The last minutes of a pool: one moment for each slot that has passed.
pub struct PoolHistory<'a> {
    points: Vec<&'a Value>,
}

impl<'a> PoolHistory<'a> {
    /// Reads a history.
    pub fn of(history: &'a Value) -> Self {
        Self { points: fields::list(history, "points").iter().filter(|point| !point["busy"].is_null()).collect() }
    }

    /// How many slots there are.
    pub const fn len(&self) -> usize {
        self.points.len()
    }

    /// A row of values.
    pub fn row(&self, name: &str) -> Vec<ChartPoint> {
        self.points.iter().map(|point| ChartPoint::of(number(point, name))).collect()
    }

    /// Arrivals, and the band in which they were expected.
    pub fn arrivals(&self) -> Vec<ChartPoint> {
        let moment = |point: &&Value| ChartPoint {
            value: number(point, "rate_per_s"),
            band: number(point, "low_per_s").zip(number(point, "high_per_s")),
        };
        self.points.iter().map(moment).collect()
    }
}

/// Writes rows of the same length as columns with their natural widths, `gap` apart. Columns from `right_from` on are
/// aligned to the right. Unlike a table of answers it does not read the terminal's width.
pub fn columns(rows: &[Vec<String>], right_from: usize, gap: usize) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let cell = |(column, text): (usize, &String)| {
        let space = " ".repeat(widths[column] - text.width());
        if column < right_from { format!("{text}{space}") } else { format!("{space}{text}") }
    };
    let line = |row: &Vec<String>| row.iter().enumerate().map(cell).collect::<Vec<_>>().join(&" ".repeat(gap));
    rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
}

/// The greatest of what is drawn.
pub fn greatest(moments: &[ChartPoint]) -> f64 {
    let edges = moments.iter().flat_map(|moment| [moment.value, moment.band.map(|(_, high)| high)]);
    edges.flatten().fold(0.0, f64::max)
}
