//! What an agent's code sees of its task's context.

use std::sync::atomic::{AtomicBool, Ordering};

use forerunner_context::{Item, Limits, Snapshot};
use forerunner_core::{ContextId, TaskId};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use super::AgentError;

/// Takes what an agent says while it works.
pub trait ProgressSink: Send + Sync {
    /// A line for people.
    fn progress(&self, text: &str);
    /// A piece of the output.
    fn output(&self, chunk: &str);
}

/// Hears nothing.
impl ProgressSink for () {
    fn progress(&self, _text: &str) {}
    fn output(&self, _chunk: &str) {}
}

/// The memory of a conversation and the line to whoever waits for the task.
///
/// Items are JSON values: messages, tool calls, anything. What an agent changes is stored with its result, in one
/// transaction, as the difference to what it was given; if the attempt fails, nothing of it is kept. A task without a
/// context has an empty memory that ends with it.
pub struct AgentContext {
    task: TaskId,
    id: Option<ContextId>,
    version: u64,
    snapshot: Snapshot,
    cancel: CancellationToken,
    /// Whether code that runs elsewhere may know the token.
    lent: AtomicBool,
    sink: Box<dyn ProgressSink>,
}

impl AgentContext {
    /// Builds a context for one attempt.
    pub fn new(
        task: TaskId,
        id: Option<ContextId>,
        version: u64,
        snapshot: Snapshot,
        cancel: CancellationToken,
        sink: Box<dyn ProgressSink>,
    ) -> Self {
        Self { task, id, version, snapshot, cancel, lent: AtomicBool::new(false), sink }
    }

    /// An empty context for a test of an agent's own code.
    pub fn detached(task: TaskId) -> Self {
        Self::new(task, None, 0, Snapshot::new(), CancellationToken::new(), Box::new(()))
    }

    /// Returns the task.
    pub const fn task(&self) -> TaskId {
        self.task
    }

    /// Returns the context's id, if the task has one.
    pub const fn id(&self) -> Option<&ContextId> {
        self.id.as_ref()
    }

    /// Returns the stored version that the attempt began with; 0 for a new context.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Appends an item.
    ///
    /// # Errors
    /// When the value has no JSON form, or the context would grow over its limit.
    pub fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), AgentError> {
        let bytes = serde_json::to_vec(item)?;
        self.push_bytes(bytes)
    }

    /// Appends an item that is JSON already.
    ///
    /// # Errors
    /// When the context would grow over its limit.
    pub fn push_bytes(&mut self, bytes: Vec<u8>) -> Result<(), AgentError> {
        self.snapshot.push(bytes).map_err(|error| AgentError::too_large(error.to_string()))
    }

    /// Replaces the whole memory, as after a compaction. Unchanged items cost nothing to store.
    ///
    /// # Errors
    /// When the context would be over its limit.
    pub fn replace(&mut self, items: impl IntoIterator<Item = Vec<u8>>) -> Result<(), AgentError> {
        let items = items.into_iter().map(Item::new);
        self.snapshot =
            Snapshot::from_items(items, Limits::default()).map_err(|error| AgentError::too_large(error.to_string()))?;
        Ok(())
    }

    /// Returns the items, oldest first.
    pub fn items(&self) -> &[Item] {
        self.snapshot.items()
    }

    /// Reads all items as values of one type.
    ///
    /// # Errors
    /// When an item does not describe a `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, AgentError> {
        self.items().iter().map(|item| Ok(serde_json::from_slice(item.bytes())?)).collect()
    }

    /// Returns the size of all items, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.snapshot.size_bytes() as u64
    }

    /// Returns the items as one value.
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Takes the items out, for storing.
    pub fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }

    /// Tells whoever watches the task how it goes.
    pub fn progress(&self, text: impl AsRef<str>) {
        self.sink.progress(text.as_ref());
    }

    /// Streams a piece of the output to whoever watches the task.
    pub fn output(&self, chunk: impl AsRef<str>) {
        self.sink.output(chunk.as_ref());
    }

    /// Resolves when the attempt should stop: cancelled by request, past its timeout, or its lease is gone.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Returns whether the attempt should stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Returns the token behind [`AgentContext::cancelled`], for code that runs elsewhere.
    pub fn cancellation(&self) -> CancellationToken {
        self.lent.store(true, Ordering::Relaxed);
        self.cancel.clone()
    }

    pub(crate) fn is_cancellation_lent(&self) -> bool {
        self.lent.load(Ordering::Relaxed)
    }
}
