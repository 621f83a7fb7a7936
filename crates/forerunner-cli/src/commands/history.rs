//! `forerunner history`: what a service has done, to be replayed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use forerunner_console::{
    Usage, fields,
    output::{self, Output, count, pairs, seconds},
    progress,
};
use forerunner_core::{Clock, Timestamp, parse_duration};
use forerunner_lab::history::{self, FinishedTask, FinishedTasks};
use forerunner_runtime::SystemClock;
use serde::Serialize;

use crate::{
    client::{Client, encode},
    server_args::ServerArgs,
};

/// Tasks in one request.
const PAGE: usize = 1_000;

/// What to do with the history.
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Write the finished tasks of a pool as a trace that `forerunner replay` reads.
    Export(ExportArgs),
}

const AFTER_HELP: &str = "\
One line for each task that an agent worked on and that has ended:
  arrival_s       when it was due, in seconds since the first one
  service_s       from the start to the end of its last attempt
  context_tokens  empty: the history does not have the size of a context at the time of a task
  output_tokens   empty: the history does not have it
  session         which tasks share a context. Contexts have numbers, since their ids may contain personal data;
                  --keep-context-ids writes the ids
The export lacks tasks that the node removed after their retention.

Example:
  forerunner history export --pool coder --from 24h -o coder.csv.gz && forerunner replay coder.csv.gz";

/// What to export, and where to.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ExportArgs {
    /// The pool.
    #[arg(long, value_name = "POOL")]
    pool: String,
    /// Only tasks due at or after this time: RFC 3339, or a duration before now, such as 24h.
    #[arg(long, value_parser = time, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only tasks due before this time.
    #[arg(long, value_parser = time, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Where to write; in gzip if the name ends in `.gz`. Default, and for `-`: standard output.
    #[arg(short = 'o', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Writes ids of contexts instead of numbers.
    #[arg(long)]
    keep_context_ids: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl ExportArgs {
    /// The file to write, unless it is standard output.
    fn path(&self) -> Option<&Path> {
        self.file.as_deref().filter(|path| *path != Path::new("-"))
    }
}

/// What was exported.
#[derive(Debug, Serialize)]
struct Summary {
    pool: String,
    tasks: usize,
    /// Ended without an agent: cancelled or expired while they waited.
    skipped: u64,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    span_s: f64,
    busy_s: f64,
    contexts: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
}

/// Exports the history.
pub async fn run(command: HistoryCommand, out: &Output) -> anyhow::Result<()> {
    let HistoryCommand::Export(args) = command;
    let client = args.server.client()?;
    let finished = fetch(&client, &args).await?;
    let trace = history::write(&finished.tasks, args.keep_context_ids);
    let summary = summary(&args, &finished, &trace);
    match args.path() {
        Some(path) => {
            history::save(path, &trace.text).with_context(|| format!("cannot write `{}`", path.display()))?;
            out.show(&summary, || render(&summary))
        }
        // Standard output is the trace's.
        None => {
            output::note(&out.faint(&render(&summary)));
            out.file(trace.text.trim_end())
        }
    }
}

async fn fetch(client: &Client, args: &ExportArgs) -> anyhow::Result<FinishedTasks> {
    let pool = client.get(format!("/v1/pools/{}", encode(&args.pool))).await?;
    let bar = progress::bar(fields::number(&pool, "finished").unwrap_or(0.0) as u64, "tasks");
    let first = format!("/v1/tasks?pool={}&limit={PAGE}", encode(&args.pool));
    let mut finished = FinishedTasks::between(args.from, args.to);
    let mut path = first.clone();
    loop {
        let page = client.get(path).await?;
        let tasks = fields::list(&page, "tasks");
        bar.inc(tasks.len() as u64);
        for task in tasks {
            finished.add(FinishedTask::read(task)?);
        }
        match fields::at(&page, "next").and_then(serde_json::Value::as_str) {
            Some(next) => path = format!("{first}&cursor={}", encode(next)),
            None => break,
        }
    }
    bar.finish_and_clear();
    finished.sort();
    if finished.tasks.is_empty() {
        let text = format!(
            "pool `{}` has no finished tasks in that time; use a wider --from and --to, or export later",
            args.pool
        );
        anyhow::bail!(text);
    }
    Ok(finished)
}

fn summary(args: &ExportArgs, finished: &FinishedTasks, trace: &history::TraceText) -> Summary {
    let (first, last) = (finished.tasks.first(), finished.tasks.last());
    Summary {
        pool: args.pool.clone(),
        tasks: finished.tasks.len(),
        skipped: finished.skipped,
        from: first.map(|task| task.due),
        to: last.map(|task| task.due),
        span_s: first.zip(last).map_or(0.0, |(first, last)| last.due.since(first.due).as_secs_f64()),
        busy_s: finished.tasks.iter().map(|task| task.service_s).sum(),
        contexts: trace.contexts,
        file: args.path().map(Path::to_path_buf),
    }
}

fn render(summary: &Summary) -> String {
    let at = |time: Option<Timestamp>| time.map_or_else(|| fields::NOTHING.to_owned(), |time| time.to_string());
    let mut rows = vec![
        ("pool", summary.pool.clone()),
        ("tasks", count(summary.tasks as u64)),
        ("left out", format!("{} that no agent worked on", count(summary.skipped))),
        ("first due", at(summary.from)),
        ("last due", at(summary.to)),
        ("span", seconds(summary.span_s)),
        ("work", seconds(summary.busy_s)),
        ("contexts", count(summary.contexts as u64)),
    ];
    if let Some(path) = &summary.file {
        rows.push(("file", path.display().to_string()));
    }
    pairs(rows)
}

/// Reads a time, or a duration before now.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let ago = parse_duration(text).map(|ago| SystemClock.now() - ago);
    ago.or_else(|_| text.parse()).map_err(|_| {
        Usage("write a time as 2026-01-31T12:00:00Z, or a duration before now of 3650d at most, such as 24h".to_owned())
            .to_string()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        export: ExportArgs,
    }

    #[test]
    fn a_dash_is_standard_output_and_no_file() {
        for (file, path) in [(None, None), (Some("-"), None), (Some("./-"), Some(Path::new("./-")))] {
            let line = ["export", "--pool", "a"].into_iter().chain(file.into_iter().flat_map(|file| ["-o", file]));
            assert_eq!(Line::parse_from(line).export.path(), path);
        }
    }
}
