//! The log of a task.

use forerunner_console::{fields, output::Output, terminal::harmless};
use serde_json::Value;

use super::path;
use crate::server_args::ServerArgs;

/// Shows the last lines of the log of a task.
pub async fn show(id: &str, server: &ServerArgs, out: &Output) -> anyhow::Result<()> {
    let log = server.client()?.get(path(id, "/logs")?).await?;
    out.show(&log, || render(&log))
}

fn render(log: &Value) -> String {
    let lines: Vec<String> = fields::list(log, "lines").iter().map(line).collect();
    if lines.is_empty() {
        return "the agents of the task wrote nothing to its log".to_owned();
    }
    match fields::number(log, "dropped") {
        Some(dropped) if dropped > 0.0 => format!("{dropped} older lines are gone\n{}", lines.join("\n")),
        _ => lines.join("\n"),
    }
}

/// One line, as the stream of events shows it too.
pub fn line(line: &Value) -> String {
    let text = harmless(line.get("text").and_then(Value::as_str).unwrap_or_default());
    let about = match (fields::text(line, "source").as_str(), fields::text(line, "level").as_str()) {
        ("stderr", _) => "stderr".to_owned(),
        (_, level) => level.to_owned(),
    };
    format!("{}  {about:6}  {text}", fields::time(line, "at"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_log_is_shown_line_by_line_and_cannot_act_on_the_terminal() {
        let at = "2026-01-31T12:00:00.5Z";
        let log = json!({ "dropped": 3, "lines": [
            { "at": at, "attempt": 1, "source": "stderr", "level": "info", "text": "loading \u{1b}[31mmodel" },
            { "at": at, "attempt": 1, "source": "agent", "level": "warn", "text": "the cache is cold" },
        ] });
        let shown = render(&log);
        assert!(!shown.contains('\u{1b}'), "{shown}");
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "3 older lines are gone"));
        assert!(lines[1].starts_with("2026-01-31 12:00:00  stderr  loading"), "{shown}");
        assert_eq!(lines[2], "2026-01-31 12:00:00  warn    the cache is cold");
        assert!(render(&json!({ "lines": [], "dropped": 0 })).starts_with("the agents"));
    }
}
