//! What a handle has of each pool: the addresses of its actors, and its admission.

use std::sync::Arc;

use actix::{Addr, Handler, Message, dev::ToEnvelope};
use forerunner_core::Payload;
use forerunner_store::{EndWaiter, EnqueueOutcome, LocalStore, StoreError};

use super::Admitted;
use crate::{
    Error,
    admission::{Admission, Full},
    batcher::BatchSender,
    cluster::{ShareActor, settings::SettingsOverride},
    contexts::{ContextRoom, PoolCodecs},
    deps::PoolDeps,
    fingerprint::Defaults,
    forecast::ForecastActor,
    metrics,
    pool::PoolActor,
    queue::{
        QueueActor,
        messages::{Arrived, Enqueue},
        reason,
    },
};

/// The addresses of a pool's actors.
pub(crate) struct PoolEntry {
    pub(crate) deps: Arc<PoolDeps>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) room: Arc<ContextRoom>,
    pub(crate) codecs: Arc<PoolCodecs>,
    pub(crate) kind: &'static str,
    pub(crate) queue: Addr<QueueActor>,
    pub(crate) submit: BatchSender<Enqueue>,
    pub(crate) arrived: BatchSender<Arrived>,
    pub(crate) pool: Addr<PoolActor>,
    pub(crate) forecast: Addr<ForecastActor>,
    /// The actor between the forecast and this node's part, if the store is shared.
    pub(crate) share: Option<Addr<ShareActor>>,
    /// The settings for all nodes at the start of the pool.
    pub(crate) overrides: SettingsOverride,
}

impl PoolEntry {
    /// Rejects an input that is larger than the pool accepts.
    pub(crate) fn check_size(&self, input: &Payload) -> Result<(), Error> {
        let (size, limit) = (input.len(), self.deps.settings.queue.max_input_bytes);
        if size <= limit {
            return Ok(());
        }
        metrics::rejected(self.deps.name.as_str(), "too_large");
        Err(Error::TooLarge { what: "input", size, limit, key: "queue.max_input_bytes" })
    }

    /// Reserves a place in the queue for a task with this input.
    pub(crate) fn reserve_place(&self, input: &Payload) -> Result<(), Error> {
        let (pool, admission, size) = (self.deps.name.clone(), &self.admission, input.len() as u64);
        let Err(full) = admission.enter(size) else { return Ok(()) };
        let error = match full {
            Full::Tasks(depth) => {
                Error::QueueFull { pool, depth, limit: admission.limit(), retry_after: admission.retry_after() }
            }
            Full::Bytes(bytes) => {
                let (limit, retry_after) = (admission.limit_bytes(), admission.retry_bytes_after());
                Error::BytesFull { pool, size, bytes, limit, retry_after }
            }
        };
        metrics::rejected(self.deps.name.as_str(), error.full().unwrap_or("queue_full"));
        Err(error)
    }

    /// Accepts a submission in a store that answers within the call, and lets the queue know.
    pub(crate) fn accept_now(
        &self,
        store: &dyn LocalStore,
        admitted: Admitted,
        waiter: Option<EndWaiter>,
    ) -> Result<EnqueueOutcome, Error> {
        let arrived = Arrived::of(&admitted.task);
        let answer = store.enqueue_now(admitted.task, admitted.fingerprint, admitted.bounds, waiter);
        if let Ok(Ok(EnqueueOutcome::New { claimable, .. })) = answer {
            self.arrived.send(Arrived { claimable, ..arrived });
        } else {
            self.admission.back_out(1, arrived.input_bytes);
        }
        match answer {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(refusal)) => {
                metrics::rejected(self.deps.name.as_str(), reason(&refusal));
                Err(refusal.into())
            }
            Err(StoreError::Closed { .. }) => Err(Error::ShuttingDown),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn unknown(&self) -> Error {
        Error::OutcomeUnknown { pool: self.deps.name.clone() }
    }

    pub(crate) fn defaults(&self) -> Defaults {
        let task = &self.deps.settings.task;
        Defaults { timeout: task.timeout, max_attempts: task.retry().max_attempts }
    }

    /// Sends a message to an actor. This is the only place where a `MailboxError` is translated.
    pub(crate) async fn ask<A, M>(&self, actor: &Addr<A>, message: M) -> Result<M::Result, Error>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        actor.send(message).await.map_err(|_| self.unknown())
    }
}
