//! Following a task through the service's event stream.

use std::{collections::VecDeque, time::Duration};

use forerunner_console::{
    fields,
    json::Answer,
    output::{Output, hanging},
    terminal::harmless_lines,
};
use futures_util::StreamExt;
use serde_json::Value;

use super::task::logs;
use crate::{
    client::{Client, EventBody},
    exit::NotReachable,
};

/// How often a stream that broke off is opened again, and how long to wait before.
const REOPENINGS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Writes the events of a task until it has ended; fails if it did not succeed.
pub async fn run(client: &Client, path: &str, out: &Output) -> anyhow::Result<()> {
    let mut events = Events::of(client, path.to_owned());
    while let Some(event) = events.next().await? {
        out.show_line(&event, || render(&event))?;
    }
    events.end().map_err(anyhow::Error::msg)
}

/// The events of a task, over as many streams as it takes.
pub struct Events<'a> {
    client: &'a Client,
    path: String,
    stream: Option<EventBody>,
    watch: Watch,
    read: VecDeque<Answer>,
    /// How often a stream was opened.
    opened: u32,
}

impl<'a> Events<'a> {
    /// Reads the events at a path of the service.
    pub fn of(client: &'a Client, path: String) -> Self {
        Self { client, path, stream: None, watch: Watch::default(), read: VecDeque::new(), opened: 0 }
    }

    /// Waits for the next event. `None` when the task has ended. Dropping the future loses none.
    ///
    /// # Errors
    /// When the service refuses, or the stream ends early too often.
    pub async fn next(&mut self) -> anyhow::Result<Option<Answer>> {
        loop {
            if let Some(event) = self.read.pop_front() {
                return Ok(Some(event));
            }
            let Some(stream) = &mut self.stream else {
                if self.watch.end.is_some() {
                    return Ok(None);
                }
                self.open().await?;
                continue;
            };
            match stream.next().await {
                Some(Ok(bytes)) => self.read.extend(self.watch.read(&bytes)),
                Some(Err(_)) | None => self.stream = None,
            }
        }
    }

    /// Returns how the task ended, once it has.
    ///
    /// # Errors
    /// What to say of a task that did not succeed.
    pub fn end(self) -> Result<(), String> {
        self.watch.end.unwrap_or(Ok(()))
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        if self.opened > REOPENINGS {
            let reason = "the event stream ended early".to_owned();
            return Err(NotReachable { server: self.client.server().to_owned(), reason }.into());
        }
        if self.opened > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let is_first = self.opened == 0;
        self.opened += 1;
        match self.client.stream(&self.path, self.watch.last_id.as_deref()).await {
            Ok(stream) => self.stream = Some(stream),
            // A node that restarts is back soon.
            Err(error) if error.is::<NotReachable>() && !is_first => {}
            Err(error) => return Err(error),
        }
        Ok(())
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
