//! Follow a task: its events, as typed items, for as long as the service runs.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use forerunner_core::{AgentRequest, LogLine, TaskId};
use forerunner_runtime::{EventStream, TaskEvent, TaskEventKind};
use futures_util::{FutureExt, Stream, StreamExt, stream::Peekable};

use crate::{
    error::Error,
    ownership::{HIDDEN, hidden},
    service::{OpenWait, Service},
};

/// What happens to a task. Ends after the event of a terminal state, or when the service ends its waits.
pub struct TaskEvents {
    events: Peekable<EventStream>,
    /// Whether the caller sees what people and agents wrote.
    sees_payloads: bool,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    _open: OpenWait,
}

impl Service {
    /// Streams a task's events after number `after` (0 for all that are stored): states, progress, pieces of output.
    /// For callers who see no payloads it leaves out what agents wrote.
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
        let sees_payloads = self.scope().sees_payloads();
        Ok(Some(TaskEvents { events, sees_payloads, stopping: Box::pin(self.stopping()), _open: self.open_wait() }))
    }
}

impl Stream for TaskEvents {
    type Item = TaskEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TaskEvent>> {
        // Events are delivered before the end of the stream.
        match self.events.poll_next_unpin(cx) {
            Poll::Pending => self.stopping.as_mut().poll(cx).map(|()| None),
            Poll::Ready(Some(event)) if !self.sees_payloads => Poll::Ready(Some(without_payload(event))),
            ready => ready,
        }
    }
}

/// The event without what a person or an agent wrote. Its number stays, so that a caller can continue after it.
fn without_payload(event: TaskEvent) -> TaskEvent {
    let kind = match event.kind {
        TaskEventKind::State { state, attempt, error } => {
            TaskEventKind::State { state, attempt, error: error.map(hidden) }
        }
        TaskEventKind::Progress { .. } => TaskEventKind::Progress { text: HIDDEN.to_owned() },
        TaskEventKind::Output { .. } => TaskEventKind::Output { chunk: String::new() },
        TaskEventKind::Log { line } => TaskEventKind::Log { line: LogLine { text: HIDDEN.to_owned(), ..line } },
        TaskEventKind::Asked { request } => {
            let prompt = HIDDEN.to_owned();
            let request =
                AgentRequest { prompt, options: Vec::new(), schema: None, details: None, answer: None, ..*request };
            TaskEventKind::Asked { request: Box::new(request) }
        }
    };
    TaskEvent { kind, ..event }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forerunner_core::{ErrorKind, Payload, Question, RequestKind, RequestOption, TaskError, TaskState, Timestamp};

    use super::*;

    #[test]
    fn a_caller_without_payloads_reads_nothing_that_an_agent_wrote() {
        let secret = || "s3cret".to_owned();
        let question = Question {
            kind: RequestKind::Permission,
            prompt: secret(),
            options: vec![RequestOption { id: secret(), name: secret(), kind: String::new() }],
            schema: Some(Payload::from_value("s3cret").unwrap()),
            details: Some(Payload::from_value("s3cret").unwrap()),
            fingerprint: "f".to_owned(),
            timeout: Duration::from_secs(1),
        };
        let mut requests = Vec::new();
        AgentRequest::ask(&mut requests, question, None, Timestamp::default());
        let error = Some(TaskError::new(ErrorKind::AgentError, secret()));
        for kind in [
            TaskEventKind::State { state: TaskState::Failed, attempt: 1, error },
            TaskEventKind::Progress { text: secret() },
            TaskEventKind::Output { chunk: secret() },
            TaskEventKind::Asked { request: Box::new(requests.remove(0)) },
        ] {
            let event = TaskEvent { seq: 7, at: Timestamp::default(), kind };
            let shown = without_payload(event);
            assert!(shown.seq == 7 && !format!("{shown:?}").contains("s3cret"), "{shown:?}");
        }
    }
}
