//! The events of this node's agents on their way to the store, where every node can read them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};

use forerunner_core::{IdMap, LeaseEpoch, TaskEventKind, TaskId, Timestamp};
use forerunner_store::{AttemptEvent, Store, StoreFuture, event_seq};
use tokio::sync::Notify;

use crate::completion_watchers::CompletionWatchers;

/// How long events are batched.
const BATCH_DELAY: Duration = Duration::from_millis(20);
/// Pause after a failed store call.
const BACKOFF: Duration = Duration::from_millis(500);
/// Most bytes of one attempt's events that are stored; the oldest are removed first.
const MAX_BYTES: usize = 256 * 1_024;
/// Most events that wait while the store fails; the oldest are removed first.
const MOST_WAITING: usize = 50_000;

/// Events that are not in the store yet.
#[derive(Debug, Default)]
pub(crate) struct EventBuffer {
    inside: Mutex<Inside>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    waiting: VecDeque<AttemptEvent>,
    logs: IdMap<TaskId, AttemptLog>,
}

/// The events of one attempt.
#[derive(Debug, Default)]
struct AttemptLog {
    epoch: LeaseEpoch,
    count: u64,
    /// Numbers and sizes of the stored events, oldest first.
    stored: VecDeque<(u64, usize)>,
    stored_bytes: usize,
}

impl AttemptLog {
    /// Numbers an event of this size. Also returns the number before which older events are to be removed.
    fn add(&mut self, size: usize) -> Option<(u64, Option<u64>)> {
        let seq = event_seq(self.epoch, self.count)?;
        self.count += 1;
        self.stored.push_back((seq, size));
        self.stored_bytes += size;
        let mut forget_before = None;
        while self.stored_bytes > MAX_BYTES && self.stored.len() > 1 {
            self.stored_bytes -= self.stored.pop_front().map_or(0, |(_, size)| size);
            forget_before = self.stored.front().map(|(seq, _)| *seq);
        }
        Some((seq, forget_before))
    }
}

impl EventBuffer {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock()
    }

    /// Adds an event that an agent reported under a lease.
    pub(crate) fn append(&self, task: TaskId, epoch: LeaseEpoch, kind: TaskEventKind, at: Timestamp) {
        const FIXED: usize = 64;
        let size = match &kind {
            TaskEventKind::Progress { text } | TaskEventKind::Output { chunk: text } => FIXED + text.len(),
            TaskEventKind::Asked { request } => FIXED + request.size_bytes(),
            TaskEventKind::Log { line } => FIXED + line.text.len(),
            TaskEventKind::State { .. } => FIXED,
        };
        let mut inside = self.inside();
        let log = inside.logs.entry(task).or_default();
        if log.epoch != epoch {
            *log = AttemptLog { epoch, ..AttemptLog::default() };
        }
        // After a million events of an attempt, further events are dropped.
        let Some((seq, forget_before)) = log.add(size) else { return };
        inside.waiting.push_back(AttemptEvent { task, epoch, seq, at, kind, forget_before });
        drop(inside);
        self.filled.notify_one();
    }

    /// Starts to store all events so far. Store calls after this one take effect after it.
    ///
    /// Also returns the events; `None` if there are none.
    fn send(&self, store: &dyn Store) -> Option<(Vec<AttemptEvent>, StoreFuture<()>)> {
        let mut inside = self.inside();
        if inside.waiting.is_empty() {
            return None;
        }
        let batch: Vec<_> = inside.waiting.drain(..).collect();
        // The call is made under the lock, so that no other caller finds the buffer empty before the call.
        let call = store.append_events(batch.clone());
        Some((batch, call))
    }

    fn requeue(&self, batch: Vec<AttemptEvent>) {
        let mut inside = self.inside();
        for event in batch.into_iter().rev() {
            inside.waiting.push_front(event);
        }
        let surplus = inside.waiting.len().saturating_sub(MOST_WAITING);
        inside.waiting.drain(..surplus);
    }

    /// Stores the events now. The queue calls this before it settles an attempt, so that the events of a task precede
    /// its end.
    pub(crate) fn flush(self: &Arc<Self>, store: &dyn Store, watch: &Arc<CompletionWatchers>) {
        if let Some((batch, call)) = self.send(store) {
            let (buffer, watch) = (self.clone(), watch.clone());
            actix_rt::spawn(async move { buffer.note_sent(&watch, batch, call).await });
        }
    }

    /// Returns whether the events were stored.
    async fn note_sent(&self, watch: &CompletionWatchers, batch: Vec<AttemptEvent>, call: StoreFuture<()>) -> bool {
        match call.await {
            Ok(()) => {
                batch.iter().for_each(|event| watch.notify(event.task));
                true
            }
            Err(error) => {
                tracing::warn!(%error, events = batch.len(), "cannot store events of tasks");
                if error.is_retryable() {
                    self.requeue(batch);
                }
                false
            }
        }
    }

    /// Stores events for the lifetime of the node.
    pub(crate) async fn persist(self: Arc<Self>, store: Arc<dyn Store>, watch: Arc<CompletionWatchers>) {
        loop {
            self.filled.notified().await;
            tokio::time::sleep(BATCH_DELAY).await;
            while let Some((batch, call)) = self.send(&*store) {
                let pause = if self.note_sent(&watch, batch, call).await { BATCH_DELAY } else { BACKOFF };
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Discards the counters of an attempt that has ended.
    pub(crate) fn end_attempt(&self, task: TaskId) {
        self.inside().logs.remove(&task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn progress(bytes: usize) -> TaskEventKind {
        TaskEventKind::Progress { text: "x".repeat(bytes) }
    }

    #[test]
    fn what_an_attempt_says_is_numbered_and_bounded() {
        let buffer = EventBuffer::default();
        let task = TaskId::from_parts(NOW, 1);
        for _ in 0..5 {
            buffer.append(task, LeaseEpoch(3), progress(100_000), NOW);
        }
        buffer.append(task, LeaseEpoch(4), progress(1), NOW);
        let waiting: Vec<_> = buffer.inside().waiting.drain(..).collect();
        let first = event_seq(LeaseEpoch(3), 0).unwrap();
        let seqs: Vec<_> = waiting.iter().map(|event| event.seq).collect();
        assert_eq!(seqs[..5], [0, 1, 2, 3, 4].map(|count| first + count));
        assert_eq!(seqs[5], event_seq(LeaseEpoch(4), 0).unwrap(), "another attempt counts anew");
        let removed_before: Vec<_> = waiting.iter().map(|event| event.forget_before).collect();
        assert_eq!(removed_before, [None, None, Some(first + 1), Some(first + 2), Some(first + 3), None]);
        buffer.end_attempt(task);
        assert!(buffer.inside().logs.is_empty());
    }

    #[test]
    fn what_could_not_be_stored_keeps_its_place() {
        let buffer = EventBuffer::default();
        let [one, two] = [1, 2].map(|number| TaskId::from_parts(NOW, number));
        buffer.append(one, LeaseEpoch(1), progress(1), NOW);
        let batch: Vec<_> = buffer.inside().waiting.drain(..).collect();
        buffer.append(two, LeaseEpoch(1), progress(1), NOW);
        buffer.requeue(batch);
        assert!(buffer.inside().waiting.iter().map(|event| event.task).eq([one, two]));
    }
}
