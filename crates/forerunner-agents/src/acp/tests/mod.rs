//! A scripted agent in Python that behaves, or misbehaves in ways that were seen of real agents.

mod conversations;
mod failures;
mod hostile;
mod permissions;

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use forerunner_context::{Item, Limits, Snapshot};
use forerunner_core::{AgentId, AgentRequest, ContextId, Payload, PoolName, TaskId, Timestamp};
use forerunner_runtime::agent::{AgentContext, AgentError, AttemptRequest, Driver, StartRequest};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{AcpSpec, PermissionMode, driver::AcpDriver, factory::AcpFactory};

/// Longest time a test waits for what should happen at once, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

/// A scripted agent, and its settings. `dir` has the script and the working directories.
struct Rig {
    dir: TempDir,
    spec: AcpSpec,
}

impl Rig {
    /// An agent that differs from a plain one by these words.
    fn new(words: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("agent.py");
        fs::write(&script, include_str!("agent.py")).unwrap();
        let mut spec = AcpSpec::new(None, ["python3", "-S", script.to_str().unwrap()]);
        spec.env.insert("FAKE".to_owned(), words.to_owned());
        spec.workspace = Some(dir.path().join("work"));
        spec.session_files = vec![".fake/sessions/{session}.jsonl".to_owned()];
        spec.permissions = PermissionMode::Allow;
        spec.version = if words.contains("v2") { 2 } else { 1 };
        Self { dir, spec }
    }

    fn with(mut self, change: impl FnOnce(&mut AcpSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    async fn launch(&self) -> Result<AcpDriver, AgentError> {
        let agent = AgentId::from_parts(Timestamp::default(), next_number());
        let request = StartRequest { agent, pool: PoolName::new("pool").unwrap(), dictionary: None };
        AcpFactory::new(self.spec.clone()).unwrap().launch(request).await
    }

    async fn start(&self) -> AcpDriver {
        timeout(SOON, self.launch()).await.unwrap().unwrap()
    }
}

fn next_number() -> u128 {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    u128::from(NUMBER.fetch_add(1, Ordering::Relaxed)) | u128::from(std::process::id()) << 32
}

fn attempt(prompt: &str) -> AttemptRequest {
    AttemptRequest {
        task: TaskId::from_parts(Timestamp::default(), next_number()),
        attempt: 1,
        depth: 0,
        input: Payload::from_value(prompt).unwrap(),
        deadline: Timestamp::from_micros(1_000_000),
        traceparent: None,
        requests: Vec::new(),
    }
}

/// A conversation, as the node stores it.
struct Talk {
    id: ContextId,
    version: u64,
    items: Vec<Item>,
}

impl Talk {
    fn new(id: &str) -> Self {
        Self { id: ContextId::new(id).unwrap(), version: 0, items: Vec::new() }
    }

    fn context(&self, attempt: &AttemptRequest, cancel: CancellationToken) -> AgentContext {
        let snapshot = Snapshot::from_items(self.items.iter().cloned(), Limits::default()).unwrap();
        AgentContext::new(attempt.task, Some(self.id.clone()), self.version, snapshot, cancel, Box::new(()))
    }

    /// Runs a turn, and stores the context if it succeeded.
    async fn run(&mut self, driver: &mut AcpDriver, attempt: &AttemptRequest) -> Result<String, AgentError> {
        let mut cx = self.context(attempt, CancellationToken::new());
        let output = timeout(SOON, driver.run(attempt, &mut cx)).await.unwrap()?;
        if output != Payload::null() {
            (self.items, self.version) = (cx.items().to_vec(), self.version + 1);
        }
        Ok(text(&output))
    }

    async fn says(&mut self, driver: &mut AcpDriver, prompt: &str) -> String {
        self.run(driver, &attempt(prompt)).await.unwrap()
    }
}

/// The text of an output; nothing if the attempt asks.
fn text(output: &Payload) -> String {
    let value: serde_json::Value = output.read().unwrap();
    value.get("text").and_then(|text| text.as_str()).unwrap_or_default().to_owned()
}

/// Runs a task without a context.
async fn alone(driver: &mut AcpDriver, attempt: &AttemptRequest) -> Result<String, AgentError> {
    let mut cx = AgentContext::detached(attempt.task);
    let output = timeout(SOON, driver.run(attempt, &mut cx)).await.unwrap()?;
    Ok(text(&output))
}

/// The attempt, continued with an answer to what was asked.
fn answered(attempt: &AttemptRequest, question: forerunner_core::Question, answer: &str) -> AttemptRequest {
    let mut requests = attempt.requests.clone();
    AgentRequest::ask(&mut requests, question, None, Timestamp::default());
    let id = requests.last().unwrap().id.clone();
    let answer = Payload::from_value(answer).unwrap();
    let forerunner_core::Answering::Store(requests) =
        AgentRequest::answer(&requests, &id, &answer, Timestamp::default()).unwrap()
    else {
        panic!("it is answered once");
    };
    AttemptRequest { requests, ..attempt.clone() }
}
