//! Submits exported tasks that wait, under keys that make the command repeatable.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use forerunner_console::{
    Usage, fields,
    output::{Output, count, pairs},
    progress,
};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use crate::{
    client::{Call, Client, encode},
    server_args::ServerArgs,
};

/// Most tasks, and most bytes, that are sent together.
const MOST_TASKS: usize = 500;
const MOST_BYTES: usize = 4 << 20;
/// How many times in a row a full queue may accept nothing.
const MOST_WAITS: u32 = 60;
/// Fields of an exported task that a submission has as well.
const SAME: [&str; 7] = ["input", "context", "priority", "deadline", "timeout", "max_attempts", "labels"];

/// Which file.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The file that `task export` wrote; - for standard input.
    #[arg(value_name = "FILE|-")]
    file: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// The members of an exported task, as they were written: no number changes.
type Members = BTreeMap<String, Box<RawValue>>;

/// A task to be submitted.
struct Line {
    number: usize,
    pool: String,
    text: String,
}

/// What became of the lines.
#[derive(Default)]
struct Total {
    accepted: u64,
    known: u64,
    ended: u64,
    running: u64,
    refused: Vec<Value>,
}

/// Submits the tasks of a file that wait, in its order.
pub async fn run(args: &ImportArgs, out: &Output) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let reader: Box<dyn BufRead> = match args.file.as_str() {
        "-" => Box::new(BufReader::new(std::io::stdin())),
        path => Box::new(BufReader::new(File::open(path).map_err(|error| Usage(format!("{path}: {error}")))?)),
    };
    let bar = progress::counter("accepted");
    let (mut total, mut batch) = (Total::default(), Vec::<Line>::new());
    for (index, text) in reader.lines().enumerate() {
        let text = text.with_context(|| format!("line {} could not be read", index + 1))?;
        let Some(line) = read(index + 1, &text, &mut total)? else { continue };
        let bytes: usize = batch.iter().map(|line| line.text.len()).sum();
        let is_other = batch.first().is_some_and(|first| first.pool != line.pool);
        if is_other || batch.len() >= MOST_TASKS || bytes + line.text.len() > MOST_BYTES {
            send(&client, std::mem::take(&mut batch), &mut total).await?;
            bar.set_position(total.accepted);
        }
        batch.push(line);
    }
    send(&client, batch, &mut total).await?;
    bar.finish_and_clear();
    out.show(&total.json(), || total.render())?;
    anyhow::ensure!(total.refused.is_empty(), "{} tasks were refused", count(total.refused.len() as u64));
    Ok(())
}

/// Reads a line; none if it is of a task that does not wait.
fn read(number: usize, text: &str, total: &mut Total) -> anyhow::Result<Option<Line>> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let task: Members = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| Usage(format!("line {number} is no JSON object: {error}")))?;
    let (Some(id), Some(pool), Some(state)) = (text_of(&task, "id"), text_of(&task, "pool"), text_of(&task, "state"))
    else {
        return Err(Usage(format!("line {number} is no exported task: it needs id, pool and state")).into());
    };
    match state.as_str() {
        "scheduled" | "queued" | "waiting" => Ok(Some(Line { number, pool, text: submission(&task, &id)? })),
        "running" => {
            total.running += 1;
            Ok(None)
        }
        _ => {
            total.ended += 1;
            Ok(None)
        }
    }
}

fn text_of(task: &Members, name: &str) -> Option<String> {
    serde_json::from_str(task.get(name)?.get()).ok()
}

/// The submission that makes the same task: under its own key, or under one made of its id.
fn submission(task: &Members, id: &str) -> anyhow::Result<String> {
    let given = |name: &str| task.get(name).filter(|value| value.get() != "null").cloned();
    let mut body: BTreeMap<&str, Box<RawValue>> =
        SAME.into_iter().filter_map(|name| Some((name, given(name)?))).collect();
    if !body.contains_key("input") {
        body.insert("input", to_raw_value(&Value::Null)?);
    }
    // A task that waits for a retry is first in its conversation, so its delay is dropped.
    let is_delayed = text_of(task, "state").as_deref() == Some("scheduled")
        && task.get("attempt").is_some_and(|attempt| attempt.get() == "0");
    if let Some(run_at) = given("run_at").filter(|_| is_delayed) {
        body.insert("run_at", run_at);
    }
    let key = text_of(task, "idempotency_key").unwrap_or_else(|| format!("import-{id}"));
    body.insert("idempotency_key", to_raw_value(&key)?);
    Ok(serde_json::to_string(&body)?)
}

/// Sends lines of one pool until each was accepted or refused: a full queue is waited for.
async fn send(client: &Client, mut lines: Vec<Line>, total: &mut Total) -> anyhow::Result<()> {
    let mut waits = 0;
    while let Some(first) = lines.first() {
        let (place, path) = (first.number, format!("/v1/pools/{}/tasks:batch", encode(&first.pool)));
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        let call = Call::post(path).json_text(format!("{{\"tasks\":[{}]}}", texts.join(",")));
        let again = || format!("from line {place} on nothing is known to be imported; the command can be repeated");
        let answer = client.send(call).await.with_context(again)?;
        let (mut later, mut wait) = (Vec::new(), 0);
        let before = total.accepted;
        for (line, result) in lines.into_iter().zip(fields::list(&answer, "results")) {
            let problem = result.get("problem");
            match problem.and_then(|problem| problem.get("retry_after_s")).and_then(Value::as_u64) {
                Some(secs) => {
                    wait = wait.max(secs);
                    later.push(line);
                }
                None => total.note(line.number, result, problem),
            }
        }
        waits = if total.accepted > before { 0 } else { waits + 1 };
        anyhow::ensure!(waits < MOST_WAITS || later.is_empty(), "{}", again());
        if !later.is_empty() {
            tokio::time::sleep(Duration::from_secs(wait.clamp(1, 5))).await;
        }
        lines = later;
    }
    Ok(())
}

impl Total {
    fn note(&mut self, line: usize, result: &Value, problem: Option<&Value>) {
        match problem {
            None => {
                self.accepted += 1;
                self.known += u64::from(result["replayed"] == true);
            }
            Some(problem) => self.refused.push(json!({ "line": line, "problem": problem })),
        }
    }

    fn json(&self) -> Value {
        let Self { accepted, known, ended, running, refused } = self;
        json!({ "accepted": accepted, "known": known, "ended": ended, "running": running, "refused": refused })
    }

    fn render(&self) -> String {
        let left_out = [("left out, ended", self.ended), ("left out, running", self.running)];
        let rows = [("accepted", self.accepted), ("of them known before", self.known)].into_iter().chain(left_out);
        let mut text = pairs(rows.map(|(name, number)| (name, count(number))));
        for refused in &self.refused {
            text.push_str(&format!(
                "\nline {} refused: {}",
                fields::text(refused, "line"),
                fields::text(refused, "problem.detail")
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_waits_becomes_a_submission_under_a_key_and_others_are_left_out() {
        let mut total = Total::default();
        let mut line = |task: Value| read(1, &task.to_string(), &mut total).unwrap().map(|line| line.text);
        let task = json!({
            "id": "0199-x", "pool": "coder", "state": "scheduled", "attempt": 0, "input": { "a": 1 }, "priority": 4,
            "run_at": "2100-01-01T00:00:00Z", "submitted_at": "2026-01-31T12:00:00Z", "labels": { "b": "c" },
        });
        let text = line(task.clone()).unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "input": { "a": 1 }, "priority": 4, "labels": { "b": "c" }, "run_at": "2100-01-01T00:00:00Z",
            "idempotency_key": "import-0199-x",
        });
        assert_eq!(body, expected);
        let mut keyed = task.clone();
        (keyed["idempotency_key"], keyed["attempt"]) = (json!("k"), json!(2));
        let body: Value = serde_json::from_str(&line(keyed).unwrap()).unwrap();
        assert_eq!((&body["idempotency_key"], body.get("run_at")), (&json!("k"), None));
        for state in ["running", "succeeded", "dead"] {
            let mut other = task.clone();
            other["state"] = json!(state);
            assert_eq!(line(other), None);
        }
        assert_eq!((total.running, total.ended), (1, 2));
        let exact = r#"{"id":"x","pool":"p","state":"queued","input":{"wei":1000000000000000000001,"r":1e400}}"#;
        let text = read(1, exact, &mut Total::default()).unwrap().unwrap().text;
        assert!(text.contains(r#""input":{"wei":1000000000000000000001,"r":1e400}"#), "{text}");
        let fault = read(7, "{\"id\": 1}", &mut Total::default()).err().unwrap().to_string();
        assert!(fault.contains("line 7 is no exported task"), "{fault}");
    }
}
