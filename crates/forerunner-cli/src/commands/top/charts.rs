//! The charts of a frame: how a pool did over the last minutes.

use forerunner_console::{
    fields::{NOTHING, number},
    output::{late, percent},
    spark::{ChartPoint, bars},
};
use serde_json::Value;

use super::{
    facts::{PoolHistory, brief, field, greatest, late_share, rate},
    frame::Line,
};

/// Rows of [`charts`] without those of the arrivals.
pub const CHART_ROWS: usize = 5;
/// Width of the names of charts.
const NAME: usize = 10;

/// The last minutes of a pool.
pub fn charts(pool: &Value, history: &Value, width: usize, rows: usize) -> Vec<Line> {
    let past = PoolHistory::of(history);
    let room = width.saturating_sub(NAME + 2 + 40).clamp(12, 180);
    let agents = |name| past.row(name);
    let most = ["desired", "busy", "ready"].map(|name| greatest(&agents(name))).into_iter().fold(1.0, f64::max);
    let chart = |name: &str, moments: &[ChartPoint], most: f64, caption: String| {
        Line::plain(format!("{name:<NAME$}{}  {caption}", bars(moments, most, room, 1)[0]))
    };
    let mut lines = arrivals(pool, &past, room, rows);
    let waiting = past.row("greatest_depth");
    let waits = past.row("wait_s.p99");
    let span = past.len() as f64 * number(history, "slot_s").unwrap_or(0.0);
    lines.extend([
        chart("wanted", &agents("desired"), most, format!("{} wanted; {}", field(pool, "desired"), covered(span))),
        chart(
            "busy",
            &agents("busy"),
            most,
            format!("{} busy, {} tasks run", field(pool, "agents.busy"), field(pool, "running")),
        ),
        chart(
            "ready",
            &agents("ready"),
            most,
            ["ready", "starting", "cooldown"]
                .map(|name| {
                    format!("{} {}", field(pool, &format!("agents.{name}")), name.replace("cooldown", "stopping"))
                })
                .join(", "),
        ),
        chart(
            "waiting",
            &waiting,
            greatest(&waiting).max(1.0),
            format!("{} now, {} at most", field(pool, "depth"), greatest(&waiting)),
        ),
        chart("wait p99", &waits, greatest(&waits), wait_text(pool)),
    ]);
    lines
}

fn arrivals(pool: &Value, past: &PoolHistory<'_>, room: usize, rows: usize) -> Vec<Line> {
    let moments = past.arrivals();
    let most = greatest(&moments);
    let forecast = |name: &str| number(pool, &format!("decision.forecast.{name}"));
    let expected = match forecast("rate_per_s") {
        None if pool["decision"].is_null() => "nothing expected yet".to_owned(),
        None => "the rule does not forecast".to_owned(),
        expected => {
            let (low, high) = (rate(forecast("rate_low")), rate(forecast("rate_high")));
            format!("{}/s expected ({low}–{high}, ░)", rate(expected))
        }
    };
    let now = format!("{}/s now, chart up to {}/s", rate(number(pool, "recent.rate_per_s")), rate(Some(most)));
    let caption = [now, format!("{expected}{}", announced(pool))];
    let drawn = bars(&moments, most, room, rows);
    let line = |(row, drawn): (usize, &String)| {
        let name = if row == 0 { "arrivals" } else { "" };
        let caption = caption.get(row).map_or("", String::as_str);
        Line::plain(format!("{name:<NAME$}{drawn}  {caption}").trim_end())
    };
    drawn.iter().enumerate().map(line).collect()
}

/// The next announced tasks, which are not part of the forecast.
fn announced(pool: &Value) -> String {
    let known = |name: &str| number(pool, &format!("decision.forecast.announced.{name}"));
    match (known("next_tasks"), known("next_in_s")) {
        (Some(tasks), Some(seconds)) => format!("; {tasks:.0} scheduled in {seconds:.0} s"),
        _ => String::new(),
    }
}

fn wait_text(pool: &Value) -> String {
    let Some(share) = late_share(pool) else {
        let span_s = number(pool, "recent.span_s").unwrap_or(0.0);
        return format!("no task began here; {}", covered(span_s));
    };
    let allowed = number(pool, "objective.share").map_or(0.0, |share| 1.0 - share);
    let wait = |name: &str| number(pool, &format!("recent.wait_s.{name}")).map_or_else(|| NOTHING.to_owned(), brief);
    let behind = number(pool, "recent.wait_context_s.p99").filter(|seconds| *seconds > 0.0);
    let behind = behind.map_or_else(String::new, |seconds| format!("; {} behind their conversation", brief(seconds)));
    format!("{}; {} late, {} allowed{behind}", wait("p99"), late(share), percent(allowed))
}

/// How much time the charts are about.
fn covered(span_s: f64) -> String {
    match span_s {
        s if s <= 0.0 => "nothing seen yet".to_owned(),
        s if s < 120.0 => format!("the last {s:.0} s"),
        s => format!("the last {:.0} min", s / 60.0),
    }
}
