//! The placement of a task, for people.

use forerunner_console::{
    fields,
    output::{count, pairs, render, right_from, seconds, table},
};
use serde_json::Value;

/// Writes a sentence, the numbers behind it, and what each agent would have cost.
pub fn explain(answer: &Value) -> String {
    let [task, agent, why] = ["task", "agent", "why"].map(|name| fields::text(answer, name));
    let by = fields::at(answer, "schedule").and_then(Value::as_str);
    let by = by.map_or_else(String::new, |name| format!(" Schedule {name} submitted it."));
    let waits = ["queued", "scheduled"].contains(&fields::text(answer, "state").as_str());
    let placement = fields::at(answer, "placement").filter(|placement| !placement.is_null() && !waits);
    let Some(placement) = placement else {
        return format!("Task {task} ({}), agent {agent}: {why}.{by}", fields::text(answer, "state"));
    };
    let numbers = pairs([
        ("context", format!("{}, {}", fields::text(placement, "context"), bytes(placement, "context_bytes"))),
        ("placed", fields::time(placement, "at")),
        ("reason", fields::text(placement, "reason")),
        (
            "waited",
            format!("{}, deferred {}", fields::secs(placement, "waited_s"), fields::secs(placement, "deferred_s")),
        ),
        (
            "measured",
            format!(
                "restore {} + {} s/MB, tasks {}, a context comes back after {}",
                fields::secs(placement, "rates.restore_fixed_s"),
                fields::decimal(placement, "rates.restore_s_per_mb", 3),
                fields::secs(placement, "rates.service_s"),
                fields::secs(placement, "rates.return_s"),
            ),
        ),
        ("idle agents", fields::text(placement, "idle_agents")),
    ]);
    let chosen = fields::at(placement, "chosen").map(|chosen| row(chosen, "→"));
    let others = fields::list(placement, "others").iter().map(|other| row(other, ""));
    let header = ["", "agent", "lacked", "restore", "displaced", "busy for", "cost"];
    let mut costs = table(header, chosen.into_iter().chain(others));
    right_from(&mut costs, 2);
    format!("Task {task} went to agent {agent}: {why}.{by}\n\n{numbers}\n\n{}", render(&costs))
}

fn row(cost: &Value, mark: &str) -> [String; 7] {
    let secs = |name| seconds(fields::number(cost, name).unwrap_or(f64::NAN));
    [
        mark.to_owned(),
        fields::text(cost, "agent"),
        bytes(cost, "missing_bytes"),
        secs("restore_s"),
        secs("displacement_s"),
        secs("busy_for_s"),
        secs("cost_s"),
    ]
}

fn bytes(value: &Value, name: &str) -> String {
    format!("{} B", count(fields::number(value, name).unwrap_or(0.0) as u64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_placement_is_a_sentence_and_a_table_of_costs() {
        let cost = |agent, missing: u64, seconds: f64| {
            json!({
                "agent": agent, "busy": false, "missing_bytes": missing, "restore_s": seconds, "displacement_s": 0.0,
                "busy_for_s": 0.0, "cost_s": seconds,
            })
        };
        let answer = json!({
            "task": "t1", "pool": "coder", "state": "running", "agent": "a1", "node": "n1",
            "why": "the agent had its context: nothing had to be restored; it cost 0.00 s",
            "placement": {
                "task": "t1", "context": "repo-42", "context_bytes": 450000, "at": "2026-01-31T12:00:00Z", "reason": "warm",
                "chosen": cost("a1", 0, 0.0), "others": [cost("a2", 450_000, 0.905)], "idle_agents": 2,
                "waited_s": 0.75, "deferred_s": 0.5,
                "rates": {"restore_fixed_s": 0.005, "restore_s_per_mb": 2.0, "service_s": 10.6, "return_s": 61.2},
            },
        });
        let text = explain(&answer);
        assert!(text.starts_with("Task t1 went to agent a1: the agent had its context"), "{text}");
        assert!(text.contains("repo-42, 450,000 B") && text.contains("restore 5 ms + 2.000 s/MB"), "{text}");
        assert!(text.contains("→  a1") && text.contains("905 ms"), "{text}");
        let waiting =
            json!({"task": "t1", "state": "queued", "agent": null, "why": "it waits for an agent", "placement": null});
        assert!(explain(&waiting).ends_with("it waits for an agent."));
        let scheduled = json!({"task": "t1", "state": "queued", "schedule": "nightly", "why": "it waits for an agent"});
        assert!(explain(&scheduled).ends_with("it waits for an agent. Schedule nightly submitted it."));
    }
}
