//! The attempts of a task.

use forerunner_console::{
    fields,
    output::{Output, render, table},
};
use serde_json::Value;

use super::path;
use crate::{render::task, server_args::ServerArgs};

/// Shows a task. For people it shows the attempts as well, if there was more than one or a failed one.
pub async fn get(id: &str, server: &ServerArgs, out: &Output) -> anyhow::Result<()> {
    let client = server.client()?;
    let task = client.get(path(id, "")?).await?;
    let attempts = if out.is_json() { Value::Null } else { client.get(path(id, "/attempts")?).await?.into_values() };
    out.show(&task, || {
        let is_plain = fields::list(&attempts, "attempts").iter().all(|one| fields::at(one, "error").is_none());
        let rest = if is_plain { String::new() } else { format!("\n\n{}", render_list(&attempts)) };
        task::render(&task) + &rest
    })
}

/// Shows the attempts of a task, with the last lines of its agents.
pub async fn list(id: &str, server: &ServerArgs, out: &Output) -> anyhow::Result<()> {
    let attempts = server.client()?.get(path(id, "/attempts")?).await?;
    out.show(&attempts, || render_list(&attempts) + &render_logs(&attempts))
}

fn render_list(attempts: &Value) -> String {
    let rows: Vec<[String; 6]> = fields::list(attempts, "attempts").iter().map(row).collect();
    if rows.is_empty() {
        return "no attempt began, or none is stored".to_owned();
    }
    render(&table(["attempt", "outcome", "started (UTC)", "ended (UTC)", "agent", "error"], rows))
}

fn row(attempt: &Value) -> [String; 6] {
    let error = fields::at(attempt, "error").map_or_else(
        || fields::NOTHING.to_owned(),
        |error| format!("{}: {}", fields::text(error, "kind"), fields::text(error, "message")),
    );
    [
        fields::text(attempt, "attempt"),
        fields::text(attempt, "outcome"),
        fields::time(attempt, "started_at"),
        fields::time(attempt, "ended_at"),
        fields::text(attempt, "agent"),
        error,
    ]
}

/// The last lines of each attempt's agent, below each other.
fn render_logs(attempts: &Value) -> String {
    let logs = fields::list(attempts, "attempts").iter().filter_map(|attempt| {
        let log = fields::at(attempt, "log")?.as_str()?;
        let lines: Vec<String> = log.lines().map(|line| format!("  {line}")).collect();
        Some(format!("\n\nattempt {}, standard error:\n{}", fields::text(attempt, "attempt"), lines.join("\n")))
    });
    logs.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attempts_are_a_table_with_the_last_lines_below() {
        let attempts = json!({ "attempts": [{
            "attempt": 1, "outcome": "retried", "started_at": "2026-01-31T12:00:00.5Z", "ended_at": "2026-01-31T12:00:01Z",
            "agent": "0199-a", "error": { "kind": "timeout", "message": "too long" }, "log": "one\ntwo",
        }] });
        insta::assert_snapshot!(render_list(&attempts) + &render_logs(&attempts), @r"
        ATTEMPT  OUTCOME  STARTED (UTC)        ENDED (UTC)          AGENT   ERROR
        1        retried  2026-01-31 12:00:00  2026-01-31 12:00:01  0199-a  timeout: too long

        attempt 1, standard error:
          one
          two
        ");
        assert!(render_list(&json!({ "attempts": [] })).starts_with("no attempt"));
    }
}
