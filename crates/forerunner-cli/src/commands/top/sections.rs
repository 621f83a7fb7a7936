//! The sections of a frame, from top to bottom.

use forerunner_console::{
    fields::{self, NOTHING, number},
    terminal::harmless,
};
use serde_json::Value;

use super::{
    facts::{ago, brief, clock, columns, count, field, late_share, rate, short, time},
    frame::{Line, Tone},
};
use crate::render::reason;

/// Rows of [`title`].
pub const TITLE_ROWS: usize = 1;

/// The node, and its state.
pub fn head(seen: &Value, width: usize, trouble: Option<&str>) -> Vec<Line> {
    let nodes = fields::list(seen, "nodes");
    let this = nodes.iter().find(|node| node["this"] == true);
    let role = match (nodes.len(), this) {
        (0 | 1, _) => String::new(),
        (count, Some(node)) if node["leads"] == true => format!("  {count} nodes, this one leads"),
        (count, _) => format!("  {count} nodes, this one follows"),
    };
    let version = this.map(|node| format!("  version {}", field(node, "version"))).unwrap_or_default();
    let left = format!("forerunner  {}{version}{role}", field(seen, "server"));
    let right = format!("{} UTC", clock(seen, "history.at"));
    let right = if seen["history"].is_null() { String::new() } else { right };
    let space = width.saturating_sub(left.chars().count() + right.chars().count()).max(2);
    let first = format!("{left}{}{right}", " ".repeat(space));
    let mut lines = vec![Line::toned(Tone::Strong, first.trim_end())];
    if let Some(trouble) = trouble {
        let at = clock(seen, "history.at");
        lines.push(Line::toned(Tone::Bad, format!("! figures are of {at}, trying again: {}", harmless(trouble))));
    } else if seen["ready"]["status"] == "not-ready" {
        lines.push(Line::toned(Tone::Bad, format!("! {}", field(seen, "ready.detail"))));
    }
    lines
}

/// What to show for a node without pools.
pub fn no_pools() -> Vec<Line> {
    vec![
        Line::plain(""),
        Line::plain("No pools. Add [pools.NAME] to the configuration of the service, and restart it."),
        Line::toned(Tone::Faint, "q quits"),
    ]
}

/// Columns of the pools, behind their names. A terminal of 80 columns has no room for all of them.
const POOL_COLUMNS: [&str; 11] =
    ["STATE", "WANT", "READY", "BUSY", "START", "DEPTH", "ARR/S", "LATE", "P50", "P95", "P99"];
const WIDE_ONLY: [&str; 2] = ["START", "P50"];
const WIDE: usize = 96;

/// All pools, at most `rows` of them: the chosen one is always visible.
pub fn pools(pools: &[Value], chosen: &Value, rows: usize, width: usize) -> Vec<Line> {
    let at = pools.iter().position(|pool| pool["name"] == *chosen).unwrap_or(0);
    let first = (at + 1).saturating_sub(rows).min(pools.len().saturating_sub(rows));
    let shown = &pools[first..(first + rows).min(pools.len())];
    let heading = match shown.len() < pools.len() {
        true => format!("  POOLS: {} OF {}", shown.len(), pools.len()),
        false => "  POOL".to_owned(),
    };
    let names: Vec<&str> = POOL_COLUMNS.into_iter().filter(|name| width >= WIDE || !WIDE_ONLY.contains(name)).collect();
    let header = std::iter::once(heading).chain(names.iter().map(|name| (*name).to_owned())).collect();
    let row = |pool: &Value| {
        let mark = if pool["name"] == *chosen { '▸' } else { ' ' };
        let name: String = field(pool, "name").chars().take(if width < WIDE { 16 } else { 32 }).collect();
        std::iter::once(format!("{mark} {name}")).chain(names.iter().map(|name| pool_cell(pool, name))).collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(shown.iter().map(row)).collect();
    let gap = if width < WIDE { 1 } else { 2 };
    let mut lines: Vec<Line> = columns(&rows, 2, gap).into_iter().map(Line::plain).collect();
    lines[0].tone = Tone::Faint;
    lines
}

fn pool_cell(pool: &Value, column: &str) -> String {
    let wait = |name: &str| number(pool, &format!("recent.wait_s.{name}")).map_or_else(|| NOTHING.to_owned(), brief);
    match column {
        "STATE" => match (field(pool, "state").as_str(), pool["mode"] == "advise") {
            ("circuit_open", _) => "circuit".to_owned(),
            ("dependency_open", _) => "outage".to_owned(),
            ("running", true) => "advises".to_owned(),
            (state, _) => state.to_owned(),
        },
        "WANT" => field(pool, "desired"),
        "READY" => field(pool, "agents.ready"),
        "BUSY" => field(pool, "agents.busy"),
        "START" => field(pool, "agents.starting"),
        "DEPTH" => field(pool, "depth"),
        "ARR/S" => rate(number(pool, "recent.rate_per_s")),
        "LATE" => late_share(pool).map_or_else(|| NOTHING.to_owned(), |share| format!("{:.1}%", 100.0 * share)),
        "P50" => wait("p50"),
        "P95" => wait("p95"),
        _ => wait("p99"),
    }
}

/// What the pool is.
pub fn title(pool: &Value) -> Vec<Line> {
    let text = format!(
        "{}: {}, {}–{}; rule {}; cold start {}; {} in {}",
        field(pool, "name"),
        field(pool, "kind"),
        field(pool, "min"),
        field(pool, "max"),
        field(pool, "policy"),
        fields::secs(pool, "cold_start_s.p90"),
        fields::percent(pool, "objective.share"),
        fields::secs(pool, "objective.within_s"),
    );
    vec![Line::toned(Tone::Strong, text)]
}

/// The most important fact about this pool.
pub fn notices(pool: &Value, seen: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    match field(pool, "state").as_str() {
        "circuit_open" => {
            let text = format!("! circuit open until {}: {}", clock(pool, "until"), field(pool, "reason"));
            lines.push(Line::toned(Tone::Bad, text));
        }
        "dependency_open" => {
            let text =
                format!("! dependency circuit open, next probe at {}: {}", clock(pool, "until"), field(pool, "reason"));
            lines.push(Line::toned(Tone::Bad, text));
        }
        "paused" => {
            let text = format!("! paused: tasks wait; forerunner pool resume {}", field(pool, "name"));
            lines.push(Line::toned(Tone::Bad, text));
        }
        _ => {}
    }
    if let Some(limit) = number(pool, "dependency.limit") {
        let error = field(pool, "dependency.error");
        let text = format!("! dependency circuit half-open: at most {limit} tasks at once: {error}");
        lines.push(Line::toned(Tone::Bad, text));
    }
    if pool["mode"] == "advise" {
        let (advised, now) = (field(pool, "decision.desired"), field(pool, "desired"));
        lines.push(Line::plain(format!("! advise mode: the policy wants {advised} agents, the pool has {now}")));
    }
    if count(pool, "finished") == 0 && count(pool, "running") == 0 && count(pool, "waiting") == 0 {
        let submit = format!("no task yet; forerunner submit {} --input '\"hello\"'", field(pool, "name"));
        lines.push(Line::toned(Tone::Faint, submit));
    } else if seen["decisions"][0]["reason"] == "learning" {
        lines.push(Line::toned(Tone::Faint, "the forecast is still learning: too little has been seen to shrink by"));
    }
    lines
}

/// The newest decisions, in words.
pub fn decisions(decisions: &[Value], rows: usize) -> Vec<Line> {
    let line = |decision: &Value| {
        let [before, desired] = ["before", "desired"].map(|name| field(decision, name));
        let size = if before == desired { format!("{desired} kept") } else { format!("{before} → {desired}") };
        let not_done = if decision["mode"] == "advise" { "advice: " } else { "" };
        let why = reason::in_words(&field(decision, "reason"));
        Line::plain(format!("  {}  {size:<9} {not_done}{why}: {}", clock(decision, "at"), field(decision, "detail")))
    };
    let mut lines = vec![Line::toned(Tone::Faint, "DECISIONS, newest first")];
    // Advice that is not applied is repeated with each poll: the newest represents all of them.
    let mut shown: Vec<&Value> = decisions.iter().collect();
    shown.dedup_by(|later, newest| ["before", "desired", "reason"].iter().all(|name| later[*name] == newest[*name]));
    lines.extend(shown.into_iter().take(rows).map(line));
    if decisions.is_empty() {
        lines.push(Line::plain("  nothing decided yet"));
    }
    lines
}

/// The agents, those that work first.
pub fn agents(agents: &[Value], history: &Value, rows: usize) -> Vec<Line> {
    let now = time(history, "at");
    let rank =
        |agent: &&Value| ["busy", "ready", "starting"].iter().position(|state| agent["state"] == *state).unwrap_or(3);
    let mut sorted: Vec<&Value> = agents.iter().collect();
    sorted.sort_by_key(rank);
    let row = |agent: &&Value| {
        vec![
            format!("  {}", short(agent, "id")),
            field(agent, "state").replace("cooldown", "stopping"),
            if agent["task"].is_null() { String::new() } else { format!("task {}", short(agent, "task")) },
            resident_contexts(agent).map_or_else(String::new, |contexts| format!("has {contexts}")),
            format!("used {}", ago(agent, "last_used", now)),
            format!("{} tasks", field(agent, "tasks")),
        ]
    };
    let more = if agents.len() > rows { format!(": {rows} of {}", agents.len()) } else { String::new() };
    let mut lines = vec![Line::toned(Tone::Faint, format!("AGENTS{more}"))];
    if agents.is_empty() {
        lines.push(Line::plain("  none just now"));
        return lines;
    }
    let rows: Vec<_> = sorted.iter().take(rows).map(row).collect();
    lines.extend(columns(&rows, 4, 2).into_iter().map(Line::plain));
    lines
}

fn resident_contexts(agent: &Value) -> Option<String> {
    if agent["context"].is_null() {
        return None;
    }
    let context: String = field(agent, "context").chars().take(24).collect();
    let size = match count(agent, "context_bytes") {
        bytes if bytes < 1_000 => format!("{bytes} B"),
        bytes if bytes < 1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        bytes => format!("{:.1} MB", bytes as f64 / 1e6),
    };
    match count(agent, "contexts_resident").saturating_sub(1) {
        0 => Some(format!("{context} {size}")),
        more => Some(format!("{context} {size} +{more}")),
    }
}

/// Which keys there are.
pub fn foot(pools: usize) -> Line {
    let choose = if pools > 1 { "  ↑ ↓ another pool" } else { "" };
    Line::toned(Tone::Faint, format!("q quits{choose}   late and waits: the last 5 minutes"))
}
