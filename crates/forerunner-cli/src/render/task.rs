//! One task, for people.

use forerunner_console::{
    fields,
    output::{count, pairs},
    terminal::harmless,
};
use serde_json::Value;

/// Characters of an input that a table shows.
const SHOWN_INPUT: usize = 2_000;

/// Writes one task for people.
pub fn render(task: &Value) -> String {
    let error = fields::at(task, "error")
        .map(|_| format!("{}: {}", fields::text(task, "error.kind"), fields::text(task, "error.message")));
    let rows = [
        ("id", fields::text(task, "id")),
        ("pool", fields::text(task, "pool")),
        ("tenant", fields::text(task, "tenant")),
        ("by", fields::text(task, "submitted_by")),
        ("state", fields::text(task, "state")),
        ("context", fields::text(task, "context")),
        ("parent", fields::text(task, "parent")),
        ("depth", fields::text(task, "depth")),
        ("labels", labels(task)),
        ("priority", fields::text(task, "priority")),
        ("attempt", fields::text(task, "attempt")),
        ("submitted", fields::time(task, "submitted_at")),
        ("due", fields::time(task, "run_at")),
        ("started", fields::time(task, "started_at")),
        ("finished", fields::time(task, "finished_at")),
        ("wait", wait(task)),
        ("service", fields::secs(task, "service_s")),
        ("agent", fields::text(task, "agent")),
        ("asks", question(task)),
        ("usage", usage(task)),
        ("error", error.unwrap_or_else(|| fields::NOTHING.to_owned())),
        ("input", cut(fields::text(task, "input"))),
        ("output", fields::text(task, "output")),
    ];
    pairs(rows.into_iter().filter(|(_, value)| value != fields::NOTHING))
}

/// How long a task waited, and how much of it for the task before it in its context.
fn wait(task: &Value) -> String {
    let wait = fields::secs(task, "wait_s");
    match fields::at(task, "wait_context_s").and_then(Value::as_f64) {
        Some(seconds) if seconds > 0.0 => {
            let (agent, context) = (fields::secs(task, "wait_agent_s"), fields::secs(task, "wait_context_s"));
            format!("{wait}: {context} for the task before it in its context, {agent} for an agent")
        }
        _ => wait,
    }
}

fn labels(task: &Value) -> String {
    let Some(labels) = fields::at(task, "labels").and_then(Value::as_object) else { return fields::NOTHING.to_owned() };
    let pair = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
    harmless(&labels.iter().map(pair).collect::<Vec<_>>().join("  "))
}

/// What the agents used, by name.
fn usage(task: &Value) -> String {
    let Some(usage) = fields::at(task, "usage").and_then(Value::as_object) else { return fields::NOTHING.to_owned() };
    let pair = |(name, sum): (&String, &Value)| format!("{} {name}", count(sum.as_u64().unwrap_or_default()));
    harmless(&usage.iter().map(pair).collect::<Vec<_>>().join("  "))
}

/// The question that waits for an answer, with the options.
fn question(task: &Value) -> String {
    let open = fields::list(task, "requests").last().filter(|request| request.get("answer").is_none());
    let Some(open) = open else { return fields::NOTHING.to_owned() };
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let options = fields::list(open, "options").iter().map(|option| text(option, "id")).collect::<Vec<_>>().join(", ");
    let options = if options.is_empty() { String::new() } else { format!("  [{options}]") };
    harmless(&format!("{}: {}{options}", text(open, "id"), text(open, "prompt")))
}

/// The beginning of a long input, which its submitter has.
fn cut(input: String) -> String {
    match input.char_indices().nth(SHOWN_INPUT) {
        Some((end, _)) => {
            let left = input[end..].chars().count() as u64;
            format!("{}… {} more characters; --output json shows them", &input[..end], count(left))
        }
        None => input,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_task_is_shown_without_what_it_has_not() {
        let task = json!({
            "id": "0199-x", "pool": "coder", "state": "failed", "context": null, "priority": 4, "attempt": 2,
            "submitted_at": "2026-01-31T12:00:00.5Z", "run_at": "2026-01-31T12:00:00.5Z",
            "error": { "kind": "agent_error", "message": "no such repository" },
            "labels": { "team": "search", "urn:x": "1" }, "usage": { "input_tokens": 8120 }, "input": "{\"repo\":18446744073709551616}",
        });
        insta::assert_snapshot!(render(&task), @r#"
        id         0199-x
        pool       coder
        state      failed
        labels     team=search  urn:x=1
        priority   4
        attempt    2
        submitted  2026-01-31 12:00:00
        due        2026-01-31 12:00:00
        usage      8,120 input_tokens
        error      agent_error: no such repository
        input      {"repo":18446744073709551616}
        "#);
    }

    #[test]
    fn a_long_input_is_cut_and_says_so() {
        assert_eq!(cut("é".repeat(SHOWN_INPUT)), "é".repeat(SHOWN_INPUT));
        let shown = cut("é".repeat(SHOWN_INPUT + 1_234));
        assert!(shown.ends_with("é… 1,234 more characters; --output json shows them"), "{shown}");
    }
}
