//! Changes a task that waits.

use clap::Args;
use forerunner_console::Usage;
use forerunner_core::{Clock, parse_duration};
use forerunner_runtime::SystemClock;
use serde_json::{Map, Value, json};

use crate::server_args::ServerArgs;

/// What to change of which task.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Its id.
    pub id: String,
    /// Priority: 0 (last) to 9 (first).
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Not before this time: 2026-11-27T10:00:00Z, 2h for in two hours, or now.
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
}

impl UpdateArgs {
    /// The body of the request.
    pub fn body(&self) -> anyhow::Result<Value> {
        let mut body = Map::new();
        if let Some(priority) = self.priority {
            body.insert("priority".to_owned(), json!(priority));
        }
        if let Some(text) = &self.run_at {
            body.insert("run_at".to_owned(), json!(run_at(text)));
        }
        if body.is_empty() {
            return Err(Usage("nothing to change; add --priority, --run-at, or both".to_owned()).into());
        }
        Ok(Value::Object(body))
    }
}

/// A duration is counted from now; the service decides whether another text is a time.
fn run_at(text: &str) -> String {
    parse_duration(text).map_or_else(|_| text.to_owned(), |delay| (SystemClock.now() + delay).to_string())
}
