//! A conversation with an agent, as the runtime runs it.

use std::sync::{Arc, Mutex};

use forerunner_context::Snapshot;
use forerunner_core::{AgentId, ContextId, Payload, PoolName, TaskId, Timestamp};
use forerunner_runtime::agent::{
    AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, ProgressSink, StartRequest,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub(crate) async fn start(factory: &Arc<dyn DriverFactory>) -> Result<Box<dyn Driver>, AgentError> {
    let agent = AgentId::from_parts(Timestamp::default(), 1);
    factory.start(StartRequest { agent, pool: PoolName::new("chat").unwrap(), dictionary: None }).await
}

/// Collects what watchers of a task see of its output.
#[derive(Default, Clone)]
pub(crate) struct Watcher(Arc<Mutex<Vec<String>>>);

impl Watcher {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().concat()
    }
}

impl ProgressSink for Watcher {
    fn progress(&self, _: &str) {}
    fn output(&self, chunk: &str) {
        self.0.lock().unwrap().push(chunk.to_owned());
    }
}

/// A conversation whose next attempt finds what the last one stored.
pub(crate) struct Conversation {
    id: ContextId,
    snapshot: Snapshot,
    pub(crate) watcher: Watcher,
}

impl Conversation {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: ContextId::new(id).unwrap(), snapshot: Snapshot::new(), watcher: Watcher::default() }
    }

    pub(crate) async fn turn(&mut self, driver: &mut Box<dyn Driver>, input: &Value) -> Result<Value, AgentError> {
        let mut cx = self.context(CancellationToken::new());
        let output = driver.run(&attempt(input), &mut cx).await?;
        self.snapshot = cx.into_snapshot();
        Ok(serde_json::from_str(output.as_str()).unwrap())
    }

    pub(crate) fn context(&self, cancel: CancellationToken) -> AgentContext {
        let task = TaskId::from_parts(Timestamp::default(), 1);
        AgentContext::new(task, Some(self.id.clone()), 0, self.snapshot.clone(), cancel, Box::new(self.watcher.clone()))
    }

    pub(crate) fn items(&self) -> Vec<Value> {
        self.snapshot.items().iter().map(|item| serde_json::from_slice(item.bytes()).unwrap()).collect()
    }
}

pub(crate) fn attempt(input: &Value) -> AttemptRequest {
    AttemptRequest {
        task: TaskId::from_parts(Timestamp::default(), 1),
        attempt: 1,
        depth: 0,
        input: Payload::from_value(input).unwrap(),
        deadline: Timestamp::default(),
        traceparent: None,
        requests: Vec::new(),
    }
}
