//! Futures of submitted tasks: until they are stored, then until they end.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use forerunner_core::{PoolName, Task, TaskId};
use forerunner_store::EnqueueOutcome;
use tokio::sync::oneshot;

use crate::{Error, Handle};

/// A submission. It resolves once the task is durable, with a future of its end.
///
/// It fails with the errors of [`Handle::submit`].
#[must_use = "a submission may be refused"]
pub struct SubmitFuture {
    state: Progress,
}

enum Progress {
    Sent(InProgress),
    /// The answer, until it is polled.
    Answered(Option<Result<CompletionFuture, Error>>),
}

struct InProgress {
    answer: oneshot::Receiver<Result<EnqueueOutcome, Error>>,
    ending: Option<CompletionFuture>,
}

impl SubmitFuture {
    pub(crate) const fn sent(
        answer: oneshot::Receiver<Result<EnqueueOutcome, Error>>,
        ending: CompletionFuture,
    ) -> Self {
        Self { state: Progress::Sent(InProgress { answer, ending: Some(ending) }) }
    }

    /// A submission whose answer is known: it was rejected before it was sent, or the store answered within the call.
    pub(crate) const fn answered(answer: Result<CompletionFuture, Error>) -> Self {
        Self { state: Progress::Answered(Some(answer)) }
    }

    /// A submission that was rejected before it was sent.
    pub const fn refused(error: Error) -> Self {
        Self::answered(Err(error))
    }
}

impl Future for SubmitFuture {
    type Output = Result<CompletionFuture, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const ONCE: &str = "a future is not polled after it was ready";
        let under_way = match &mut self.state {
            Progress::Sent(under_way) => under_way,
            Progress::Answered(answer) => return Poll::Ready(answer.take().expect(ONCE)),
        };
        let answer = ready!(Pin::new(&mut under_way.answer).poll(cx));
        let ending = under_way.ending.take().expect(ONCE);
        Poll::Ready(match answer {
            Err(_) => Err(Error::OutcomeUnknown { pool: ending.pool }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(outcome)) => Ok(ending.of(outcome)),
        })
    }
}

/// The end of a task that was submitted with [`Handle::submit_watched`] or [`Handle::submit_and_watch`].
pub struct CompletionFuture {
    receiver: oneshot::Receiver<Arc<Task>>,
    id: TaskId,
    pool: PoolName,
    /// Whether the task was accepted before: then it may have ended before the wait was registered.
    known: bool,
    handle: Handle,
}

impl CompletionFuture {
    pub(crate) fn of_new(handle: Handle, id: TaskId, pool: PoolName) -> Self {
        let end = handle.shared.deps.watch.wait(id);
        Self::waiting(handle, id, pool, end)
    }

    /// The end of a new task that `receiver` gets.
    pub(crate) const fn waiting(
        handle: Handle,
        id: TaskId,
        pool: PoolName,
        receiver: oneshot::Receiver<Arc<Task>>,
    ) -> Self {
        Self { receiver, id, pool, known: false, handle }
    }

    /// The end of the task that the store has for the submission.
    pub(crate) fn of(self, outcome: EnqueueOutcome) -> Self {
        let EnqueueOutcome::Known(task) = outcome else { return self };
        let id = task.id;
        let Self { pool, handle, .. } = self;
        Self { receiver: handle.shared.deps.watch.wait(id), id, pool, known: true, handle }
    }

    /// Returns the task's id.
    pub const fn id(&self) -> TaskId {
        self.id
    }

    /// Returns false if the same submission was accepted before.
    pub const fn is_new(&self) -> bool {
        !self.known
    }

    /// Waits for the task to end.
    ///
    /// # Errors
    /// As [`Handle::task`]; [`Error::Stopped`] when the node stops before the task has ended.
    pub async fn task(self) -> Result<Arc<Task>, Error> {
        if self.known {
            let task = self.handle.task(self.id).await?;
            if task.state.is_terminal() {
                let Self { receiver, id, handle, .. } = self;
                drop(receiver);
                handle.shared.deps.watch.remove_closed(id);
                return Ok(Arc::new(task));
            }
        }
        let Self { receiver, id, pool, handle, .. } = self;
        let gone = || match handle.is_closed() {
            true => Error::Stopped { task: id },
            false => Error::OutcomeUnknown { pool },
        };
        if handle.shared.cluster.is_none() {
            return receiver.await.map_err(|_| gone());
        }
        let here = async { receiver.await.ok().map(Arc::unwrap_or_clone) };
        handle.ended_anywhere(id, here).await.map(Arc::new).ok_or_else(gone)
    }

    /// Waits for the task to end, at most `limit`. Returns the task as it is then, as [`Handle::wait`] does.
    ///
    /// # Errors
    /// As [`Handle::task`].
    pub async fn within(self, limit: Duration) -> Result<Task, Error> {
        let Self { receiver, id, known, handle, .. } = self;
        if known {
            drop(receiver);
            return handle.wait(id, limit).await;
        }
        handle.await_end(id, receiver, limit).await
    }
}
