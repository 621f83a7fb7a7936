//! A task's events as a stream. Any node can serve it, and continue one that another node began.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use forerunner_core::TaskId;
use forerunner_store::{StateConflict, TaskEvents};
use futures_util::stream;
use tokio::sync::watch::Receiver;

use crate::{Error, deps::Deps, handle::EventStream, status::TaskEvent};

/// Most events in one read.
const PAGE: usize = 500;
/// Interval of reads without a notification.
const POLL: Duration = Duration::from_millis(500);

struct EventTail {
    deps: Arc<Deps>,
    task: TaskId,
    /// The number of the newest event that was read.
    newest: u64,
    read: VecDeque<TaskEvent>,
    ended: bool,
    woken: Receiver<()>,
}

/// Streams the events after number `after`, existing and future ones, until the task has ended.
pub(crate) async fn stream(deps: Arc<Deps>, task: TaskId, after: u64) -> Result<EventStream, Error> {
    let woken = deps.watch.notifications(task);
    let mut tail = EventTail { deps, task, newest: after, read: VecDeque::new(), ended: false, woken };
    if !tail.poll_store().await? {
        return Err(StateConflict::NoTask { task }.into());
    }
    Ok(Box::pin(stream::unfold(tail, |mut tail| async move {
        let event = tail.next().await?;
        Some((event, tail))
    })))
}

impl EventTail {
    async fn next(&mut self) -> Option<TaskEvent> {
        loop {
            if let Some(event) = self.read.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            if let Ok(Err(_)) = tokio::time::timeout(POLL, self.woken.changed()).await {
                // The node has stopped. The client continues on another node, after the newest event.
                return None;
            }
            match self.poll_store().await {
                Ok(true) => {}
                Ok(false) => return None,
                // The stream continues once the store works again.
                Err(error) => tracing::debug!(task = %self.task, %error, "events could not be read"),
            }
        }
    }

    /// Reads new events. Returns whether the task exists.
    async fn poll_store(&mut self) -> Result<bool, Error> {
        self.woken.mark_unchanged();
        let found = self.deps.store.events(self.task, self.newest, PAGE).await?;
        let Some(TaskEvents { events, ended }) = found else { return Ok(false) };
        self.newest = events.last().map_or(self.newest, |event| event.seq);
        self.read.extend(events);
        self.ended = ended;
        if !ended && self.read.len() >= PAGE {
            self.woken.mark_changed();
        }
        Ok(true)
    }
}

impl Drop for EventTail {
    fn drop(&mut self) {
        self.deps.watch.unsubscribe(self.task, &self.woken);
    }
}
