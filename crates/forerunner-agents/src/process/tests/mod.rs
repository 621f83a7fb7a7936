//! Agents that behave, and agents that do not: real processes, written in Python.

mod builtin;
mod cleanup;
mod confinement;
mod contexts;
mod death;
mod diagnosis;
mod document;
mod example;
mod lifecycle;
mod misbehaviour;
mod packing;
mod reports;
mod tasks;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use forerunner_context::{Dictionary, Item, Limits, Snapshot};
use forerunner_core::{AgentId, ContextId, ErrorKind, Payload, PoolName, TaskId, Timestamp};
use forerunner_runtime::agent::{AgentContext, AgentError, AttemptRequest, Driver, ProgressSink, StartRequest};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{ProcessDriver, ProcessFactory, ProcessSpec};

/// Longest time a test waits for what should happen at once, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

/// A script, and the settings with which it is started.
struct Rig {
    dir: TempDir,
    spec: ProcessSpec,
    /// The dictionary of the pool.
    dictionary: Option<Dictionary>,
}

impl Rig {
    /// An agent of these Python lines, after those of `agent.py`.
    fn python(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("agent.py");
        fs::write(&script, format!("{}\n{lines}\n", include_str!("agent.py"))).unwrap();
        let spec = ProcessSpec::new([python(), "-S", script.to_str().unwrap()]);
        Self { dir, spec, dictionary: None }
    }

    fn with(mut self, change: impl FnOnce(&mut ProcessSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    /// A file that the agent may write, named in its environment as `NOTES`.
    fn with_notes(self) -> Self {
        let notes = self.notes().to_str().unwrap().to_owned();
        self.with(|spec| drop(spec.env.insert("NOTES".into(), notes)))
    }

    fn notes(&self) -> PathBuf {
        self.dir.path().join("notes")
    }

    /// What the agent has written to its notes, a line each.
    fn read_notes(&self) -> Vec<String> {
        fs::read_to_string(self.notes()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    async fn launch(&self) -> Result<ProcessDriver, AgentError> {
        let request = StartRequest { dictionary: self.dictionary.clone(), ..start_request() };
        ProcessFactory::new(self.spec.clone()).unwrap().launch(request).await
    }

    async fn start(&self) -> ProcessDriver {
        self.launch().await.unwrap()
    }
}

/// The interpreter itself: `python3` may be a script that starts it, and sets variables of its own.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let question = ["-S", "-c", "import sys; print(sys.executable)"];
        let output = std::process::Command::new("python3").args(question).output().expect("these tests need python3");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
}

fn next_number() -> u128 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    u128::from(NUMBER.fetch_add(1, Ordering::Relaxed)) | u128::from(std::process::id()) << 32
}

fn start_request() -> StartRequest {
    let agent = AgentId::from_parts(Timestamp::default(), next_number());
    StartRequest { agent, pool: PoolName::new("pool").unwrap(), dictionary: None }
}

fn attempt(input: &str) -> AttemptRequest {
    let task = TaskId::from_parts(Timestamp::default(), next_number());
    AttemptRequest {
        task,
        attempt: 1,
        depth: 0,
        input: Payload::parse(input).unwrap(),
        deadline: Timestamp::from_micros(1_000_000),
        traceparent: None,
        requests: Vec::new(),
    }
}

fn no_context(attempt: &AttemptRequest) -> AgentContext {
    AgentContext::detached(attempt.task)
}

fn context(attempt: &AttemptRequest, id: &str, version: u64, items: &[&str]) -> AgentContext {
    let items = items.iter().map(|item| Item::new(item.as_bytes()));
    let snapshot = Snapshot::from_items(items, Limits::default()).unwrap();
    let id = ContextId::new(id).unwrap();
    AgentContext::new(attempt.task, Some(id), version, snapshot, CancellationToken::new(), Box::new(()))
}

fn texts(cx: &AgentContext) -> Vec<String> {
    cx.items().iter().map(|item| String::from_utf8(item.bytes().to_vec()).unwrap()).collect()
}

/// Runs a task without a context.
async fn run(driver: &mut ProcessDriver, input: &str) -> Result<String, AgentError> {
    let attempt = attempt(input);
    let output = driver.run(&attempt, &mut no_context(&attempt)).await?;
    Ok(output.as_str().to_owned())
}

/// Runs a task that must fail within bounded time.
async fn run_and_fail(driver: &mut ProcessDriver, input: &str) -> AgentError {
    timeout(SOON, run(driver, input)).await.expect("the task should end soon").unwrap_err()
}

async fn stop(driver: ProcessDriver) {
    timeout(SOON, Box::new(driver).stop(Duration::from_secs(5))).await.expect("the agent should stop soon");
}

/// Checks that the task failed by the fault of the agent, which is to be replaced.
#[track_caller]
fn assert_replaced(error: &AgentError, kind: ErrorKind, says: &str) {
    assert_eq!((error.kind(), error.is_retryable(), error.is_agent_usable()), (kind, true, false), "{error}");
    assert!(error.message().contains(says), "`{error}` does not say `{says}`");
}

/// Whether a process exists, be it as a zombie.
fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

/// Whether a process runs: a zombie does not. The process that adopted a grandchild reaps it at some later time.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < SOON, "never true: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Records the progress and output of an agent.
#[derive(Clone, Default)]
struct ProgressLog(Arc<Mutex<Vec<String>>>);

impl ProgressSink for ProgressLog {
    fn progress(&self, text: &str) {
        self.0.lock().push(format!("progress {text}"));
    }

    fn output(&self, chunk: &str) {
        self.0.lock().push(format!("output {chunk}"));
    }

    fn log(&self, source: forerunner_core::LogSource, level: forerunner_core::LogLevel, text: &str) {
        self.line(source, level, text);
    }
}

impl ProgressLog {
    fn context(&self, attempt: &AttemptRequest) -> AgentContext {
        let sink = Box::new(self.clone());
        AgentContext::new(attempt.task, None, 0, Snapshot::new(), CancellationToken::new(), sink)
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}
