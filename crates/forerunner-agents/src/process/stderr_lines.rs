//! A child's standard error, line by line, while it runs a task.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most lines that wait. The oldest are dropped: the log of a task has the last lines only.
const MAX_WAITING: usize = 128;

/// The lines between the reader of a child's standard error and the attempt that follows it.
#[derive(Debug, Default)]
pub(super) struct LineQueue {
    is_followed: AtomicBool,
    waiting: Mutex<VecDeque<String>>,
    filled: Notify,
}

impl LineQueue {
    pub(super) fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::Relaxed)
    }

    /// Adds a line, if somebody follows.
    pub(super) fn push(&self, line: &str) {
        if !self.is_followed() || line.is_empty() {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() == MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(line.to_owned());
        drop(waiting);
        self.filled.notify_one();
    }
}

/// The lines from one moment on. The queue drops lines again when this is dropped.
pub(crate) struct StderrLines(Arc<LineQueue>);

impl StderrLines {
    pub(super) fn follow(queue: Arc<LineQueue>) -> Self {
        queue.waiting.lock().clear();
        queue.is_followed.store(true, Ordering::Relaxed);
        Self(queue)
    }

    /// The standard error of an agent elsewhere, which is not here.
    pub(crate) fn of_nobody() -> Self {
        Self::follow(Arc::default())
    }

    /// Waits for the next lines. Dropping the future loses none.
    pub(crate) async fn next(&self) -> Vec<String> {
        loop {
            let lines = self.take();
            if !lines.is_empty() {
                return lines;
            }
            self.0.filled.notified().await;
        }
    }

    /// Returns the lines that a child wrote before its answer, which came on another pipe.
    pub(crate) async fn rest(&self) -> Vec<String> {
        // Each turn, the runtime reads what has arrived, and then runs the reader.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        self.take()
    }

    fn take(&self) -> Vec<String> {
        self.0.waiting.lock().drain(..).collect()
    }
}

impl Drop for StderrLines {
    fn drop(&mut self) {
        self.0.is_followed.store(false, Ordering::Relaxed);
        self.0.waiting.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_follower_gets_lines_and_only_the_last_ones() {
        let queue = Arc::<LineQueue>::default();
        queue.push("before");
        let lines = StderrLines::follow(Arc::clone(&queue));
        (0..MAX_WAITING + 2).for_each(|number| queue.push(&number.to_string()));
        let read = lines.next().await;
        assert_eq!((read.len(), read[0].as_str()), (MAX_WAITING, "2"));
        assert!(lines.rest().await.is_empty());
        drop(lines);
        queue.push("after");
        assert!(queue.waiting.lock().is_empty() && !queue.is_followed());
    }
}
