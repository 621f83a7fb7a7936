//! Tasks: reads, waits, cancellation, retries, events.

use std::{pin::Pin, sync::Arc, time::Duration};

use forerunner_core::{AgentRequest, Answered, Answering, Payload, Task, TaskId, TaskState};
use forerunner_store::{StateConflict, TaskFilter, TaskPage};
use futures_util::Stream;
use tokio::sync::oneshot;

use super::Handle;
use crate::{
    Error,
    cluster::event_tail,
    events,
    queue::messages::{AnswerTask, Cancel, RetryTask},
    status::TaskEvent,
};

/// The events of a task as they happen. Ends after the event of a terminal state.
pub type EventStream = Pin<Box<dyn Stream<Item = TaskEvent> + Send>>;

impl Handle {
    /// Reads a task.
    ///
    /// # Errors
    /// [`StateConflict::NoTask`], or [`Error::Store`].
    pub async fn task(&self, id: TaskId) -> Result<Task, Error> {
        self.shared.deps.store.task(id).await?.ok_or_else(|| StateConflict::NoTask { task: id }.into())
    }

    /// Reads a page of tasks, newest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn tasks(&self, filter: TaskFilter) -> Result<TaskPage, Error> {
        Ok(self.shared.deps.store.tasks(filter).await?)
    }

    /// Waits for a task to end, at most `limit`. Returns the task as it is then.
    ///
    /// # Errors
    /// As [`Handle::task`].
    pub async fn wait(&self, id: TaskId, limit: Duration) -> Result<Task, Error> {
        let ended = self.shared.deps.watch.wait(id);
        let task = self.task(id).await;
        if limit.is_zero() || !matches!(&task, Ok(task) if !task.state.is_terminal()) {
            drop(ended);
            self.shared.deps.watch.remove_closed(id);
            return task;
        }
        self.await_end(id, ended, limit).await
    }

    /// Waits for `ended`, at most `limit`. Reads the task if `ended` yields nothing.
    pub(crate) async fn await_end(
        &self,
        id: TaskId,
        ended: oneshot::Receiver<Arc<Task>>,
        limit: Duration,
    ) -> Result<Task, Error> {
        let ended = async { ended.await.ok().map(Arc::unwrap_or_clone) };
        let found = match self.shared.cluster {
            // The task may end on another node, which only the store shows.
            Some(_) => tokio::time::timeout(limit, self.ended_anywhere(id, ended)).await,
            None => tokio::time::timeout(limit, ended).await,
        };
        match found {
            Ok(Some(task)) => Ok(task),
            _ => {
                self.shared.deps.watch.remove_closed(id);
                self.task(id).await
            }
        }
    }

    /// Cancels a task. A waiting task ends at once. A running task is asked to stop, and returned in its current state.
    /// An ended task is returned unchanged.
    ///
    /// # Errors
    /// As [`Handle::task`].
    pub async fn cancel(&self, id: TaskId) -> Result<Task, Error> {
        let task = self.task(id).await?;
        let Some(entry) = self.shared.pools.get(&task.pool) else { return self.cancel_unconfigured(id).await };
        let (reply, answer) = oneshot::channel();
        entry.queue.do_send(Cancel { task: id, reply });
        answer.await.map_err(|_| entry.unknown())?
    }

    /// Returns an ended task that did not succeed to the queue, with fresh attempts.
    ///
    /// # Errors
    /// As [`Handle::task`]; [`StateConflict::WrongState`] for any other task.
    pub async fn retry(&self, id: TaskId) -> Result<Task, Error> {
        let task = self.task(id).await?;
        let Some(entry) = self.shared.pools.get(&task.pool) else { return self.retry_unconfigured(id).await };
        let (reply, answer) = oneshot::channel();
        entry.queue.do_send(RetryTask { task: id, reply });
        answer.await.map_err(|_| entry.unknown())?
    }

    /// Answers what the agent of a task asked: the question with this id. The same answer once more changes nothing.
    ///
    /// # Errors
    /// As [`Handle::task`]; [`Error::Answer`] when the agent did not ask that, the question has another answer, or the
    /// answer is none of its options; [`StateConflict::WrongState`] for a task that ended before it was answered.
    pub async fn answer(&self, id: TaskId, request: &str, answer: &Payload) -> Result<Task, Error> {
        /// Another answer may come between reading and writing; each of them ends a question, so this ends soon.
        const TRIES: usize = 8;
        let mut conflict = StateConflict::NoTask { task: id };
        for _ in 0..TRIES {
            let task = self.task(id).await?;
            let requests = AgentRequest::list(task.requests.as_deref());
            let step = AgentRequest::answer(&requests, request, answer, self.now());
            let answered = match step.map_err(|error| Error::Answer { task: id, error })? {
                Answering::Repeated => return Ok(task),
                Answering::Store(answered) => answered,
            };
            conflict = StateConflict::WrongState { task: id, state: task.state, wish: "answered" };
            if task.state != TaskState::Waiting {
                break;
            }
            let deadline = AgentRequest::open(&requests).and_then(|open| open.task_deadline);
            let (asked, requests) = (task.requests.as_deref().cloned(), AgentRequest::to_payload(&answered)?);
            let answered = Answered { task: id, asked: asked.unwrap_or_else(Payload::null), requests, deadline };
            match self.store_answer(&task, answered).await {
                Err(Error::StateConflict(StateConflict::WrongState { .. })) => {}
                stored => return stored,
            }
        }
        Err(conflict.into())
    }

    async fn store_answer(&self, task: &Task, answered: Answered) -> Result<Task, Error> {
        let Some(entry) = self.shared.pools.get(&task.pool) else { return self.answer_unconfigured(answered).await };
        let (reply, answer) = oneshot::channel();
        entry.queue.do_send(AnswerTask { answered, reply });
        answer.await.map_err(|_| entry.unknown())?
    }

    /// Streams a task's events after number `after` (0 for all that are stored): states, progress, pieces of output.
    ///
    /// # Errors
    /// As [`Handle::task`].
    pub async fn events(&self, id: TaskId, after: u64) -> Result<EventStream, Error> {
        if self.shared.deps.store.persists_events() {
            return event_tail::stream(self.shared.deps.clone(), id, after).await;
        }
        let task = self.task(id).await?;
        let watch = &self.shared.deps.watch;
        let subscription = watch.subscribe(&task, after, self.now());
        // The task may have ended between the read and the subscription.
        let again = self.task(id).await?;
        if again.state.is_terminal() {
            watch.finish(Arc::new(again), self.now());
        }
        Ok(events::stream(subscription))
    }
}
