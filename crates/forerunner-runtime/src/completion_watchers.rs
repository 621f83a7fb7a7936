//! The watchers of tasks: waits for results and event streams, shared by all threads of a node.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry};
use forerunner_core::{IdState, Task, TaskId, Timestamp};
use tokio::sync::{broadcast, oneshot, watch};

use crate::status::{TaskEvent, TaskEventKind};

/// How long the events of an ended task remain readable.
const EVENT_RETENTION: Duration = Duration::from_secs(60);
/// Most bytes of progress and output in memory per task; the oldest are dropped first.
const MAX_BYTES: usize = 256 * 1024;
/// How many events a slow reader may lag behind before it gets a gap.
const LAG: usize = 256;

/// Results and events of tasks that are watched or have reported events.
#[derive(Debug, Default)]
pub(crate) struct CompletionWatchers {
    tasks: DashMap<TaskId, WatchedTask, IdState>,
    /// Readers of events that the store persists. They are notified when there may be new events.
    readers: DashMap<TaskId, watch::Sender<()>, IdState>,
    /// Whether there was ever such a reader. While there was none, no task is looked up.
    has_readers: AtomicBool,
    /// Whether a task may be in `tasks`. While none is, no task is looked up.
    has_tasks: AtomicBool,
    /// Number of existing logs. While there are none, no task is looked up.
    logs: AtomicUsize,
    /// Whether the node has stopped: no task ends on it any more.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct WatchedTask {
    waiters: Waiters,
    log: Option<Box<EventLog>>,
}

/// The waits for a task's end. There is nearly always one, which needs no vector.
#[derive(Debug, Default)]
struct Waiters {
    first: Option<oneshot::Sender<Arc<Task>>>,
    others: Vec<oneshot::Sender<Arc<Task>>>,
}

#[derive(Debug)]
struct EventLog {
    newest: u64,
    events: VecDeque<TaskEvent>,
    event_bytes: usize,
    live: broadcast::Sender<TaskEvent>,
    ended_at: Option<Timestamp>,
}

/// What a new subscriber gets: the events so far, then new ones.
pub(crate) struct Subscription {
    pub(crate) events: Vec<TaskEvent>,
    pub(crate) live: broadcast::Receiver<TaskEvent>,
    /// Whether there will be no new events.
    pub(crate) ended: bool,
    /// The newest event that the reader has; 0 if it has none of these.
    pub(crate) after: u64,
}

impl CompletionWatchers {
    /// Subscribes to notifications of events that the store persists.
    pub(crate) fn notifications(&self, task: TaskId) -> watch::Receiver<()> {
        self.has_readers.store(true, Ordering::SeqCst);
        let receiver = self.readers.entry(task).or_insert_with(|| watch::channel(()).0).subscribe();
        if self.is_closed() {
            self.readers.remove(&task);
        }
        receiver
    }

    /// Ends such a subscription.
    pub(crate) fn unsubscribe(&self, task: TaskId, reader: &watch::Receiver<()>) {
        let is_last =
            |sender: &watch::Sender<()>| sender.receiver_count() <= 1 && reader.same_channel(&sender.subscribe());
        self.readers.remove_if(&task, |_, sender| is_last(sender));
    }

    /// Notifies the readers of a task.
    pub(crate) fn notify(&self, task: TaskId) {
        if self.has_readers.load(Ordering::SeqCst)
            && let Some(reader) = self.readers.get(&task)
        {
            reader.send_replace(());
        }
    }

    /// Notifies all readers.
    pub(crate) fn notify_all(&self) {
        self.readers.iter().for_each(|reader| reader.send_replace(()));
    }

    /// Registers a wait for the end of a task. The wait fails once the watchers are closed.
    pub(crate) fn wait(&self, task: TaskId) -> oneshot::Receiver<Arc<Task>> {
        let (sender, receiver) = oneshot::channel();
        self.has_tasks.store(true, Ordering::SeqCst);
        self.tasks.entry(task).or_default().waiters.add(sender);
        if self.is_closed() {
            self.tasks.remove(&task);
        }
        receiver
    }

    /// Ends all waits and event streams, and future ones at once: the node has stopped, and no task ends on it any
    /// more.
    pub(crate) fn close(&self) {
        // Set before the removal: a concurrent wait either sees the flag or is removed.
        self.closed.store(true, Ordering::SeqCst);
        self.tasks.clear();
        self.readers.clear();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Removes abandoned waits for a task.
    pub(crate) fn remove_closed(&self, task: TaskId) {
        if let Entry::Occupied(mut entry) = self.tasks.entry(task) {
            entry.get_mut().waiters.remove_closed();
            if entry.get().waiters.is_empty() && entry.get().log.is_none() {
                entry.remove();
            }
        }
    }

    /// Removes the events of a deleted task.
    pub(crate) fn remove_events(&self, task: TaskId) {
        if let Entry::Occupied(mut entry) = self.tasks.entry(task) {
            if entry.get_mut().log.take().is_some() {
                self.logs.fetch_sub(1, Ordering::Relaxed);
            }
            if entry.get().waiters.is_empty() {
                entry.remove();
            }
        }
    }

    /// Returns whether the task has watchers.
    pub(crate) fn is_watched(&self, task: TaskId) -> bool {
        self.tasks.contains_key(&task)
    }

    /// Returns the tasks with waits.
    pub(crate) fn watched(&self) -> Vec<TaskId> {
        self.tasks.iter().filter(|watched| !watched.waiters.is_empty()).map(|watched| *watched.key()).collect()
    }

    /// Returns the tasks with waits or readers.
    pub(crate) fn all(&self) -> Vec<TaskId> {
        self.tasks.iter().map(|watched| *watched.key()).collect()
    }

    /// Notifies waits and readers that a task ended.
    pub(crate) fn finish(&self, task: Arc<Task>, now: Timestamp) {
        self.complete_as(task.id, now, || task);
    }

    /// Notifies waits and readers, if there are any, that a task ended. `ended` provides the task.
    pub(crate) fn complete_as(&self, task: TaskId, now: Timestamp, ended: impl FnOnce() -> Arc<Task>) {
        self.notify(task);
        if !self.has_tasks.load(Ordering::SeqCst) {
            return;
        }
        let Entry::Occupied(mut entry) = self.tasks.entry(task) else { return };
        let task = ended();
        let waiters = std::mem::take(&mut entry.get_mut().waiters);
        match &mut entry.get_mut().log {
            Some(log) if log.ended_at.is_some() => {}
            Some(log) => {
                log.push(state_of(&task), now);
                log.ended_at = Some(now);
            }
            None => {
                entry.remove();
            }
        }
        waiters.notify(task);
    }

    /// Notifies readers, if there are any, that a task changed its state.
    pub(crate) fn notify_state(&self, task: &Task, now: Timestamp) {
        self.notify(task.id);
        if self.logs.load(Ordering::Relaxed) > 0
            && let Some(mut watched) = self.tasks.get_mut(&task.id)
            && let Some(log) = &mut watched.log
        {
            log.push(state_of(task), now);
        }
    }

    /// Adds an event of a task's agent, for current and future readers.
    pub(crate) fn publish(&self, task: TaskId, kind: TaskEventKind, now: Timestamp) {
        self.has_tasks.store(true, Ordering::SeqCst);
        self.tasks.entry(task).or_default().log.get_or_insert_with(|| self.new_log(now)).push(kind, now);
    }

    /// Subscribes to a task's events after number `after`. `task` is the task's current state.
    pub(crate) fn subscribe(&self, task: &Task, after: u64, now: Timestamp) -> Subscription {
        self.has_tasks.store(true, Ordering::SeqCst);
        let mut watched = self.tasks.entry(task.id).or_default();
        let log = watched.log.get_or_insert_with(|| {
            // There are no events yet: the stream begins, or continues, with the current state.
            let mut log = self.new_log(now);
            log.push(state_of(task), now);
            log.ended_at = task.state.is_terminal().then_some(now);
            log
        });
        // A number that this log never issued, as from before the clock was set back, proves nothing about the reader.
        let after = if after > log.newest { 0 } else { after };
        let events = log.events.iter().filter(|event| event.seq > after).cloned().collect();
        let subscription = Subscription { events, live: log.live.subscribe(), ended: log.ended_at.is_some(), after };
        drop(watched);
        if self.is_closed() {
            self.tasks.remove(&task.id);
        }
        subscription
    }

    fn new_log(&self, now: Timestamp) -> Box<EventLog> {
        self.logs.fetch_add(1, Ordering::Relaxed);
        Box::new(EventLog::new(now))
    }

    /// Removes abandoned waits and old events. Called at intervals.
    pub(crate) fn sweep(&self, now: Timestamp) {
        self.tasks.retain(|_, watched| {
            watched.waiters.remove_closed();
            let ended = |log: &EventLog| log.ended_at.is_some_and(|at| now.since(at) > EVENT_RETENTION);
            if watched.log.as_deref().is_some_and(ended) {
                watched.log = None;
                self.logs.fetch_sub(1, Ordering::Relaxed);
            }
            !watched.waiters.is_empty() || watched.log.is_some()
        });
    }
}

impl Waiters {
    fn add(&mut self, waiter: oneshot::Sender<Arc<Task>>) {
        match &self.first {
            None => self.first = Some(waiter),
            Some(_) => self.others.push(waiter),
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }

    fn remove_closed(&mut self) {
        self.first.take_if(|waiter| waiter.is_closed());
        self.others.retain(|waiter| !waiter.is_closed());
    }

    fn notify(self, task: Arc<Task>) {
        for waiter in self.others {
            let _ = waiter.send(task.clone());
        }
        if let Some(waiter) = self.first {
            let _ = waiter.send(task);
        }
    }
}

impl EventLog {
    /// Creates a log whose numbers are greater than those of any earlier log, also of an earlier node: they continue
    /// from the time in microseconds, which stays below 2⁵³.
    fn new(now: Timestamp) -> Self {
        let newest = u64::try_from(now.as_micros()).unwrap_or(0);
        Self { newest, events: VecDeque::new(), event_bytes: 0, live: broadcast::channel(LAG).0, ended_at: None }
    }

    fn push(&mut self, kind: TaskEventKind, at: Timestamp) {
        self.newest += 1;
        let event = TaskEvent { seq: self.newest, at, kind };
        self.event_bytes += size_of(&event);
        self.events.push_back(event.clone());
        while self.event_bytes > MAX_BYTES && self.events.len() > 1 {
            self.event_bytes -= self.events.pop_front().as_ref().map_or(0, size_of);
        }
        let _ = self.live.send(event);
    }
}

fn state_of(task: &Task) -> TaskEventKind {
    TaskEventKind::State { state: task.state, attempt: task.attempt, error: task.error.clone() }
}

fn size_of(event: &TaskEvent) -> usize {
    const FIXED: usize = 64;
    FIXED
        + match &event.kind {
            TaskEventKind::State { .. } => 0,
            TaskEventKind::Progress { text } => text.len(),
            TaskEventKind::Asked { request } => request.size_bytes(),
            TaskEventKind::Log { line } => line.text.len(),
            TaskEventKind::Output { chunk } => chunk.len(),
        }
}
