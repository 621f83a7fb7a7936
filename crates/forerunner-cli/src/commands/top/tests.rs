//! Frames of fixed answers.

use insta::assert_snapshot;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::frame::{Line, Size, frame};

const EIGHTY: Size = Size { width: 80, height: 24 };

/// The text of a frame; it fits its terminal.
fn shown(seen: &Value, size: Size, trouble: Option<&str>) -> String {
    let lines = frame(seen, size, trouble);
    assert!(lines.len() <= size.height, "{} rows of {}", lines.len(), size.height);
    assert!(lines.iter().all(|line| line.text.width() <= size.width));
    lines.into_iter().map(|Line { text, .. }| text).collect::<Vec<_>>().join("\n")
}

fn pool(name: &str) -> Value {
    json!({
        "name": name, "kind": "process", "state": "running", "min": 2, "max": 40, "desired": 9, "policy": "predictive",
        "mode": "act", "objective": {"share": 0.99, "within_s": 1.0},
        "agents": {"starting": 1, "ready": 2, "busy": 6, "cooldown": 0},
        "depth": 0, "waiting": 0, "running": 6, "queue_limit": 1000, "cold_start_s": {"p50": 2.1, "p90": 2.4},
        "finished": 1234,
        "recent": {
            "rate_per_s": 4.2, "span_s": 300.0, "started": 1100, "late": 3,
            "wait_s": {"p50": 0.0012, "p95": 0.02, "p99": 0.31, "max": 1.4},
        },
        "decision": {"seq": 88, "desired": 9, "forecast": {"rate_per_s": 3.9, "rate_low": 3.1, "rate_high": 4.8}},
    })
}

/// A quiet beginning, a rise in the middle, and a little of the future.
fn history() -> Value {
    let point = |slot: u32| {
        let rate = 1.0 + 3.0 * f64::from(slot.saturating_sub(40).min(60)) / 60.0;
        let busy = (rate * 1.5).round();
        json!({
            "rate_per_s": rate + f64::from(slot % 3) / 4.0, "low_per_s": rate * 0.7, "high_per_s": rate * 1.4,
            "desired": busy + 3.0, "busy": busy, "ready": 2, "starting": u32::from(slot == 60), "cooldown": 0,
            "greatest_depth": if (60..64).contains(&slot) { 5 } else { 0 },
            "wait_s": if slot.is_multiple_of(7) { Value::Null } else { json!({"p99": if slot == 61 { 1.4 } else { 0.2 }}) },
        })
    };
    let mut points: Vec<Value> = (0..120).map(point).collect();
    points.push(json!({"busy": null, "rate_per_s": null, "low_per_s": 3.0, "high_per_s": 5.0}));
    json!({"at": "2026-01-31T12:00:03.5Z", "slot_s": 5.0, "points": points})
}

fn decision(seq: u64, before: u32, desired: u32, reason: &str) -> Value {
    json!({
        "seq": seq, "at": format!("2026-01-31T11:59:{:02}Z", seq % 60), "before": before, "desired": desired, "reason": reason,
        "mode": "act", "detail": "3.9 tasks/s expected in 3.4 s (band 3.1-4.8) x 1.5 s each: 9 needed",
    })
}

fn agent(number: u32, state: &str, context: Option<&str>) -> Value {
    json!({
        "id": format!("01a20a46-05e7-7001-ba22-d42c{number:08}"), "state": state,
        "task": (state == "busy").then(|| format!("01a20a46-0f24-7000-9c16-4fd6{number:08}")),
        "context": context, "context_bytes": 17_400, "contexts_resident": context.map_or(0, |_| number), "tasks": 10 * number,
        "last_used": "2026-01-31T12:00:00.1Z",
    })
}

fn seen() -> Value {
    json!({
        "server": "http://127.0.0.1:7077", "ready": {"status": "ready", "store": "sqlite"},
        "nodes": [{"id": "n1", "version": "0.1.0", "leads": true, "this": true}],
        "pools": [pool("coder"), pool("reviewer")], "pool": "coder", "history": history(),
        "decisions": [decision(41, 9, 9, "steady"), decision(40, 7, 9, "forecast_up"), decision(39, 6, 7, "surge")],
        "agents": [
            agent(1, "ready", Some("repo-42")), agent(2, "busy", Some("repo-7")), agent(3, "cooldown", None),
            agent(4, "starting", None), agent(5, "busy", None),
        ],
    })
}

#[test]
fn a_frame_fits_the_smallest_terminal() {
    assert_snapshot!(shown(&seen(), EIGHTY, None));
}

#[test]
fn a_large_terminal_has_higher_charts_and_longer_lists() {
    assert_snapshot!(shown(&seen(), Size { width: 132, height: 43 }, None));
}

#[test]
fn schedules_are_shown_where_there_is_room() {
    let mut seen = seen();
    let schedule = |name: &str, next: Value, problem: Value| {
        json!({
            "name": name, "pool": "coder", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "enabled": true,
            "next_runs": next, "last_run": {"occurrence": "2026-01-31T01:30:00Z", "task": "t"}, "fired": 7, "skipped": 0,
            "problem": problem,
        })
    };
    let full = json!("pool `coder` is full: \u{1b}[31m5 tasks waiting");
    seen["schedules"] = json!([
        schedule("a-is-over", json!([]), Value::Null),
        schedule("nightly", json!(["2026-02-01T01:30:00.000000Z"]), Value::Null),
        schedule("sooner", json!(["2026-02-01T01:00:00.000000Z"]), full),
    ]);
    let text = shown(&seen, Size { width: 132, height: 50 }, None);
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word}: {text}"));
    assert!(at("SCHEDULES, next first") < at("  sooner") && at("  sooner") < at("  nightly"), "{text}");
    assert!(at("  nightly") < at("  a-is-over"), "{text}");
    assert!(text.contains("nightly    coder  30 2 * * * (Europe/Berlin)  2026-02-01 01:30:00"), "{text}");
    assert!(text.contains("pool `coder` is full") && !text.contains('\u{1b}'), "{text}");
    // The smallest terminal has no room for them.
    assert!(!shown(&seen, EIGHTY, None).contains("SCHEDULES"));
}

#[test]
fn a_terminal_that_is_too_small_shows_the_beginning() {
    for (width, height) in [(1, 1), (20, 5), (79, 23), (400, 200)] {
        shown(&seen(), Size { width, height }, Some("no service answers"));
    }
}

#[test]
fn an_open_circuit_a_pause_and_advice_are_told_first() {
    let mut seen = seen();
    seen["pools"][0]["state"] = "circuit_open".into();
    seen["pools"][0]["until"] = "2026-01-31T12:00:30Z".into();
    seen["pools"][0]["reason"] = "agent could not start: \u{1b}[31mno such file\n".into();
    seen["pools"][0]["mode"] = "advise".into();
    seen["pools"][1]["state"] = "paused".into();
    seen["decisions"][0]["mode"] = "advise".into();
    let text = shown(&seen, EIGHTY, None);
    assert!(!text.contains('\u{1b}'), "text of an agent steers the terminal");
    assert_snapshot!(text);
}

#[test]
fn an_outage_of_what_agents_depend_on_is_told_first() {
    let mut seen = seen();
    seen["pools"][0]["state"] = "dependency_open".into();
    seen["pools"][0]["until"] = "2026-01-31T12:00:30Z".into();
    seen["pools"][0]["reason"] = "503: no answer".into();
    let text = shown(&seen, EIGHTY, None);
    assert!(text.contains("! dependency circuit open, next probe at 12:00:30: 503: no answer"), "{text}");
    assert!(text.contains("outage"), "{text}");
    seen["pools"][0]["state"] = "running".into();
    seen["pools"][0]["dependency"] = json!({"state": "half_open", "limit": 3, "error": "503: no answer"});
    let text = shown(&seen, EIGHTY, None);
    assert!(text.contains("! dependency circuit half-open: at most 3 tasks at once: 503: no answer"), "{text}");
}

#[test]
fn old_figures_are_marked_and_a_node_that_stops_says_so() {
    let text = shown(&seen(), EIGHTY, Some("no service answers at http://127.0.0.1:7077: refused"));
    assert_eq!(
        text.lines().nth(1),
        Some("! figures are of 12:00:03, trying again: no service answers at http://127.0.0.1…")
    );
    let mut seen = seen();
    seen["ready"] = json!({"status": "not-ready", "detail": "the node accepts no traffic: the node is shutting down"});
    let text = shown(&seen, EIGHTY, None);
    assert_eq!(text.lines().nth(1), Some("! the node accepts no traffic: the node is shutting down"));
}

#[test]
fn a_service_that_has_done_nothing_yet_says_how_to_begin() {
    let mut seen = seen();
    seen["pools"] = json!([pool("coder")]);
    for (name, value) in
        [("finished", json!(0)), ("running", json!(0)), ("cold_start_s", Value::Null), ("decision", Value::Null)]
    {
        seen["pools"][0][name] = value;
    }
    seen["pools"][0]["recent"] = json!({"rate_per_s": null, "span_s": 0.0, "started": 0, "late": 0, "wait_s": null});
    seen["history"] = json!({"at": "2026-01-31T12:00:03.5Z", "slot_s": 5.0, "points": []});
    (seen["decisions"], seen["agents"]) = (json!([]), json!([]));
    assert_snapshot!(shown(&seen, EIGHTY, None));
}

#[test]
fn a_service_without_pools_says_what_to_do() {
    let seen = json!({"server": "http://127.0.0.1:7077", "ready": {}, "nodes": [], "pools": [], "pool": null});
    assert_snapshot!(shown(&seen, EIGHTY, None), @r"
    forerunner  http://127.0.0.1:7077

    No pools. Add [pools.NAME] to the configuration of the service, and restart it.
    q quits
    ");
}

#[test]
fn of_many_pools_those_around_the_chosen_one_are_shown() {
    let mut seen = seen();
    let names: Vec<String> = (0..30).map(|number| format!("pool-{number:02}")).collect();
    seen["pools"] = names.iter().map(|name| pool(name)).collect();
    for (at, chosen) in names.iter().enumerate() {
        seen["pool"] = json!(chosen);
        let text = shown(&seen, EIGHTY, None);
        assert!(text.contains(&format!("▸ pool-{at:02}")), "{text}");
        assert!(text.contains("POOLS: 4 OF 30") && text.contains("AGENTS"), "{text}");
    }
}
