//! The in-process API, which fronts and embedders call.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::{Addr, Handler, Message, dev::ToEnvelope};
use forerunner_core::{NewTask, Payload, PoolName, Task, TaskId, Timestamp};
use forerunner_store::{Bounds, EnqueueOutcome, Refusal, StateConflict, Submission, TaskFilter, TaskPage};
use futures_util::Stream;
use tokio::sync::oneshot;

use crate::{
    Error,
    admission::{Admission, Full},
    batcher::BatchSender,
    clock::IdMaker,
    cluster::{ClusterActor, ShareActor, event_tail, settings::SettingsOverride},
    contexts::{ContextRoom, PoolCodecs},
    damage,
    deps::{Deps, PoolDeps},
    events,
    fingerprint::{Defaults, Keyed},
    forecast::{
        ForecastActor,
        messages::{Change, GetDecisions, GetForecast, GetHistory, GetMode},
    },
    metrics,
    pool::{
        PoolActor,
        messages::{GetPool, ListAgents, SetPaused},
    },
    queue::{
        QueueActor,
        messages::{Cancel, Enqueue, GetQueueStatus, Reply, RetryTask},
    },
    status::{
        AgentStatus, DecisionRecord, ForecastStatus, PoolHistory, PoolPatch, PoolStatus, Readiness, Submitted,
        TaskEvent,
    },
    submitting::{CompletionFuture, SubmitFuture},
    unconfigured::Unconfigured,
};

/// The events of a task as they happen. Ends after the event of a terminal state.
pub type EventStream = Pin<Box<dyn Stream<Item = TaskEvent> + Send>>;

/// How long readiness waits for the store.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Calls a running node. Cheap to clone; works from any thread.
///
/// A call returns [`Error::OutcomeUnknown`] when an actor stopped before it answered: whether the call took effect is
/// unknown.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles of a node share.
pub(crate) struct Shared {
    pub(crate) deps: Arc<Deps>,
    pub(crate) ids: IdMaker,
    pub(crate) pools: BTreeMap<PoolName, PoolEntry>,
    /// Represents this node in the cluster, if the store is shared.
    pub(crate) cluster: Option<Addr<ClusterActor>>,
    /// Pools with tasks and without actors.
    pub(crate) unconfigured: Arc<Unconfigured>,
    /// The greatest allowed depth of a task.
    pub(crate) max_depth: u32,
    pub(crate) started_at: Timestamp,
    pub(crate) closed: AtomicBool,
}

/// The addresses of a pool's actors.
pub(crate) struct PoolEntry {
    pub(crate) deps: Arc<PoolDeps>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) room: Arc<ContextRoom>,
    pub(crate) codecs: Arc<PoolCodecs>,
    pub(crate) kind: &'static str,
    pub(crate) queue: Addr<QueueActor>,
    pub(crate) submit: BatchSender<Enqueue>,
    pub(crate) pool: Addr<PoolActor>,
    pub(crate) forecast: Addr<ForecastActor>,
    /// The actor between the forecast and this node's part, if the store is shared.
    pub(crate) share: Option<Addr<ShareActor>>,
    /// The settings for all nodes at the start of the pool.
    pub(crate) overrides: SettingsOverride,
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
        let accepted = Self::enqueue(entry, submission).await.map_err(|_| entry.unknown())??;
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
            Ok((entry, submission)) => {
                let ending = CompletionFuture::of_new(self.clone(), submission.task.id, submission.task.pool.clone());
                SubmitFuture::sent(Self::enqueue(entry, submission), ending)
            }
            Err(error) => SubmitFuture::refused(error),
        }
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
        let (id, ending) = (task.id, CompletionFuture::of_new(self.clone(), task.id, task.pool.clone()));
        let accepted = Self::enqueue(entry, submission).await.unwrap_or_else(|_| Err(entry.unknown()));
        let submitted = accepted.map(|accepted| Submitted::of(task, accepted));
        if let Ok(submitted @ Submitted { created: true, .. }) = submitted {
            return Ok((submitted, Some(ending)));
        }
        drop(ending);
        self.shared.deps.watch.remove_closed(id);
        submitted.map(|submitted| (submitted, None))
    }

    pub(crate) fn admit(&self, new: NewTask) -> Result<(&PoolEntry, Submission), Error> {
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(Error::ShuttingDown);
        }
        let entry = self.entry(new.pool.as_str())?;
        entry.check_size(&new.input)?;
        entry.reserve_place(&new.input)?;
        let bounds = Bounds { contexts_full: entry.room.full(), max_depth: Some(self.shared.max_depth) };
        let fingerprint = Keyed::of(&new, entry.defaults()).map(|keyed| keyed.fingerprint);
        let task = self.task_from(new, entry);
        Ok((entry, Submission { task, fingerprint, bounds }))
    }

    fn enqueue(entry: &PoolEntry, submission: Submission) -> oneshot::Receiver<Result<EnqueueOutcome, Error>> {
        let (reply, answer) = oneshot::channel();
        entry.submit.send(Enqueue { submission, reply: Reply::to(reply) });
        answer
    }

    fn task_from(&self, new: NewTask, entry: &PoolEntry) -> Task {
        let now = self.shared.deps.now();
        let defaults = &entry.deps.settings.task;
        Task::accepted(self.shared.ids.task(now), new, now, defaults.timeout, defaults.retry())
    }

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

    /// Returns the pools' names, in order.
    pub fn pool_names(&self) -> Vec<PoolName> {
        self.shared.pools.keys().cloned().collect()
    }

    /// Returns the status of all pools.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`].
    pub async fn pools(&self) -> Result<Vec<PoolStatus>, Error> {
        let mut pools = Vec::with_capacity(self.shared.pools.len());
        for entry in self.shared.pools.values() {
            pools.push(self.status(entry).await?);
        }
        Ok(pools)
    }

    /// Returns the status of a pool.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn pool(&self, name: &str) -> Result<PoolStatus, Error> {
        self.status(self.entry(name)?).await
    }

    async fn status(&self, entry: &PoolEntry) -> Result<PoolStatus, Error> {
        let queue = entry.ask(&entry.queue, GetQueueStatus).await?;
        let pool = match &entry.share {
            Some(share) => entry.ask(share, GetPool).await?,
            None => entry.ask(&entry.pool, GetPool).await?,
        };
        let mode = entry.ask(&entry.forecast, GetMode).await?;
        Ok(PoolStatus {
            name: entry.deps.name.clone(),
            kind: entry.kind,
            state: pool.state,
            min: pool.min,
            max: pool.max,
            desired: pool.desired,
            policy: mode.policy,
            mode: mode.mode,
            objective: entry.deps.settings.limits().objective,
            agents: pool.counts,
            utilisation: pool.counts.utilisation(),
            depth: queue.depth,
            waiting: entry.admission.waiting() as u64,
            running: queue.running,
            queue_limit: entry.admission.limit() as u64,
            input_bytes: entry.admission.bytes(),
            input_limit_bytes: entry.admission.limit_bytes(),
            context_bytes: entry.room.stored(),
            context_limit_bytes: entry.room.limit_bytes(),
            cooldown_s: entry.deps.settings.cooldown.as_secs_f64(),
            cold_start_s: pool.cold_start,
            on_time_share: (queue.started > 0).then(|| 1.0 - queue.late as f64 / queue.started as f64),
            recent: mode.recent,
            finished: queue.finished,
            scale_ups: pool.tally.scale_ups,
            scale_downs: pool.tally.scale_downs,
            agent_seconds: pool.agent_seconds,
            decision: mode.newest,
        })
    }

    /// Lists a pool's agents, oldest first.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn agents(&self, pool: &str) -> Result<Vec<AgentStatus>, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.pool, ListAgents).await?.0)
    }

    /// Changes a pool's bounds or mode. The change lasts until the node restarts. Where several nodes share a store it
    /// applies to all of them and is permanent.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::Invalid`] for bounds that contradict each other, [`Error::OutcomeUnknown`].
    pub async fn configure(&self, pool: &str, patch: PoolPatch) -> Result<PoolStatus, Error> {
        let entry = self.entry(pool)?;
        let (reply, answer) = oneshot::channel();
        entry.forecast.do_send(Change { patch, reply });
        answer.await.map_err(|_| entry.unknown())??;
        self.status(entry).await
    }

    /// Pauses a pool: it accepts tasks and starts none. Agents stay warm, and running tasks continue. The pause lasts
    /// until it is ended, also after a restart, and applies to all nodes that share a store.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn pause(&self, pool: &str) -> Result<PoolStatus, Error> {
        self.set_paused(pool, true).await
    }

    /// Resumes a paused pool.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::Store`], [`Error::OutcomeUnknown`].
    pub async fn resume(&self, pool: &str) -> Result<PoolStatus, Error> {
        self.set_paused(pool, false).await
    }

    async fn set_paused(&self, pool: &str, paused: bool) -> Result<PoolStatus, Error> {
        let entry = self.entry(pool)?;
        let changed = SettingsOverride { paused: Some(paused), ..SettingsOverride::default() };
        changed.save(&*self.shared.deps.store, &entry.deps.name).await?;
        entry.ask(&entry.pool, SetPaused(paused)).await?;
        self.status(entry).await
    }

    /// Returns a pool's forecast, with its forecasts of the last hour.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn forecast(&self, pool: &str) -> Result<ForecastStatus, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.forecast, GetForecast).await?.0)
    }

    /// Returns a pool's history of the last minutes, at most 60, from this node's memory.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn history(&self, pool: &str, minutes: u32) -> Result<PoolHistory, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.forecast, GetHistory { minutes }).await?.0)
    }

    /// Lists a pool's decisions, newest first. Of consecutive ticks that change nothing, only the newest is recorded.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn decisions(&self, pool: &str, limit: usize) -> Result<Vec<DecisionRecord>, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.forecast, GetDecisions { limit, seq: None }).await?.0)
    }

    /// Returns one decision, if it is still recorded.
    ///
    /// # Errors
    /// [`Error::NoPool`], [`Error::OutcomeUnknown`].
    pub async fn decision(&self, pool: &str, seq: u64) -> Result<Option<DecisionRecord>, Error> {
        let entry = self.entry(pool)?;
        Ok(entry.ask(&entry.forecast, GetDecisions { limit: 1, seq: Some(seq) }).await?.0.pop())
    }

    /// Returns whether this node can take traffic.
    pub async fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.shared.closed.load(Ordering::Relaxed) {
            reasons.push("the node is shutting down".to_owned());
        }
        match tokio::time::timeout(CHECK_TIMEOUT, self.shared.deps.store.check()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => reasons.push(error.to_string()),
            Err(_) => reasons.push(format!("the store did not answer within {} s", CHECK_TIMEOUT.as_secs())),
        }
        let damaged = damage::warning(self.shared.deps.store.damaged());
        let warnings = damaged.into_iter().chain(self.shared.unconfigured.warning()).collect();
        Readiness { ready: reasons.is_empty(), reasons, warnings, store: self.shared.deps.store.kind() }
    }

    /// Rejects new tasks from now on. Accepted tasks continue.
    pub fn close_intake(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
    }

    /// Returns whether new tasks are rejected because the node stops.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Returns the largest input, in bytes, that a pool accepts.
    ///
    /// # Errors
    /// [`Error::NoPool`].
    pub fn max_input_bytes(&self, pool: &str) -> Result<usize, Error> {
        Ok(self.entry(pool)?.deps.settings.queue.max_input_bytes)
    }

    fn now(&self) -> Timestamp {
        self.shared.deps.now()
    }

    pub(crate) fn entry(&self, pool: &str) -> Result<&PoolEntry, Error> {
        self.shared.pools.get(pool).ok_or_else(|| self.no_pool(pool))
    }

    pub(crate) fn no_pool(&self, pool: &str) -> Error {
        let known: Vec<_> = self.shared.pools.keys().map(PoolName::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::NoPool { pool: pool.chars().take(80).collect(), known }
    }
}

impl Submitted {
    /// Builds the result of a submission from the store's answer.
    pub(crate) fn of(task: Task, accepted: EnqueueOutcome) -> Self {
        match accepted {
            EnqueueOutcome::New { state, depth, .. } => Self { task: Task { state, depth, ..task }, created: true },
            EnqueueOutcome::Known(known) => Self { task: *known, created: false },
        }
    }
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

    fn unknown(&self) -> Error {
        Error::OutcomeUnknown { pool: self.deps.name.clone() }
    }

    fn defaults(&self) -> Defaults {
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
