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
    state: Result<InProgress, Option<Error>>,
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
        Self { state: Ok(InProgress { answer, ending: Some(ending) }) }
    }

    /// A submission that was rejected before it was sent.
    pub const fn refused(error: Error) -> Self {
        Self { state: Err(Some(error)) }
    }
}

impl Future for SubmitFuture {
    type Output = Result<CompletionFuture, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const ONCE: &str = "a future is not polled after it was ready";
        let under_way = match &mut self.state {
            Ok(under_way) => under_way,
            Err(refusal) => return Poll::Ready(Err(refusal.take().expect(ONCE))),
        };
        let answer = ready!(Pin::new(&mut under_way.answer).poll(cx));
        let ending = under_way.ending.take().expect(ONCE);
        Poll::Ready(match answer {
            Err(_) => Err(Error::OutcomeUnknown { pool: ending.pool }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(EnqueueOutcome::New { .. })) => Ok(ending),
            Ok(Ok(EnqueueOutcome::Known(task))) => Ok(ending.of_known(task.id)),
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
        Self { receiver: handle.shared.deps.watch.wait(id), id, pool, known: false, handle }
    }

    fn of_known(self, id: TaskId) -> Self {
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
