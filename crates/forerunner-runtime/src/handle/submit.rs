//! Submissions: admission, idempotency keys, and waits that begin before a task is sent.

use std::sync::{Arc, atomic::Ordering};

use forerunner_core::{NewTask, Task};
use forerunner_store::{Bounds, EnqueueOutcome, Refusal, Submission};
use tokio::sync::oneshot;

use super::{Handle, PoolEntry};
use crate::{
    Error,
    fingerprint::Keyed,
    queue::messages::{Enqueue, Reply},
    status::Submitted,
    submitting::{CompletionFuture, SubmitFuture},
};

/// A task that has a place in its queue, and that no store has yet.
pub(crate) struct Admitted {
    pub(crate) task: Arc<Task>,
    pub(crate) fingerprint: Option<[u8; 32]>,
    pub(crate) bounds: Bounds,
}

impl Admitted {
    /// For a store that copies what it gets.
    pub(crate) fn into_submission(self) -> Submission {
        let Self { task, fingerprint, bounds } = self;
        Submission { task: Arc::unwrap_or_clone(task), fingerprint, bounds }
    }
}

/// The answer of the store to a submission.
pub(crate) enum Acceptance {
    /// Of a store that answers within the call.
    Now(Result<EnqueueOutcome, Error>),
    /// Once the task is durable.
    Later(oneshot::Receiver<Result<EnqueueOutcome, Error>>),
}

impl Acceptance {
    /// Waits for the answer. `entry` is the pool of the submission.
    pub(crate) async fn outcome(self, entry: &PoolEntry) -> Result<EnqueueOutcome, Error> {
        match self {
            Self::Now(outcome) => outcome,
            Self::Later(answer) => answer.await.unwrap_or_else(|_| Err(entry.unknown())),
        }
    }
}

impl Handle {
    /// Submits a task. Returns once it is durable.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::TooLarge`], [`Error::QueueFull`], [`Error::BytesFull`], [`Error::ShuttingDown`],
    /// [`Error::Store`]. [`Error::Refused`] for a reused idempotency key, a new context without room, a missing parent,
    /// or a chain of tasks that is too long.
    pub async fn submit(&self, new: NewTask) -> Result<Submitted, Error> {
        let keyed = self.keyed(&new);
        match self.submit_new(new).await {
            Err(error) => self.known(keyed, error).await,
            submitted => submitted,
        }
    }

    async fn submit_new(&self, new: NewTask) -> Result<Submitted, Error> {
        let (entry, submission) = self.admit(new)?;
        let task = submission.task.clone();
        let accepted = self.enqueue(entry, submission).outcome(entry).await?;
        Ok(Submitted::of(task, accepted))
    }

    /// Returns a submission in the form that is compared with the stored one of its key; `None` if it has no key.
    pub(crate) fn keyed(&self, new: &NewTask) -> Option<Keyed> {
        let entry = self.shared.pools.get(&new.pool)?;
        Keyed::of(new, entry.defaults())
    }

    /// Returns the task that has the key of a rejected submission, if it is the same submission. It needs no room in a
    /// full queue, and its body may be written differently.
    pub(crate) async fn known(&self, keyed: Option<Keyed>, error: Error) -> Result<Submitted, Error> {
        let is_of_key = error.full().is_some() || matches!(error, Error::Refused(Refusal::KeyReused { .. }));
        let Some(keyed) = keyed.filter(|_| is_of_key) else { return Err(error) };
        let stored = self.shared.deps.store.keyed(keyed.pool.clone(), keyed.key.clone()).await?;
        match stored {
            Some(stored) if keyed.is_of(&stored) => Ok(Submitted { task: stored.task, created: false }),
            Some(stored) => Err(Refusal::KeyReused { key: keyed.key, task: stored.task.id }.into()),
            None => Err(error),
        }
    }

    /// Submits a task and watches for its end, without a gap between the two.
    ///
    /// The task is sent when this returns, whether or not the future is polled.
    pub fn submit_watched(&self, new: NewTask) -> SubmitFuture {
        match self.admit(new) {
            Ok((entry, admitted)) => {
                let (ending, acceptance) = self.enqueue_watched(entry, admitted);
                match acceptance {
                    Acceptance::Later(answer) => SubmitFuture::sent(answer, ending),
                    Acceptance::Now(outcome) => SubmitFuture::answered(outcome.map(|outcome| ending.of(outcome))),
                }
            }
            Err(error) => SubmitFuture::answered(Err(error)),
        }
    }

    /// Sends a task, and registers for its end before: at a store in this process with the row itself.
    fn enqueue_watched(&self, entry: &PoolEntry, admitted: Admitted) -> (CompletionFuture, Acceptance) {
        let (id, pool) = (admitted.task.id, admitted.task.pool.clone());
        if let Some(store) = self.shared.deps.store.local() {
            let (waiter, end) = oneshot::channel();
            let ending = CompletionFuture::waiting(self.clone(), id, pool, end);
            return (ending, Acceptance::Now(entry.accept_now(store, admitted, Some(waiter))));
        }
        (CompletionFuture::of_new(self.clone(), id, pool), self.enqueue(entry, admitted))
    }

    /// Submits a task as [`Handle::submit`] does, and watches for its end from before it is sent. So a wait reads
    /// nothing from the store.
    ///
    /// There is no [`CompletionFuture`] for a task that was accepted before: it may have ended before the watch began.
    /// [`Handle::wait`] reads its state.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn submit_and_watch(&self, new: NewTask) -> Result<(Submitted, Option<CompletionFuture>), Error> {
        let keyed = self.keyed(&new);
        match self.submit_new_watched(new).await {
            Err(error) => Ok((self.known(keyed, error).await?, None)),
            submitted => submitted,
        }
    }

    async fn submit_new_watched(&self, new: NewTask) -> Result<(Submitted, Option<CompletionFuture>), Error> {
        let (entry, submission) = self.admit(new)?;
        let task = submission.task.clone();
        let id = task.id;
        let (ending, acceptance) = self.enqueue_watched(entry, submission);
        let accepted = acceptance.outcome(entry).await;
        let submitted = accepted.map(|accepted| Submitted::of(task, accepted));
        if let Ok(submitted @ Submitted { created: true, .. }) = submitted {
            return Ok((submitted, Some(ending)));
        }
        drop(ending);
        self.shared.deps.watch.remove_closed(id);
        submitted.map(|submitted| (submitted, None))
    }

    pub(crate) fn admit(&self, new: NewTask) -> Result<(&PoolEntry, Admitted), Error> {
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(Error::ShuttingDown);
        }
        let entry = self.entry(new.pool.as_str())?;
        entry.check_size(&new.input)?;
        entry.reserve_place(&new.input)?;
        let bounds = Bounds { contexts_full: entry.room.full(), max_depth: Some(self.shared.max_depth) };
        let fingerprint = Keyed::of(&new, entry.defaults()).map(|keyed| keyed.fingerprint);
        let task = Arc::new(self.task_from(new, entry));
        Ok((entry, Admitted { task, fingerprint, bounds }))
    }

    fn enqueue(&self, entry: &PoolEntry, admitted: Admitted) -> Acceptance {
        if let Some(store) = self.shared.deps.store.local() {
            return Acceptance::Now(entry.accept_now(store, admitted, None));
        }
        let (reply, answer) = oneshot::channel();
        entry.submit.send(Enqueue { submission: admitted.into_submission(), reply: Reply::to(reply) });
        Acceptance::Later(answer)
    }

    fn task_from(&self, new: NewTask, entry: &PoolEntry) -> Task {
        let now = self.shared.deps.now();
        let defaults = &entry.deps.settings.task;
        Task::accepted(self.shared.ids.task(now), new, now, defaults.timeout, defaults.retry())
    }
}

impl Submitted {
    /// Builds the result of a submission from the store's answer.
    pub(crate) fn of(task: Arc<Task>, accepted: EnqueueOutcome) -> Self {
        match accepted {
            EnqueueOutcome::New { state, depth, .. } => {
                Self { task: Task { state, depth, ..Arc::unwrap_or_clone(task) }, created: true }
            }
            EnqueueOutcome::Known(known) => Self { task: *known, created: false },
        }
    }
}
