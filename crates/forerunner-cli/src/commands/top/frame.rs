//! The layout: a frame for a terminal of at least 80 by 24.

use super::{charts, schedules, sections};
use forerunner_console::{fields, spark::cut, terminal::harmless};
use serde_json::Value;

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// The style of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As usual.
    Plain,
    /// Emphasised.
    Strong,
    /// De-emphasised.
    Faint,
    /// A failure.
    Bad,
}

/// A line of a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The text, no wider than the terminal.
    pub text: String,
    /// Its style.
    pub tone: Tone,
}

impl Line {
    /// A line as usual.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    /// A line with another tone.
    pub fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }
}

/// Rows that are shared by what can have more or fewer of them.
struct Shares {
    pools: usize,
    arrivals: usize,
    schedules: usize,
    decisions: usize,
    agents: usize,
}

/// Draws the result of a poll. `trouble` explains why it is not new.
pub fn frame(seen: &Value, size: Size, trouble: Option<&str>) -> Vec<Line> {
    let mut lines = sections::head(seen, size.width, trouble);
    let pools = fields::list(seen, "pools");
    let chosen = pools.iter().find(|pool| pool["name"] == seen["pool"]);
    let Some(pool) = chosen else {
        lines.extend(sections::no_pools());
        return fitted(lines, size);
    };
    let notices = sections::notices(pool, seen);
    let foot = sections::foot(pools.len());
    let schedules = fields::list(seen, "schedules");
    let shares = share_out(size.height, pools.len(), schedules.len(), lines.len() + notices.len());
    lines.extend(sections::pools(pools, &seen["pool"], shares.pools, size.width));
    lines.push(Line::plain(""));
    lines.extend(sections::title(pool));
    lines.extend(notices);
    lines.extend(charts::charts(pool, &seen["history"], size.width, shares.arrivals));
    lines.push(Line::plain(""));
    lines.extend(schedules::schedules(schedules, shares.schedules));
    lines.extend(sections::decisions(fields::list(seen, "decisions"), shares.decisions));
    lines.extend(sections::agents(fields::list(seen, "agents"), &seen["history"], shares.agents));
    let mut lines = fitted(lines, Size { height: size.height.saturating_sub(1), ..size });
    lines.push(foot);
    fitted(lines, size)
}

/// Divides the rows of a terminal. `used_rows` are those of the head and of notices.
fn share_out(height: usize, pools: usize, schedules: usize, used_rows: usize) -> Shares {
    let pool_rows = pools.min((height / 6).max(2));
    let arrivals = (height.saturating_sub(24) / 6 + 2).min(8);
    // Headings, titles, empty lines, the foot, and charts that have one row each.
    let fixed = used_rows + 1 + pool_rows + 1 + sections::TITLE_ROWS + arrivals + charts::CHART_ROWS + 1 + 2 + 1;
    let rest = height.saturating_sub(fixed).max(2);
    // At most a quarter of the rest, its heading included; nothing where decisions and agents need all rows.
    let schedule_rows = schedules.min((rest / 4).saturating_sub(1));
    let rest = rest - if schedule_rows > 0 { schedule_rows + 1 } else { 0 };
    Shares { pools: pool_rows, arrivals, schedules: schedule_rows, decisions: rest.div_ceil(2), agents: rest / 2 }
}

/// Cuts what does not fit, and removes control characters, whatever the source of a line.
fn fitted(lines: Vec<Line>, size: Size) -> Vec<Line> {
    let cut_line = |line: Line| Line { text: cut(&harmless(&line.text), size.width), ..line };
    lines.into_iter().take(size.height).map(cut_line).collect()
}
