//! Follow a task: its events, as typed items, for as long as the service runs.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use forerunner_core::TaskId;
use forerunner_runtime::{EventStream, TaskEvent};
use futures_util::{FutureExt, Stream, StreamExt, stream::Peekable};

use crate::{
    error::Error,
    service::{OpenWait, Service},
};

/// What happens to a task. Ends after the event of a terminal state, or when the service ends its waits.
pub struct TaskEvents {
    events: Peekable<EventStream>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    _open: OpenWait,
}

impl Service {
    /// Streams a task's events after number `after` (0 for all that are stored): states, progress, pieces of output.
    ///
    /// Returns `None` if the task has ended and there are no further events. A node that stops never returns `None`:
    /// another node may have further events.
    ///
    /// # Errors
    /// The task does not exist, or the store does not answer.
    pub async fn follow(&self, id: TaskId, after: u64) -> Result<Option<TaskEvents>, Error> {
        self.own_task(id).await?;
        let mut events = self.handle().events(id, after).await?.peekable();
        let over = matches!(Pin::new(&mut events).peek().now_or_never(), Some(None));
        if over && !self.is_draining() {
            return Ok(None);
        }
        Ok(Some(TaskEvents { events, stopping: Box::pin(self.stopping()), _open: self.open_wait() }))
    }
}

impl Stream for TaskEvents {
    type Item = TaskEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TaskEvent>> {
        // Events are delivered before the end of the stream.
        match self.events.poll_next_unpin(cx) {
            Poll::Pending => self.stopping.as_mut().poll(cx).map(|()| None),
            ready => ready,
        }
    }
}
