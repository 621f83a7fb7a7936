//! `forerunner submit`: tasks for a pool.

mod file;
mod lines;

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use forerunner_console::{
    Usage, fields,
    json::Answer,
    output::{Output, count},
    progress, text,
};
use forerunner_core::{LONGEST_DURATION, parse_duration};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use tokio::time::Instant;

use super::label::Label;
use crate::{
    client::{Call, Client, Problem, encode},
    exit::NotReachable,
    render::task,
    server_args::ServerArgs,
};

/// What to submit.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The pool.
    pool: String,
    /// The input: JSON, @FILE, or - for standard input.
    #[arg(long, default_value = "null", value_name = "JSON|@FILE|-")]
    input: String,
    /// The conversation it belongs to.
    #[arg(long, value_name = "ID")]
    context: Option<String>,
    /// Priority: 0 (last) to 9 (first) [pool default: 4].
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Not before this time, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Not after this time.
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// Longest run of one attempt, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Attempts in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// A label; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// The task whose agent submits this one. The node rejects a task that is deeper than node.max_depth.
    #[arg(long, value_name = "TASK")]
    parent: Option<String>,
    /// Makes the submission repeatable.
    #[arg(long, value_name = "KEY", conflicts_with = "count")]
    idempotency_key: Option<String>,
    /// Wait for the result, at most this many seconds.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", require_equals = true,
        value_parser = clap::value_parser!(u64).range(..=LONGEST_DURATION.as_secs()))]
    wait: Option<u64>,
    /// Submit it this many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[command(flatten)]
    file: file::FileArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Submissions under way at once.
const IN_FLIGHT: usize = 32;
/// How long to pause before a task is waited for again.
const PAUSE: Duration = Duration::from_secs(1);

/// Submits, and waits if requested.
pub async fn run(args: SubmitArgs, out: &Output) -> anyhow::Result<()> {
    let client = args.server.client()?;
    if let Some(name) = &args.file.file {
        return file::run(&client, &args.pool, name, &args.file, out).await;
    }
    args.file.refuse_without_file()?;
    let body = serde_json::to_string(&Body::of(&args)?)?;
    if args.count == 1 {
        let answer = submit(&client, &args, &body).await?;
        out.show(&answer, || task::render(&answer))?;
        return judge(&args, &answer);
    }
    let bar = progress::bar(u64::from(args.count), if args.wait.is_some() { "finished" } else { "accepted" });
    let calls = (0..args.count).map(|_| submit(&client, &args, &body));
    let answers: Vec<Answer> =
        stream::iter(calls).buffer_unordered(IN_FLIGHT).inspect(|_| bar.inc(1)).try_collect().await?;
    bar.finish_and_clear();
    out.show(&answers, || summary(&answers))?;
    answers.iter().try_for_each(|answer| judge(&args, answer))
}

async fn submit(client: &Client, args: &SubmitArgs, body: &str) -> anyhow::Result<Answer> {
    let mut call = Call::post(format!("/v1/pools/{}/tasks", encode(&args.pool))).json_text(body.to_owned());
    if let Some(key) = &args.idempotency_key {
        call = call.header("Idempotency-Key", key);
    }
    if let Some(wait) = args.wait {
        call = call.header("Prefer", format!("wait={wait}")).patient(Duration::from_secs(wait));
    }
    let begun = Instant::now();
    let answer = client.send(call).await?;
    match args.wait {
        Some(wait) if !is_over(&answer) => wait_on(client, answer, begun + Duration::from_secs(wait)).await,
        _ => Ok(answer),
    }
}

/// Continues to wait for an accepted task: a service waits at most its `http.max_wait`, and one that stops ends all
/// waits.
async fn wait_on(client: &Client, accepted: Answer, until: Instant) -> anyhow::Result<Answer> {
    let path = format!("/v1/tasks/{}", encode(&fields::text(&accepted, "id")));
    let mut seen = accepted;
    loop {
        // Whole seconds, and a pause for a service that is stopping or not back yet.
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        if left == 0 || is_over(&seen) {
            return Ok(seen);
        }
        tokio::time::sleep(PAUSE).await;
        let wait = Duration::from_secs(left - 1);
        let call = Call::get(&path).header("Prefer", format!("wait={}", wait.as_secs())).patient(wait);
        match client.send(call).await {
            Ok(task) => seen = task,
            Err(error) if error.is::<NotReachable>() || is_passing(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_over(answer: &Value) -> bool {
    !matches!(fields::text(answer, "state").as_str(), "queued" | "running" | "waiting" | "scheduled")
}

/// Whether the service reports a temporary failure.
fn is_passing(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|problem: &Problem| problem.status == 503)
}

/// With `--wait`, a task that did not succeed in time is a failure of the command.
fn judge(args: &SubmitArgs, answer: &Value) -> anyhow::Result<()> {
    let Some(wait) = args.wait else { return Ok(()) };
    match fields::text(answer, "state").as_str() {
        "succeeded" => Ok(()),
        state if !is_over(answer) => {
            let id = fields::text(answer, "id");
            anyhow::bail!("task {id} is still {state} after {wait} s; follow it with `forerunner task watch {id}`")
        }
        state => {
            anyhow::bail!(
                "task {} ended as {state}: {}",
                fields::text(answer, "id"),
                fields::text(answer, "error.message")
            )
        }
    }
}

fn summary(answers: &[Answer]) -> String {
    let mut by_state: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for answer in answers {
        *by_state.entry(fields::text(answer, "state")).or_default() += 1;
    }
    let states: Vec<String> = by_state.into_iter().map(|(state, n)| format!("{} {state}", count(n))).collect();
    format!("{} tasks accepted: {}", count(answers.len() as u64), states.join(", "))
}

/// The body of the request: only what the flags set. The input is sent unchanged, so that no number changes.
#[derive(Serialize)]
struct Body<'a> {
    input: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
}

impl<'a> Body<'a> {
    fn of(args: &'a SubmitArgs) -> anyhow::Result<Self> {
        Ok(Self {
            input: input(&args.input)?,
            context: args.context.as_deref(),
            priority: args.priority,
            run_at: args.run_at.as_deref(),
            deadline: args.deadline.as_deref(),
            timeout: args.timeout.map(forerunner_core::format_duration),
            max_attempts: args.max_attempts,
            labels: args.labels.iter().map(|label| (label.key.as_str(), label.value.as_str())).collect(),
            parent: args.parent.as_deref(),
        })
    }
}

/// Reads an input as it is given: JSON, @FILE, or - for standard input.
pub(super) fn input(given: &str) -> anyhow::Result<Box<RawValue>> {
    let flag = format!("--input {given}");
    let text = match given.strip_prefix('@') {
        // A file of that name, be it a dash.
        Some("-") => text::read(&flag, "./-")?,
        Some(path) => text::read(&flag, path)?,
        None if given == "-" => text::read(&flag, "-")?,
        None => given.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| {
        Usage(format!(
            "--input is not JSON: {error}; quote text as JSON, such as --input '\"hello\"' or --input '{{\"n\": 1}}'"
        ))
        .into()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::{cli::Cli, commands::Command};

    fn parsed(line: &[&str]) -> SubmitArgs {
        let cli = Cli::try_parse_from([&["forerunner", "submit"], line].concat()).expect("valid");
        let Command::Submit(args) = cli.command else { panic!("not a submit") };
        args
    }

    #[test]
    fn flags_become_the_body_and_what_is_not_said_is_left_out() {
        let args = parsed(&[
            "coder",
            "--input",
            "{\"n\":1}",
            "--priority",
            "9",
            "--timeout",
            "90s",
            "--label",
            "team=search",
            "--wait",
        ]);
        assert_eq!(args.wait, Some(60));
        let body = |args: &SubmitArgs| serde_json::to_value(Body::of(args).expect("valid")).expect("JSON");
        let said = json!({"input": {"n": 1}, "priority": 9, "timeout": "90s", "labels": {"team": "search"}});
        assert_eq!(body(&args), said);
        assert_eq!(body(&parsed(&["coder"])), json!({"input": null}));
    }

    #[test]
    fn an_input_is_sent_as_it_was_written() {
        let numbers = "[1000000000000000000001, 0.12345678901234567890123, 1e400, -0, 1E5]";
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("\u{feff}{numbers}\r\n")).expect("written");
        for given in [numbers.to_owned(), format!("@{}", file.path().display())] {
            assert_eq!(input(&given).expect("JSON").get(), numbers);
        }
    }

    #[test]
    fn what_a_line_says_is_not_said_by_flags_as_well() {
        for flag in [&["--input", "1"][..], &["--priority", "1"], &["--label", "a=b"], &["--wait"], &["--count", "2"]] {
            let line = [&["forerunner", "submit", "coder", "--file", "tasks.jsonl"], flag].concat();
            assert!(Cli::try_parse_from(&line).is_err(), "{line:?}");
        }
        assert!(Cli::try_parse_from(["forerunner", "submit", "coder", "--key-prefix", "x"]).is_err());
        let beside = parsed(&["coder", "--input", "1", "--key-prefix", "x"]);
        assert_eq!(crate::exit::code(&beside.file.refuse_without_file().unwrap_err()), 2);
        let args = parsed(&["coder", "--file", "-", "--key-prefix", "import-7", "--max-wait", "5m"]);
        assert_eq!(args.file.file.as_deref(), Some("-"));
    }

    #[test]
    fn an_input_that_is_not_json_is_refused_with_an_example() {
        let error = input("hello").expect_err("not JSON");
        assert_eq!(crate::exit::code(&error), 2);
        assert!(error.to_string().contains("such as"), "{error}");
    }
}
