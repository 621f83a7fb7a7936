//! Submissions and their results.

use std::{
    any::type_name,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use forerunner_core::{
    ContextId, ErrorKind, IdempotencyKey, NewTask, Payload, PoolName, Priority, Task as TaskRecord, TaskError, TaskId,
    TaskState, Timestamp,
};
use forerunner_runtime::{CompletionFuture, Error, EventStream, Handle, SubmitFuture as Accepting};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use serde::{Serialize, de::DeserializeOwned};

/// A submission in the making. `.await` sends it and answers with an `R` once the task is durable.
#[must_use = "a submission is sent by `.await`"]
pub struct Submit<R = TaskHandle> {
    handle: Handle,
    new: Result<NewTask, Error>,
    accepted: PhantomData<fn() -> R>,
}

impl<R> Submit<R> {
    /// A submission to a pool that is not there.
    pub(crate) fn to_unknown(handle: Handle, pool: &str, input: &impl Serialize) -> Self {
        let new = PoolName::new(pool).map_err(Error::from);
        let new = new.and_then(|pool| Ok(NewTask::new(pool, Payload::from_value(input)?)));
        Self { handle, new, accepted: PhantomData }
    }

    /// A submission to a pool that is there. `fits` is whether its agents get inputs of this type.
    pub(crate) fn of<T>(handle: Handle, pool: PoolName, input: T, fits: bool) -> Self
    where
        T: Serialize + Send + Sync + 'static,
    {
        let input = match fits && handle.passes_values() {
            true => Ok(Payload::of_value(input)),
            false => Payload::from_value(&input),
        };
        let new = input.map(|input| NewTask::new(pool, input)).map_err(Error::from);
        Self { handle, new, accepted: PhantomData }
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

impl<R: From<TaskHandle>> IntoFuture for Submit<R> {
    type Output = Result<R, Error>;
    type IntoFuture = SubmitFuture<R>;

    /// Sends the task at once; the future is the answer.
    fn into_future(self) -> SubmitFuture<R> {
        let submission = match self.new {
            Ok(new) => self.handle.submit_watched(new),
            Err(error) => Accepting::refused(error),
        };
        SubmitFuture { submission, handle: self.handle, accepted: PhantomData }
    }
}

/// A submission in progress. It resolves once the task is durable.
#[must_use = "a submission may be refused"]
pub struct SubmitFuture<R = TaskHandle> {
    submission: Accepting,
    handle: Handle,
    accepted: PhantomData<fn() -> R>,
}

impl<R: From<TaskHandle>> Future for SubmitFuture<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ending = ready!(Pin::new(&mut self.submission).poll(cx))?;
        Poll::Ready(Ok(TaskHandle { handle: self.handle.clone(), ending }.into()))
    }
}

/// A task that was accepted, whose output has a type that the compiler does not know.
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
    /// [`Error::Task`] when it ended without an output, [`Error::OutputType`] when the output is no `T`, [`Error::Stopped`]
    /// when the runtime stops before it ends.
    pub async fn result<T: DeserializeOwned + Clone + 'static>(self) -> Result<T, Error> {
        output(&*self.ending.task().await?)
    }

    /// Waits for the task to end, however that may be.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Stopped`] when the runtime stops before it ends.
    pub async fn ended(self) -> Result<TaskRecord, Error> {
        self.ending.task().await.map(Arc::unwrap_or_clone)
    }

    /// Cancels the task. A waiting task ends at once; a running one is asked to stop.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn cancel(&self) -> Result<TaskRecord, Error> {
        self.handle.cancel(self.ending.id()).await
    }

    /// Follows the task: its events so far, then each as it happens. The stream ends with the task.
    ///
    /// # Errors
    /// [`Error::Store`], or [`Error::StateConflict`] when the task was deleted.
    pub async fn events(&self) -> Result<EventStream, Error> {
        self.handle.events(self.ending.id(), 0).await
    }
}

/// How a task ends, for everybody who waits for it.
type End = Shared<BoxFuture<'static, Result<Arc<TaskRecord>, Error>>>;

/// A task that was accepted, with an output of type `T`.
///
/// It is a future of its output. `&task` and `&mut task` can be awaited as well, also more than once; dropping such a
/// future changes nothing, so that it can be a branch of `select!`. A clone is the same task.
///
/// ```
/// # use std::time::Duration;
/// # use forerunner::{Agent, AgentContext, AgentError, Error, Pool, PoolRef, Runtime};
/// struct Square;
///
/// impl Agent for Square {
///     type Input = u64;
///     type Output = u64;
///
///     async fn run(&mut self, number: u64, _: &mut AgentContext) -> Result<u64, AgentError> {
///         Ok(number * number)
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let runtime = Runtime::builder().pool(Pool::new("square", || async { Ok(Square) })).start().await?;
/// let squares: PoolRef<Square> = runtime.pool("square")?;
/// let task = squares.submit(12).priority(9).await?;
/// tokio::select! {
///     square = task.output() => assert_eq!(square?, 144),
///     () = tokio::time::sleep(Duration::from_secs(30)) => { task.cancel().await?; }
/// }
/// # runtime.shutdown().await;
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
pub struct Task<T> {
    handle: Handle,
    id: TaskId,
    is_new: bool,
    end: End,
    /// The end as this task waits for it, between two polls.
    polled: Option<End>,
    output: PhantomData<fn() -> T>,
}

impl<T> From<TaskHandle> for Task<T> {
    fn from(TaskHandle { handle, ending }: TaskHandle) -> Self {
        let (id, is_new) = (ending.id(), ending.is_new());
        Self { handle, id, is_new, end: ending.task().boxed().shared(), polled: None, output: PhantomData }
    }
}

impl<T> Clone for Task<T> {
    fn clone(&self) -> Self {
        let Self { handle, id, is_new, end, .. } = self;
        Self { handle: handle.clone(), id: *id, is_new: *is_new, end: end.clone(), polled: None, output: PhantomData }
    }
}

impl<T> Task<T> {
    /// Returns the task's id.
    pub const fn id(&self) -> TaskId {
        self.id
    }

    /// Returns false if the same submission had been accepted before.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Waits for the task to end, however that may be.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Stopped`] when the runtime stops before it ends.
    pub async fn ended(&self) -> Result<TaskRecord, Error> {
        self.end.clone().await.map(Arc::unwrap_or_clone)
    }

    /// Cancels the task: at once if it waits; one that runs is asked to stop.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn cancel(&self) -> Result<TaskRecord, Error> {
        self.handle.cancel(self.id).await
    }

    /// Follows the task: its events so far, then each as it happens. The stream ends with the task.
    ///
    /// # Errors
    /// [`Error::Store`], or [`Error::StateConflict`] when the task was deleted.
    pub async fn events(&self) -> Result<EventStream, Error> {
        self.handle.events(self.id, 0).await
    }
}

impl<T: DeserializeOwned + Clone + 'static> Task<T> {
    /// Returns a future of the output, as `(&task).into_future()` does.
    ///
    /// # Errors
    /// [`Error::Task`] when the task ended without an output, [`Error::Stopped`] when the runtime stops before it ends.
    pub fn output(&self) -> OutputFuture<T> {
        OutputFuture { end: self.end.clone(), output: PhantomData }
    }
}

impl<T: DeserializeOwned + Clone + 'static> Future for Task<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A shared future must not be polled after its end: the next wait begins with another clone.
        let mut end = self.polled.take().unwrap_or_else(|| self.end.clone());
        match end.poll_unpin(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.and_then(|task| output(&task))),
            Poll::Pending => {
                self.polled = Some(end);
                Poll::Pending
            }
        }
    }
}

impl<T: DeserializeOwned + Clone + 'static> IntoFuture for &Task<T> {
    type Output = Result<T, Error>;
    type IntoFuture = OutputFuture<T>;

    fn into_future(self) -> OutputFuture<T> {
        self.output()
    }
}

/// The output of a task that is awaited by reference.
pub struct OutputFuture<T> {
    end: End,
    output: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Clone + 'static> Future for OutputFuture<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(self.end.poll_unpin(cx));
        Poll::Ready(ended.and_then(|task| output(&task)))
    }
}

fn output<T: DeserializeOwned + Clone + 'static>(task: &TaskRecord) -> Result<T, Error> {
    let (TaskState::Succeeded, Some(output)) = (task.state, &task.output) else {
        return Err(Error::Task { task: task.id, error: why(task) });
    };
    if let Some(value) = output.value::<T>() {
        return Ok(value.clone());
    }
    let wrong = |error: forerunner_core::Error| Error::OutputType {
        task: task.id,
        expected: type_name::<T>(),
        reason: error.to_string(),
    };
    output.read().map_err(wrong)
}

fn why(task: &TaskRecord) -> TaskError {
    let without_reason = || TaskError::new(ErrorKind::AgentError, format!("the task is {}", task.state));
    task.error.clone().unwrap_or_else(without_reason)
}
