//! Submits the tasks of a file in batches.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use clap::Args;
use forerunner_console::{
    Usage, fields,
    json::Answer,
    output::{Output, count, note},
    progress,
    terminal::harmless_lines,
};
use forerunner_core::{IdempotencyKey, parse_duration};
use forerunner_http::ProblemType;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use tokio::time::Instant;

use super::lines::{Line, LineError, Lines, key};
use crate::client::{Call, Client, Problem, encode};

/// Most tasks of a batch: the limit of the service.
const MOST_TASKS: usize = 1_000;
/// Bytes of a batch beyond which no line is added: well below the limit of the service.
const FULL_BYTES: usize = 4 << 20;
/// How long to continue without an accepted task, by default.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Shortest and longest wait before what was refused is sent again.
const WAITS: std::ops::RangeInclusive<u64> = 1..=60;

/// Which file, and how its tasks are sent.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Submit the tasks of a file, one JSON object a line, as in the HTTP API; - for standard input.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = [
        "input", "context", "priority", "run_at", "deadline", "timeout", "max_attempts", "labels", "idempotency_key",
        "wait", "count",
    ])]
    pub file: Option<String>,
    /// Give each line that has no key the key PREFIX-LINE: the same command on the same file then makes no task twice.
    #[arg(long, value_name = "PREFIX", requires = "file")]
    key_prefix: Option<String>,
    /// How long to repeat tasks that a full queue or a draining node rejects, since a task was last accepted [default:
    /// 60s].
    #[arg(long, value_name = "DURATION", requires = "file", value_parser = parse_duration)]
    max_wait: Option<Duration>,
}

impl FileArgs {
    /// Rejects flags about a file without a file. The parser accepts them beside flags that exclude a file.
    pub fn refuse_without_file(&self) -> anyhow::Result<()> {
        let given = [("--key-prefix", self.key_prefix.is_some()), ("--max-wait", self.max_wait.is_some())];
        match given.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => {
                Err(Usage(format!("{flag} is for the lines of a file; add --file FILE, or leave it out")).into())
            }
            None => Ok(()),
        }
    }
}

/// Submits all tasks of a file, in its order.
pub async fn run(client: &Client, pool: &str, file: &str, args: &FileArgs, out: &Output) -> anyhow::Result<()> {
    let prefix = args.key_prefix.as_deref();
    if prefix == Some("") {
        return Err(Usage(
            "--key-prefix is empty; use a name of this file, so that no other has the same keys".to_owned(),
        )
        .into());
    }
    if let Some(Err(error)) = prefix.map(|prefix| IdempotencyKey::new(key(prefix, u64::MAX))) {
        return Err(Usage(format!("--key-prefix: {error}, the number of the line included")).into());
    }
    let mut lines = Lines::open(file)?;
    // From here on, a missing answer means that the service has stopped.
    let _ = client.get(format!("/v1/pools/{}", encode(pool))).await?;
    let path = format!("/v1/pools/{}/tasks:batch", encode(pool));
    let mut progress =
        SubmitProgress { out, bar: progress::counter("accepted"), accepted: 0, known: 0, refused: 0, gone: None };
    let sent = send_all(client, &path, &mut lines, args, &mut progress).await;
    progress.finish(sent)
}

async fn send_all(
    client: &Client,
    path: &str,
    lines: &mut Lines,
    args: &FileArgs,
    progress: &mut SubmitProgress<'_>,
) -> anyhow::Result<()> {
    let max_wait = args.max_wait.unwrap_or(MAX_WAIT);
    let mut waiting = VecDeque::new();
    let mut moved = Instant::now();
    loop {
        let whole = fill(&mut waiting, lines, args.key_prefix.as_deref(), progress)?;
        if waiting.is_empty() {
            return Ok(());
        }
        let batch = take(&mut waiting);
        let before = progress.accepted;
        let later = send(client, path, batch, progress).await?;
        if progress.accepted > before {
            moved = Instant::now();
        }
        let left = max_wait.saturating_sub(moved.elapsed());
        match later.iter().map(|(_, problem)| problem.retry_after_s.unwrap_or(1)).max() {
            Some(_) if left.is_zero() => return give_up(later, whole && waiting.is_empty(), progress),
            Some(secs) => {
                progress.bar.set_message("waiting");
                let wait = Duration::from_secs(secs.clamp(*WAITS.start(), *WAITS.end()));
                tokio::time::sleep(wait.min(left)).await;
                progress.bar.set_message("");
            }
            None => {}
        }
        for (line, _) in later.into_iter().rev() {
            waiting.push_front(line);
        }
    }
}

/// Makes a batch of the first lines. A line that is too large for a batch is sent alone, and rejected alone.
fn take(waiting: &mut VecDeque<Line>) -> Vec<Line> {
    let mut bytes = 0;
    let fits = waiting.iter().take_while(|line| {
        bytes += line.text.len();
        bytes <= FULL_BYTES
    });
    let count = fits.count().max(1);
    waiting.drain(..count).collect()
}

/// Adds lines up to what a batch may have; answers whether there are no more.
fn fill(
    waiting: &mut VecDeque<Line>,
    lines: &mut Lines,
    key_prefix: Option<&str>,
    progress: &mut SubmitProgress<'_>,
) -> anyhow::Result<bool> {
    let mut bytes: usize = waiting.iter().map(|line| line.text.len()).sum();
    while waiting.len() < MOST_TASKS && bytes < FULL_BYTES {
        let Some((number, text)) = lines.next()? else { return Ok(true) };
        match Line::read(number, &text, key_prefix) {
            Ok(line) => {
                bytes += line.text.len();
                waiting.push_back(line);
            }
            Err(no_task) => progress.not_sent(number, no_task)?,
        }
    }
    Ok(false)
}

/// Sends a batch and reports the results; returns the tasks that may be sent again, and the reason.
async fn send(
    client: &Client,
    path: &str,
    batch: Vec<Line>,
    progress: &mut SubmitProgress<'_>,
) -> anyhow::Result<Vec<(Line, Problem)>> {
    // A line of the file is a line of the body.
    let texts: Vec<&str> = batch.iter().map(|line| line.text.as_str()).collect();
    let body = format!("{{\"tasks\":[\n{}\n]}}", texts.join(",\n"));
    let answer = match client.send(Call::post(path).json_text(body)).await {
        Ok(answer) => answer,
        Err(error) => return all_refused(error, batch, progress),
    };
    let results = answer.list("results");
    anyhow::ensure!(results.len() == batch.len(), "the service returned {} results of {}", results.len(), batch.len());
    let mut later = Vec::new();
    for (line, result) in batch.into_iter().zip(results) {
        let Some(problem) = result.get("problem") else {
            progress.accepted(line.number, &result)?;
            continue;
        };
        let refused: Problem = serde_json::from_value(problem.clone())?;
        if may_repeat(&line, &refused) {
            later.push((line, refused));
        } else {
            progress.refused(line.number, problem)?;
        }
    }
    Ok(later)
}

/// A batch that was answered as a whole, or not at all.
fn all_refused(
    error: anyhow::Error,
    batch: Vec<Line>,
    progress: &mut SubmitProgress<'_>,
) -> anyhow::Result<Vec<(Line, Problem)>> {
    let place = place_of(batch.iter());
    let Some(problem) = error.downcast_ref::<Problem>() else {
        if batch.iter().all(|line| line.keyed) {
            let title = "No service answers".to_owned();
            let problem = || Problem { title: title.clone(), detail: format!("{error:#}"), ..Problem::default() };
            let later = batch.into_iter().map(|line| (line, problem())).collect();
            progress.gone = Some(error);
            return Ok(later);
        }
        let unknown = "may have been accepted; with --key-prefix the command could be repeated";
        return Err(error.context(format!("{place} {unknown}")));
    };
    if let [line] = &batch[..]
        && problem.is("payload-too-large")
    {
        progress.refused(line.number, &serde_json::to_value(problem)?)?;
        return Ok(Vec::new());
    }
    if batch.iter().all(|line| may_repeat(line, problem)) {
        return Ok(batch.into_iter().map(|line| (line, problem.clone())).collect());
    }
    Err(error.context(place))
}

/// Names lines that follow each other.
fn place_of<'a>(mut lines: impl Iterator<Item = &'a Line>) -> String {
    let first = lines.next().map_or(0, |line| line.number);
    match lines.last() {
        Some(last) => format!("lines {first} to {}", last.number),
        None => format!("line {first}"),
    }
}

/// Whether a rejected task may be accepted later. A task with an unknown outcome is repeated only if that creates no
/// second task.
fn may_repeat(line: &Line, problem: &Problem) -> bool {
    let unknown = problem.is("store-unavailable") || problem.is("outcome-unknown");
    is_undone(problem) || (unknown && line.keyed)
}

fn is_undone(problem: &Problem) -> bool {
    ["queue-full", "queue-bytes-full", "shutting-down"].iter().any(|kind| problem.is(kind))
}

fn give_up(later: Vec<(Line, Problem)>, whole: bool, progress: &mut SubmitProgress<'_>) -> anyhow::Result<()> {
    let last = later.last().map_or(0, |(line, _)| line.number);
    let (undone, unsure): (Vec<_>, Vec<_>) = later.into_iter().partition(|(_, problem)| is_undone(problem));
    for (line, problem) in undone {
        progress.refused(line.number, &serde_json::to_value(problem)?)?;
    }
    let rest = if whole { String::new() } else { format!("lines after {last} were not sent") };
    if let Some((_, problem)) = unsure.last() {
        let why = progress.gone.take().unwrap_or_else(|| anyhow::Error::new(problem.clone()));
        let rest = if whole { rest } else { format!(", and {rest}") };
        let place = place_of(unsure.iter().map(|(line, _)| line));
        return Err(why.context(format!("{place} may have been accepted{rest}; repeat the command")));
    }
    anyhow::ensure!(whole, rest);
    Ok(())
}

/// The messages to the user.
struct SubmitProgress<'a> {
    out: &'a Output,
    bar: ProgressBar,
    accepted: u64,
    known: u64,
    refused: u64,
    /// The last error of the connection when there was no answer.
    gone: Option<anyhow::Error>,
}

impl SubmitProgress<'_> {
    fn accepted(&mut self, line: u64, result: &Answer) -> anyhow::Result<()> {
        self.accepted += 1;
        self.known += u64::from(result["replayed"] == true);
        self.bar.inc(1);
        let progress = LineResult { line, result: result.members() };
        self.bar.suspend(|| self.out.show_line(&progress, || fields::text(result, "task.id")))
    }

    fn refused(&mut self, line: u64, problem: &Value) -> anyhow::Result<()> {
        self.refused += 1;
        let problem = of_line(problem, line);
        if self.out.is_json() {
            let progress = json!({ "line": line, "status": problem["status"], "problem": problem });
            return self.bar.suspend(|| self.out.show_line(&progress, String::new));
        }
        let shown: Problem = serde_json::from_value(problem)?;
        self.bar.suspend(|| note(&harmless_lines(&format!("line {line}: {shown}"))));
        Ok(())
    }

    /// A line that was not sent, since it is no task.
    fn not_sent(&mut self, line: u64, no_task: LineError) -> anyhow::Result<()> {
        let kind = ProblemType::named(no_task.kind);
        let problem = Problem {
            kind: kind.map(ProblemType::reference).unwrap_or_default(),
            title: kind.map_or("", |kind| kind.title).to_owned(),
            status: kind.map_or(400, |kind| kind.status),
            detail: no_task.why,
            retry_after_s: None,
        };
        self.refused(line, &serde_json::to_value(problem)?)
    }

    fn finish(self, sent: anyhow::Result<()>) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        let known =
            if self.known > 0 { format!(" ({} known by their keys)", count(self.known)) } else { String::new() };
        let summary = format!("{} accepted{known}, {} refused", count(self.accepted), count(self.refused));
        if self.accepted > 0 || self.refused > 0 || sent.is_ok() {
            note(&summary);
        }
        sent?;
        let lines = if self.refused == 1 { "line was" } else { "lines were" };
        anyhow::ensure!(self.refused == 0, "{} {lines} refused", count(self.refused));
        Ok(())
    }
}

/// What became of a line, as the service wrote it.
#[derive(Serialize)]
struct LineResult<'a> {
    line: u64,
    #[serde(flatten)]
    result: BTreeMap<String, &'a RawValue>,
}

/// Reports a problem by its place in the file, not in the batch.
fn of_line(problem: &Value, line: u64) -> Value {
    let mut problem = problem.clone();
    let Some(members) = problem.as_object_mut() else { return problem };
    let mut detail = members.get("detail").and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(index) = members.remove("index") {
        detail = detail.strip_prefix(&format!("tasks[{index}]: ")).map_or(detail.clone(), str::to_owned);
    }
    if let (Some(of_body), Some(column)) = (members.get("line").cloned(), members.get("column").cloned()) {
        detail = detail.replace(&format!(" at line {of_body} column {column}"), &format!(" at column {column}"));
        members.insert("line".to_owned(), line.into());
    }
    members.insert("detail".to_owned(), detail.into());
    problem
}

#[cfg(test)]
mod tests {
    use forerunner_console::output::Format;

    use super::*;
    use crate::exit::NotReachable;

    fn line(keyed: bool) -> Line {
        Line { number: 1, text: "{}".to_owned(), keyed }
    }

    #[test]
    fn only_what_passes_is_repeated_and_what_may_be_done_only_with_a_key() {
        for (kind, plain, keyed) in [
            ("queue-full", true, true),
            ("shutting-down", true, true),
            ("store-unavailable", false, true),
            ("outcome-unknown", false, true),
            ("internal", false, false),
            ("invalid-body", false, false),
            ("idempotency-key-reused", false, false),
        ] {
            let problem = Problem { kind: format!("/problems/{kind}"), ..Problem::default() };
            assert_eq!(
                (may_repeat(&line(false), &problem), may_repeat(&line(true), &problem)),
                (plain, keyed),
                "{kind}"
            );
        }
    }

    fn reported(out: &Output) -> SubmitProgress<'_> {
        SubmitProgress { out, bar: ProgressBar::hidden(), accepted: 0, known: 0, refused: 0, gone: None }
    }

    #[test]
    fn a_service_that_went_away_is_tried_again_only_where_that_makes_no_second_task() {
        let out = Output::new(Format::Table);
        let mut progress = reported(&out);
        let gone = || NotReachable { server: "http://x".to_owned(), reason: "reset".to_owned() }.into();
        let later = all_refused(gone(), vec![line(true)], &mut progress).unwrap();
        assert!(later[0].1.to_string().starts_with("no service answers at http://x: reset"), "{}", later[0].1);
        let unsure = give_up(later, false, &mut progress).unwrap_err();
        assert_eq!((crate::exit::code(&unsure), progress.refused), (3, 0), "it may be there");
        let said = "line 1 may have been accepted, and lines after 1 were not sent; repeat the command";
        assert_eq!(unsure.to_string(), said);
        let unknown = all_refused(gone(), vec![line(true), line(false)], &mut progress).unwrap_err();
        assert_eq!(crate::exit::code(&unknown), 3);
        assert!(unknown.to_string().contains("lines 1 to 1 may have been accepted"), "{unknown}");
    }

    #[test]
    fn what_a_full_queue_refused_to_the_end_is_refused() {
        let out = Output::new(Format::Table);
        let mut progress = reported(&out);
        let full = Problem { kind: "/problems/queue-full".to_owned(), ..Problem::default() };
        give_up(vec![(line(true), full.clone())], true, &mut progress).unwrap();
        let error = give_up(vec![(line(true), full)], false, &mut progress).unwrap_err();
        assert_eq!((error.to_string().as_str(), progress.refused), ("lines after 1 were not sent", 2));
    }

    #[test]
    fn a_line_that_is_too_large_for_a_batch_goes_and_is_refused_alone() {
        let sized = |bytes: usize| Line { text: "x".repeat(bytes), ..line(false) };
        let mut waiting: VecDeque<_> = [10, FULL_BYTES, 20, 30].map(sized).into();
        let batches: Vec<Vec<usize>> = std::iter::from_fn(|| {
            let batch = (!waiting.is_empty()).then(|| take(&mut waiting))?;
            Some(batch.iter().map(|line| line.text.len()).collect())
        })
        .collect();
        assert_eq!(batches, [vec![10], vec![FULL_BYTES], vec![20, 30]]);
        let out = Output::new(Format::Table);
        let mut progress = reported(&out);
        let large = Problem { kind: "/problems/payload-too-large".to_owned(), ..Problem::default() };
        assert!(all_refused(large.clone().into(), vec![line(false)], &mut progress).unwrap().is_empty());
        assert_eq!(progress.refused, 1);
        assert!(all_refused(large.into(), vec![line(false), line(false)], &mut progress).is_err());
    }

    #[test]
    fn a_problem_is_told_by_the_line_of_the_file() {
        let problem = json!({
            "type": "/problems/unknown-field", "status": 400, "index": 6, "line": 8, "column": 22,
            "detail": "tasks[6]: unknown field `prioritty`, expected `priority` at line 8 column 22; did you mean `priority`?",
        });
        let progress = of_line(&problem, 1_234);
        assert_eq!(
            progress["detail"],
            "unknown field `prioritty`, expected `priority` at column 22; did you mean `priority`?"
        );
        assert_eq!((&progress["line"], progress.get("index")), (&json!(1_234), None));
        let full = of_line(&json!({ "type": "/problems/queue-full", "detail": "pool `a` is full", "index": 3 }), 9);
        assert_eq!(full, json!({ "type": "/problems/queue-full", "detail": "pool `a` is full" }));
    }
}
