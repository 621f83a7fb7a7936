//! The view that an agent's code has of its task's context.

use std::{
    collections::BTreeMap,
    ops::{Bound, RangeBounds},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use forerunner_context::{Item, Snapshot};
use forerunner_core::{ContextId, LogLevel, LogSource, Question, Task, TaskId};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use super::{AgentError, items, sink::AttemptSink};

/// Receives the progress, the output and the log that an agent writes while it works.
pub trait ProgressSink: Send + Sync {
    /// Receives a line for people.
    fn progress(&self, text: &str);
    /// Receives a piece of the output.
    fn output(&self, chunk: &str);
    /// Receives a line of the log.
    fn log(&self, _source: LogSource, _level: LogLevel, _text: &str) {}
}

/// Discards everything.
impl ProgressSink for () {
    fn progress(&self, _text: &str) {}
    fn output(&self, _chunk: &str) {}
}

/// The cost of moving a context to an agent with a memory of its own, and of moving its change back.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Transfer {
    /// Bytes that were sent to make the context resident in the agent.
    pub to_agent_bytes: u64,
    /// Bytes of its answer that describe its change of the context.
    pub from_agent_bytes: u64,
    /// Seconds until the context was resident.
    pub load_s: f64,
    /// Whether the agent no longer had a context that the node expected to be resident.
    pub agent_lost_it: bool,
    /// Whether all of the context was resident before anything was sent. `None` if the driver does not know.
    pub was_resident: Option<bool>,
}

/// The memory of a conversation, and the agent's connection to the clients that watch the task.
///
/// Items are JSON values, nested at most 100 deep: messages, tool calls, anything. Unpaired surrogates in them become
/// U+FFFD, so that every agent can read them. The agent's changes are stored with its result, in one transaction, as
/// the difference to the restored context. If the attempt fails, nothing of them is stored. A task without a context
/// has an empty memory that ends with it.
pub struct AgentContext {
    task: TaskId,
    id: Option<ContextId>,
    version: u64,
    snapshot: Snapshot,
    cancel: Arc<CancellationToken>,
    /// Whether other code may have the token.
    lent: AtomicBool,
    sink: Reports,
    transfer: Transfer,
    question: Option<Box<Question>>,
    usage: BTreeMap<String, u64>,
}

/// Where the reports of an agent go.
enum Reports {
    /// To the watchers of its task.
    Watchers(AttemptSink),
    Other(Box<dyn ProgressSink>),
}

impl Reports {
    fn sink(&self) -> &dyn ProgressSink {
        match self {
            Self::Watchers(sink) => sink,
            Self::Other(sink) => &**sink,
        }
    }
}

impl AgentContext {
    /// Creates the context of one attempt.
    pub fn new(
        task: TaskId,
        id: Option<ContextId>,
        version: u64,
        snapshot: Snapshot,
        cancel: CancellationToken,
        sink: Box<dyn ProgressSink>,
    ) -> Self {
        Self::made(task, id, version, snapshot, Arc::new(cancel), Reports::Other(sink))
    }

    /// Creates the context of an attempt whose reports go to the watchers of its task.
    pub(super) fn watched(
        task: &Task,
        version: u64,
        snapshot: Snapshot,
        cancel: Arc<CancellationToken>,
        sink: AttemptSink,
    ) -> Self {
        Self::made(task.id, task.context.clone(), version, snapshot, cancel, Reports::Watchers(sink))
    }

    /// Makes the context of an earlier attempt that of an attempt without a context.
    pub(super) fn reuse(&mut self, task: &Task, cancel: &Arc<CancellationToken>) {
        (self.task, self.id, self.version) = (task.id, None, 0);
        if !Arc::ptr_eq(&self.cancel, cancel) {
            self.cancel = cancel.clone();
        }
        if !self.snapshot.is_empty() {
            self.snapshot = Snapshot::new();
        }
        (self.transfer, self.question) = (Transfer::default(), None);
        self.usage.clear();
        if let Reports::Watchers(sink) = &mut self.sink {
            sink.turn_to(task);
        }
    }

    fn made(
        task: TaskId,
        id: Option<ContextId>,
        version: u64,
        snapshot: Snapshot,
        cancel: Arc<CancellationToken>,
        sink: Reports,
    ) -> Self {
        let (lent, transfer) = (AtomicBool::new(false), Transfer::default());
        Self { task, id, version, snapshot, cancel, lent, sink, transfer, question: None, usage: BTreeMap::new() }
    }

    /// Creates an empty context, for tests of an agent's own code.
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
    /// When the value has no JSON form or is nested too deep, or the context would grow over its limit.
    pub fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), AgentError> {
        let item = items::json_item(self.items().len(), serde_json::to_string(item)?)?;
        self.push_item(item)
    }

    /// Appends an item that is already JSON.
    ///
    /// # Errors
    /// When it is no JSON or is nested too deep, or the context would grow over its limit.
    pub fn push_bytes(&mut self, bytes: Vec<u8>) -> Result<(), AgentError> {
        let item = items::item(self.items().len(), bytes)?;
        self.push_item(item)
    }

    /// Appends an item that [`items::json_item`] created, or that is in this context already.
    ///
    /// # Errors
    /// When the context would grow over its limit.
    pub fn push_item(&mut self, item: Item) -> Result<(), AgentError> {
        self.snapshot.push_item(item).map_err(|error| AgentError::too_large(error.to_string()))
    }

    /// Replaces the whole memory, as after a compaction. Unchanged items cost nothing to store.
    ///
    /// # Errors
    /// When an item is no JSON or is nested too deep, or the context would be over its limit; nothing is changed then.
    pub fn replace(&mut self, items: impl IntoIterator<Item = Vec<u8>>) -> Result<(), AgentError> {
        let items = items.into_iter().enumerate().map(|(index, bytes)| items::item(index, bytes));
        let items: Vec<Item> = items.collect::<Result<_, _>>()?;
        self.replace_items(items)
    }

    /// Replaces a range of items, as when old tool outputs are cut or a middle part is summarised. Items outside of the
    /// range stay unchanged and cost nothing to store.
    ///
    /// # Errors
    /// When an item is not JSON or is nested too deep, the context would exceed its limit, or the range is outside of
    /// the context. The context is then unchanged.
    pub fn splice(
        &mut self,
        range: impl RangeBounds<usize>,
        items: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<(), AgentError> {
        let old = self.snapshot.items();
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => old.len(),
        };
        if start > end || end > old.len() {
            let message = format!("the context has {} items, no range from {start} to {end}", old.len());
            return Err(AgentError::fatal(message));
        }
        let kept = |items: &[Item]| items.to_vec();
        let new = items.into_iter().enumerate().map(|(at, bytes)| items::item(start + at, bytes));
        let new: Vec<Item> = new.collect::<Result<_, _>>()?;
        let all = kept(&old[..start]).into_iter().chain(new).chain(kept(&old[end..]));
        self.replace_items(all)
    }

    /// Replaces all items by items that [`items::json_item`] created, or that are in this context already.
    ///
    /// # Errors
    /// When the context would be over its limit. Nothing is changed then.
    pub fn replace_items(&mut self, items: impl IntoIterator<Item = Item>) -> Result<(), AgentError> {
        let limits = *self.snapshot.limits();
        self.snapshot =
            Snapshot::from_items(items, limits).map_err(|error| AgentError::too_large(error.to_string()))?;
        Ok(())
    }

    /// Adds the cost of a transfer of the context.
    pub fn add_transfer(&mut self, transfer: Transfer) {
        self.transfer.to_agent_bytes += transfer.to_agent_bytes;
        self.transfer.from_agent_bytes += transfer.from_agent_bytes;
        self.transfer.load_s += transfer.load_s;
        self.transfer.agent_lost_it |= transfer.agent_lost_it;
        self.transfer.was_resident = match (self.transfer.was_resident, transfer.was_resident) {
            (Some(before), Some(now)) => Some(before && now),
            (before, now) => before.or(now),
        };
    }

    /// Returns the cost of all transfers so far.
    pub const fn transfer(&self) -> Transfer {
        self.transfer
    }

    /// Asks a person. The task waits for the answer once the attempt returns, whatever it returns as its output: without
    /// an agent and without its lease. Changes of the context are not stored. The next attempt has the answer in
    /// [`AttemptRequest::requests`](super::AttemptRequest::requests). A later question replaces an earlier one.
    pub fn ask(&mut self, question: Question) {
        self.question = Some(Box::new(question));
    }

    /// Returns what the agent asks at the end of this attempt.
    pub fn question(&self) -> Option<&Question> {
        self.question.as_deref()
    }

    pub(crate) fn take_question(&mut self) -> Option<Box<Question>> {
        self.question.take()
    }

    /// Adds to what the task used, such as `input_tokens`. The task has the sum of all its attempts.
    pub fn add_usage(&mut self, name: impl Into<String>, count: u64) {
        let sum = self.usage.entry(name.into()).or_default();
        *sum = sum.saturating_add(count);
    }

    /// Returns what this attempt used so far.
    pub const fn usage(&self) -> &BTreeMap<String, u64> {
        &self.usage
    }

    pub(crate) fn take_usage(&mut self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.usage)
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

    /// Returns the items, to be stored.
    pub fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }

    /// Sends a line about the progress to the watchers of the task.
    pub fn progress(&self, text: impl AsRef<str>) {
        self.sink.sink().progress(text.as_ref());
    }

    /// Streams a piece of the output to the watchers of the task.
    pub fn output(&self, chunk: impl AsRef<str>) {
        self.sink.sink().output(chunk.as_ref());
    }

    /// Writes lines to the log of the task. The task keeps the last ones.
    pub fn log(&self, source: LogSource, level: LogLevel, text: impl AsRef<str>) {
        text.as_ref().lines().for_each(|line| self.sink.sink().log(source, level, line));
    }

    /// Resolves when the attempt should stop: it was cancelled, its timeout passed, or its lease is lost.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Returns whether the attempt should stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Returns the token behind [`AgentContext::cancelled`], for code outside of the attempt.
    pub fn cancellation(&self) -> CancellationToken {
        self.lent.store(true, Ordering::Relaxed);
        CancellationToken::clone(&self.cancel)
    }

    pub(crate) fn is_cancellation_lent(&self) -> bool {
        self.lent.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(texts: &[&str]) -> AgentContext {
        let mut cx = AgentContext::detached(TaskId::from_parts(forerunner_core::Timestamp::default(), 1));
        texts.iter().for_each(|text| cx.push_bytes(text.as_bytes().to_vec()).unwrap());
        cx
    }

    fn texts(cx: &AgentContext) -> Vec<String> {
        cx.items().iter().map(|item| String::from_utf8(item.bytes().to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_range_is_replaced_and_the_rest_shared() {
        let mut cx = context(&["1", "2", "3", "4"]);
        let last = cx.items()[3].clone();
        cx.splice(1..3, [b"5".to_vec()]).unwrap();
        assert_eq!(texts(&cx), ["1", "5", "4"]);
        assert!(std::ptr::eq(cx.items()[2].bytes(), last.bytes()));
        cx.splice(..=0, []).unwrap();
        cx.splice(2.., [b"6".to_vec(), b"7".to_vec()]).unwrap();
        assert_eq!(texts(&cx), ["5", "4", "6", "7"]);
    }

    #[test]
    fn a_range_that_is_not_there_changes_nothing() {
        let mut cx = context(&["1", "2"]);
        for refused in
            [cx.splice(1..4, []), cx.splice(3.., []), cx.splice((Bound::Excluded(1), Bound::Excluded(1)), [])]
        {
            assert!(refused.unwrap_err().message().starts_with("the context has 2 items"));
        }
        assert_eq!(texts(&cx), ["1", "2"]);
    }
}
