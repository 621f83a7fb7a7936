//! `forerunner pool learn`: teaches a running pool.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use forerunner_console::{
    Usage, fields,
    output::{Output, count, note},
};
use forerunner_core::Timestamp;
use forerunner_lab::import::{self, ImportArgs, ImportedTrace};
use forerunner_service::{MOST_RECORDED, MOST_RECORDED_S, RecordedTask};
use serde_json::{Map, Value, json};

use super::{REPLAY_TIMEOUT, path};
use crate::{
    client::{Call, Client},
    commands::history::time,
    server_args::ServerArgs,
};

const AFTER_HELP: &str = "\
The pool takes over what a recording teaches: durations, habits, sessions and rules. It keeps its size.
Of a long recording it learns from the newest 100,000 tasks of at most ten days.

Examples:
  forerunner history export --pool coder -o past.csv.gz && forerunner pool learn coder2 past.csv.gz
  forerunner pool learn coder jobs.csv --map arrival=created_at,start=started_at,end=finished_at
  forerunner pool learn writer --from coder";

/// What to learn from.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, override_usage = "forerunner pool learn [POOL] FILE\n       forerunner pool learn POOL --from OTHER")]
pub struct LearnArgs {
    /// The pool, and a recording that `replay` can read; `-` for standard input. `FILE` alone is enough where there is one pool.
    #[arg(required = true, num_args = 1..=2, value_names = ["POOL", "FILE"])]
    words: Vec<String>,
    /// Another pool with the same agents: learns how long tasks take, when sessions return, and the cold start.
    #[arg(long, value_name = "OTHER")]
    from: Option<String>,
    /// When the last task of the recording was due: RFC 3339, or a duration before now, such as 24h. Default: as the times of the
    /// recording say, or now.
    #[arg(long, value_parser = time, value_name = "TIME", conflicts_with = "from")]
    ended: Option<Timestamp>,
    /// Learns from the recording also where the pool has learned from more tasks already.
    #[arg(long, conflicts_with = "from")]
    replace: bool,
    #[command(flatten)]
    import: ImportArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Teaches a pool, and shows what it learned.
pub async fn run(args: LearnArgs, out: &Output) -> anyhow::Result<()> {
    let client = args.server.client()?;
    let (pool, body) = match &args.from {
        Some(other) => (pool_alone(&args.words)?, json!({ "from_pool": other })),
        None => {
            let (pool, file) = named(&args.words);
            let body = recording(Path::new(file), &args)?;
            let pool = match pool {
                Some(pool) => pool.to_owned(),
                None => only_pool(&client).await?,
            };
            (pool, body)
        }
    };
    let call = Call::post(path(&pool, ":learn")).body(&body).patient(REPLAY_TIMEOUT);
    let report = client.send(call).await?;
    out.show(&report, || render(&report))
}

/// The pool and the file: `POOL FILE`, `POOL=FILE` or `FILE`.
fn named(words: &[String]) -> (Option<&str>, &str) {
    match words {
        [pool, file, ..] => (Some(pool), file),
        [file] => match file.split_once('=') {
            Some((pool, path)) if !Path::new(file).exists() => (Some(pool), path),
            _ => (None, file),
        },
        [] => (None, "-"),
    }
}

fn pool_alone(words: &[String]) -> Result<String, Usage> {
    match words {
        [pool] => Ok(pool.clone()),
        _ => Err(Usage(
            "--from OTHER takes the place of a file; write `forerunner pool learn POOL --from OTHER`".to_owned(),
        )),
    }
}

/// The name of the service's pool, if there is one.
async fn only_pool(client: &Client) -> anyhow::Result<String> {
    let answer = client.get("/v1/pools").await?;
    let names: Vec<String> = fields::list(&answer, "pools").iter().map(|pool| fields::text(pool, "name")).collect();
    match names.as_slice() {
        [only] => Ok(only.clone()),
        _ => {
            let text = format!("name the pool: `forerunner pool learn POOL FILE`; pools are {}", names.join(", "));
            Err(Usage(text).into())
        }
    }
}

/// Reads a recording as the body of the call: of a long one the newest part.
fn recording(file: &Path, args: &LearnArgs) -> anyhow::Result<Value> {
    let ImportedTrace { trace, notes, began_s } = import::read(file, &args.import)?;
    notes.iter().for_each(|text| note(text));
    let tasks = trace.tasks();
    let oldest_s = trace.span_s() - MOST_RECORDED_S;
    let inside = &tasks[tasks.partition_point(|task| task.arrival_s < oldest_s)..];
    let newest = &inside[inside.len().saturating_sub(MOST_RECORDED)..];
    if newest.len() < tasks.len() {
        let (newest, all) = (count(newest.len() as u64), count(tasks.len() as u64));
        note(&format!("trace `{}`: the pool learns from the newest {newest} of {all} tasks", trace.name()));
    }
    let first_s = newest.first().map_or(0.0, |task| task.arrival_s);
    let rows = newest.iter().map(|task| RecordedTask {
        arrival_s: to_ms(task.arrival_s - first_s),
        service_s: to_ms(task.service_s),
        session: task.session.map(|session| session.to_string()),
        // Rounding must not move an announcement behind its arrival.
        announced_s: task.announced_s.map(|at| to_ms(at - first_s).min(to_ms(task.arrival_s - first_s))),
    });
    let rows = serde_json::to_value(rows.collect::<Vec<_>>()).context("the tasks have no JSON form")?;
    let recorded = began_s.map(|began_s| Timestamp::from_micros(((began_s + trace.span_s()) * 1e6) as i64));
    let mut body = Map::from_iter([("tasks".to_owned(), rows)]);
    if let Some(ended) = args.ended.or(recorded) {
        body.insert("ended_at".to_owned(), ended.to_string().into());
    }
    if args.replace {
        body.insert("replace".to_owned(), true.into());
    }
    Ok(Value::Object(body))
}

fn to_ms(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

fn render(report: &Value) -> String {
    let text = |name: &str| fields::text(report, name);
    match report["from_pool"].as_str() {
        Some(other) => format!(
            "{} has learned from {other} how long its agents take: {} tasks; how many tasks come it learns itself",
            text("pool"),
            text("tasks")
        ),
        None => format!(
            "{} has learned from {} tasks in {}; it had learned from {} tasks before",
            text("pool"),
            text("tasks"),
            fields::secs(report, "span_s"),
            text("tasks_before")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_may_stand_before_the_file_or_be_the_only_one() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let cases = [
            (words(&["coder", "past.csv"]), (Some("coder"), "past.csv")),
            (words(&["coder=past.csv"]), (Some("coder"), "past.csv")),
            (words(&["past.csv"]), (None, "past.csv")),
            (words(&["-"]), (None, "-")),
        ];
        for (words, expected) in cases {
            assert_eq!(named(&words), expected, "{words:?}");
        }
        assert!(pool_alone(&words(&["a", "b"])).is_err());
    }

    #[test]
    fn what_was_learned_is_said_in_a_sentence() {
        let recording = json!({"pool": "coder", "tasks": 1200, "span_s": 3600.0, "tasks_before": 7});
        assert_eq!(
            render(&recording),
            "coder has learned from 1,200 tasks in 1 h 0 min; it had learned from 7 tasks before"
        );
        let other = json!({"pool": "writer", "tasks": 1200, "from_pool": "coder", "tasks_before": 0});
        assert!(render(&other).starts_with("writer has learned from coder how long"), "{}", render(&other));
    }
}
