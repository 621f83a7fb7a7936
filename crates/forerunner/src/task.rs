//! Submissions and their results.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use forerunner_core::{
    ContextId, ErrorKind, IdempotencyKey, NewTask, Priority, Task, TaskError, TaskId, TaskState, Timestamp,
};
use forerunner_runtime::{CompletionFuture, Error, Handle, SubmitFuture as Accepting};
use serde::de::DeserializeOwned;

/// A submission in the making. `.await` sends it and answers once the task is durable.
#[must_use = "a submission is sent by `.await`"]
pub struct Submit {
    handle: Handle,
    new: Result<NewTask, Error>,
}

impl Submit {
    pub(crate) const fn new(handle: Handle, new: Result<NewTask, Error>) -> Self {
        Self { handle, new }
    }

    fn with(mut self, edit: impl FnOnce(&mut NewTask) -> Result<(), forerunner_core::Error>) -> Self {
        if let Ok(new) = &mut self.new
            && let Err(error) = edit(new)
        {
            self.new = Err(error.into());
        }
        self
    }

    /// Sets the conversation it belongs to: tasks of one context run one at a time, in order.
    pub fn context(self, id: &str) -> Self {
        self.with(|new| {
            new.context = Some(ContextId::new(id)?);
            Ok(())
        })
    }

    /// Sets the urgency: 0 (last) to 9 (first), by default 4.
    pub fn priority(self, priority: u8) -> Self {
        self.with(|new| {
            new.priority = Priority::new(u64::from(priority))?;
            Ok(())
        })
    }

    /// Makes the submission repeatable: the same key and body are the same task.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.with(|new| {
            new.idempotency_key = Some(IdempotencyKey::new(key)?);
            Ok(())
        })
    }

    /// Names the task whose agent submits this one, such as [`AgentContext::task`](crate::AgentContext::task) within an
    /// agent. The child is one level deeper than its parent; a chain that is too long is rejected.
    pub fn parent(self, task: TaskId) -> Self {
        self.with(|new| {
            new.parent = Some(task);
            Ok(())
        })
    }

    /// Not before this time.
    pub fn run_at(self, at: Timestamp) -> Self {
        self.with(|new| {
            new.run_at = Some(at);
            Ok(())
        })
    }

    /// Not after this time.
    pub fn deadline(self, at: Timestamp) -> Self {
        self.with(|new| {
            new.deadline = Some(at);
            Ok(())
        })
    }

    /// Longest run of one attempt.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|new| {
            new.timeout = Some(timeout);
            Ok(())
        })
    }

    /// Attempts in all.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with(|new| {
            new.max_attempts = Some(attempts);
            Ok(())
        })
    }

    /// Adds a label to filter by.
    pub fn label(self, key: &str, value: &str) -> Self {
        self.with(|new| {
            new.labels.insert(key.to_owned(), value.to_owned());
            Ok(())
        })
    }
}

impl IntoFuture for Submit {
    type Output = Result<TaskHandle, Error>;
    type IntoFuture = SubmitFuture;

    /// Sends the task at once; the future is the answer.
    fn into_future(self) -> SubmitFuture {
        let submission = match self.new {
            Ok(new) => self.handle.submit_watched(new),
            Err(error) => Accepting::refused(error),
        };
        SubmitFuture { submission, handle: self.handle }
    }
}

/// A submission in progress. It resolves once the task is durable.
#[must_use = "a submission may be refused"]
pub struct SubmitFuture {
    submission: Accepting,
    handle: Handle,
}

impl Future for SubmitFuture {
    type Output = Result<TaskHandle, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ending = ready!(Pin::new(&mut self.submission).poll(cx))?;
        Poll::Ready(Ok(TaskHandle { handle: self.handle.clone(), ending }))
    }
}

/// A task that was accepted.
pub struct TaskHandle {
    handle: Handle,
    ending: CompletionFuture,
}

impl TaskHandle {
    /// Returns the task's id.
    pub const fn id(&self) -> TaskId {
        self.ending.id()
    }

    /// Returns false if the same submission had been accepted before.
    pub const fn is_new(&self) -> bool {
        self.ending.is_new()
    }

    /// Waits for the task to end and reads its output.
    ///
    /// # Errors
    /// [`Error::Task`] when it ended without an output, [`Error::Invalid`] when the output is no `T`, [`Error::Stopped`] when
    /// the runtime stops before it ends.
    pub async fn result<T: DeserializeOwned>(self) -> Result<T, Error> {
        let task = self.ending.task().await?;
        match (task.state, &task.output) {
            (TaskState::Succeeded, Some(output)) => Ok(output.read()?),
            _ => Err(Error::Task { task: task.id, error: why(&task) }),
        }
    }

    /// Waits for the task to end, however that may be.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Stopped`] when the runtime stops before it ends.
    pub async fn ended(self) -> Result<Task, Error> {
        self.ending.task().await.map(Arc::unwrap_or_clone)
    }

    /// Cancels the task: at once if it waits; one that runs is asked to stop.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn cancel(&self) -> Result<Task, Error> {
        self.handle.cancel(self.ending.id()).await
    }
}

fn why(task: &Task) -> TaskError {
    let said_nothing = || TaskError::new(ErrorKind::AgentError, format!("the task is {}", task.state));
    task.error.clone().unwrap_or_else(said_nothing)
}
