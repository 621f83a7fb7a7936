//! Following a task through the service's event stream.

use std::time::Duration;

use forerunner_console::{
    fields,
    json::Answer,
    output::{Output, hanging},
    terminal::harmless_lines,
};
use futures_util::StreamExt;
use serde_json::Value;

use super::task::logs;
use crate::{client::Client, exit::NotReachable};

/// How often a stream that broke off is opened again, and how long to wait before.
const REOPENINGS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Writes the events of a task until it has ended; fails if it did not succeed.
pub async fn run(client: &Client, path: &str, out: &Output) -> anyhow::Result<()> {
    let mut watch = Watch::default();
    let mut reopened = 0;
    loop {
        match client.stream(path, watch.last_id.as_deref()).await {
            Ok(mut stream) => {
                while let Some(Ok(bytes)) = stream.next().await {
                    for event in watch.read(&bytes) {
                        out.show_line(&event, || render(&event))?;
                    }
                }
            }
            // A node that restarts is back soon.
            Err(error) if error.is::<NotReachable>() && reopened > 0 => {}
            Err(error) => return Err(error),
        }
        if let Some(end) = watch.end.take() {
            return end.map_err(anyhow::Error::msg);
        }
        if reopened == REOPENINGS {
            let reason = "the event stream ended early".to_owned();
            return Err(NotReachable { server: client.server().to_owned(), reason }.into());
        }
        reopened += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads server-sent events from pieces of a stream.
#[derive(Default)]
struct Watch {
    pending: Vec<u8>,
    last_id: Option<String>,
    end: Option<Result<(), String>>,
}

impl Watch {
    fn read(&mut self, bytes: &[u8]) -> Vec<Answer> {
        self.pending.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            events.extend(self.line(String::from_utf8_lossy(&line).trim_end()));
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Answer> {
        if let Some(id) = line.strip_prefix("id:") {
            self.last_id = Some(id.trim().to_owned());
        }
        let event = Answer::read(line.strip_prefix("data:")?.trim().as_bytes()).ok()?;
        self.note_end(&event);
        Some(event)
    }

    fn note_end(&mut self, event: &Value) {
        let state = fields::text(event, "state");
        let Ok(known) = state.parse::<forerunner_core::TaskState>() else { return };
        if known.is_terminal() {
            let succeeded = known == forerunner_core::TaskState::Succeeded;
            self.end = Some(if succeeded { Ok(()) } else { Err(format!("the task ended as {}", describe(event))) });
        }
    }
}

fn describe(event: &Value) -> String {
    let state = fields::text(event, "state");
    match fields::at(event, "error.message").and_then(Value::as_str) {
        Some(message) => format!("{state}: {}", harmless_lines(message)),
        None => state,
    }
}

fn render(event: &Value) -> String {
    if let Some(line) = fields::at(event, "line") {
        return logs::line(line);
    }
    let what = match fields::text(event, "event").as_str() {
        "progress" => fields::text(event, "text"),
        "output" => fields::text(event, "chunk"),
        "asked" => format!("asks: {}", fields::text(event, "request.prompt")),
        _ => match fields::number(event, "attempt") {
            Some(attempt) if attempt > 1.0 => format!("{} (attempt {attempt})", describe(event)),
            _ => describe(event),
        },
    };
    let time = fields::time(event, "at");
    format!("{time}  {}", hanging(&what, time.chars().count() + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_across_pieces_and_the_end_is_noticed() {
        let mut watch = Watch::default();
        let first = b"id: 1\nevent: state\ndata: {\"event\":\"state\",\"state\":\"running\",\"attempt\":2,\"at\":\"2026-01-31T12:00:00Z\"}\n\nid: 2\nda";
        let second = b"ta: {\"event\":\"state\",\"state\":\"failed\",\"attempt\":2,\"at\":\"2026-01-31T12:00:01Z\",\"error\":{\"message\":\"no\"}}\n\n";
        let events: Vec<String> =
            [first.as_slice(), second].iter().flat_map(|piece| watch.read(piece)).map(|event| render(&event)).collect();
        assert_eq!(events, ["2026-01-31 12:00:00  running (attempt 2)", "2026-01-31 12:00:01  failed: no (attempt 2)"]);
        assert_eq!(watch.last_id.as_deref(), Some("2"));
        assert_eq!(watch.end, Some(Err("the task ended as failed: no".to_owned())));
    }
}
