//! The store: one way into its lanes, and the thread that everything runs on.
//!
//! ```text
//! calls ──▶ lane ──▶ one task ──▶ one transaction for all that waits ──▶ one commit ──▶ answers
//! ```
//!
//! Statements are prepared, and the session has settings, only where the connection leads to the server itself. A
//! pooler in transaction mode may be in between.

use forerunner_store::{ApiKeyConflict, ApiKeyStore, ApiKeyWrite, StoredApiKey};
use forerunner_store::{ClusterStore, ContextStore, EventLog, Maintenance, ScheduleStore, SettingsStore, TaskStore};
use std::{
    fmt,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;

use forerunner_core::{
    Answered, ApiKeyId, ApiKeyName, AttemptRecord, ContextId, IdempotencyKey, LeaseEpoch, NodeId, PoolName,
    ScheduleName, Task, TaskId, TaskState, TenantName, Timestamp,
};
use forerunner_store::{
    AttemptEvent, Backlog, BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ClusterState, ContextBase,
    ContextFilter, ContextRead, ContextSummary, DamagedTasks, DroppedPartitions, DueTasks, EnqueueOutcome, Heartbeat,
    KeyedTask, LeaseLost, Notification, Peek, Refusal, Rescue, Rescued, ScheduleConflict, ScheduleWrite, Settled,
    Settlement, Start, StateConflict, Store, StoreError, StoreFuture, StoredContext, StoredSchedule, Submission, Swept,
    TaskChange, TaskCounts, TaskEvents, TaskFilter, TaskPage, TenantUsage, Updated, VacuumStatus, backend::DamageCount,
};
use futures_util::future::join_all;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use uuid::Uuid;

use crate::{
    address::Address,
    batch::{Batch, ReplyReceiver},
    class::{Class, Lane},
    failure::{KIND, Sql, closed, reason, unavailable},
    link,
    liveness::Liveness,
    maintenance::{DropExpired, Maintainer, count_damaged},
    migration,
    node_state::NodeState,
    notifier::Notifier,
    options::PostgresOptions,
    partitions,
    request::{Job, Request},
    schema,
    tx::Tx,
    writer::{Order, Writer},
};

/// Most operations that may wait.
const MAX_WAITING: usize = 16_384;

/// A store in a PostgreSQL database, 15 or later, which any number of nodes may share.
///
/// All operations that wait in a lane run in one transaction, in the order of the calls, so one commit serves many.
/// Operations that begin tasks, that end them, and those of timers have a lane each, if there are connections for that.
/// No call blocks the calling thread, and each is bounded in time: without a connection it returns
/// [`StoreError::Unavailable`], and [`StoreError::OutcomeUnknown`] when the connection broke during the commit.
pub struct PostgresStore {
    lanes: Mutex<Option<Lanes>>,
    waiting: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
    done: Mutex<Option<oneshot::Receiver<()>>>,
    notifier: Arc<Notifier>,
    requests: mpsc::UnboundedSender<DropExpired>,
    upkeep: watch::Receiver<Option<VacuumStatus>>,
    damaged: Arc<DamageCount>,
}

/// The ways to the lanes.
struct Lanes {
    senders: Vec<mpsc::UnboundedSender<Job>>,
    /// Requests sent to the lane that begins tasks.
    begun: u64,
}

impl PostgresStore {
    /// Connects to the database at a `postgres://` address, and migrates its schema to the newest version. Blocks until
    /// that is done.
    ///
    /// Connections are encrypted with `?sslmode=require`. With `sslmode=verify-full` the server is verified as well, by
    /// the authorities in `sslrootcert=PATH` or those of the system. `listen=HOST:PORT` is the address of the database
    /// itself if the main address leads to a pooler in transaction mode, through which no notifications pass;
    /// `listen=off` saves the connection. Statements are prepared where the connection leads to the server itself; with
    /// `statements=named` also behind a pooler, which must track them, and with `statements=unnamed` nowhere.
    ///
    /// # Errors
    /// [`StoreError::Address`] when the address has another form, [`StoreError::NewerSchema`] with nothing changed,
    /// [`StoreError::Unavailable`] when the database cannot be reached.
    pub fn open(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let address = Address::parse(url, &options)?;
        let lanes = options.connections.saturating_sub(1).clamp(1, Lane::ALL.len());
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..lanes).map(|_| mpsc::unbounded_channel()).unzip();
        let (opened, outcome) = std::sync::mpsc::channel();
        let (finished, done) = oneshot::channel();
        let (requests, wished) = mpsc::unbounded_channel();
        let liveness = Arc::new(Liveness::new(options.gone_after));
        let notifier = Arc::new(Notifier::new(Arc::clone(&liveness)));
        let rung = Arc::clone(&notifier);
        let (seen, upkeep) = watch::channel(None);
        let damaged = Arc::<DamageCount>::default();
        let counted = Arc::clone(&damaged);
        // Made on the thread that it runs on: what requests do there need not be sent.
        let serve = async move || {
            let pools = prepare(&address, &options, &counted)
                .await
                .and_then(|(pool, opened_at)| Ok((pool, opened_at, link::pool(&address, &options, lanes)?)));
            let (pool, opened_at, links) = match pools {
                Ok(pools) => pools,
                Err(error) => return drop(opened.send(Err(error))),
            };
            drop(opened.send(Ok(())));
            let naming = address.naming;
            // It ends with the runtime, which ends with the writer.
            drop(tokio::spawn(Arc::clone(&rung).serve(address, options.call_timeout)));
            let node = NodeState {
                notifier: rung,
                cursors: Arc::default(),
                liveness,
                sent_ids: Arc::default(),
                unanswered: Arc::default(),
                damaged: counted,
            };
            if options.database_time {
                node.sent_ids.begin_at(opened_at);
            }
            let cursors = Arc::clone(&node.cursors);
            let damaged = Arc::clone(&node.damaged);
            let maintenance =
                Maintainer { pool, period: options.vacuum_every, requests: wished, cursors, seen, damaged };
            let (ends, ended) = watch::channel(0);
            let ends = &ends;
            let writers = receivers.into_iter().enumerate().map(|(lane, jobs)| {
                let order = Order { ended: ended.clone(), ends: (lane == Lane::Begins as usize).then_some(ends) };
                Writer::new(links.clone(), options, naming, jobs, node.clone(), order).serve()
            });
            tokio::select! {
                _ = join_all(writers) => {}
                () = maintenance.serve() => {}
            }
            // Nobody may be waiting for it.
            finished.send(()).unwrap_or_default();
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unavailable(error.to_string()))?;
        let thread = std::thread::Builder::new().name("store-postgres".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serve())).map_err(|error| unavailable(error.to_string()))?;
        outcome.recv().unwrap_or_else(|_| Err(unavailable("the thread of the store stopped")))?;
        Ok(Self {
            lanes: Mutex::new(Some(Lanes { senders, begun: 0 })),
            waiting: Arc::default(),
            thread: Mutex::new(Some(thread)),
            done: Mutex::new(Some(done)),
            notifier,
            requests,
            upkeep,
            damaged,
        })
    }

    /// Asks what a function of the transaction answers. It may be run several times, until its answer is committed.
    fn call<T: Send + 'static>(
        &self,
        class: Class,
        ask: impl AsyncFn(&Tx<'_>) -> Sql<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let (request, answer) = Request::call(class, ask);
        self.ask(request, answer)
    }

    fn ask<T: Send + 'static>(&self, request: Request, answer: ReplyReceiver<T>) -> StoreFuture<T> {
        if let Err(error) = self.send(request) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let waiting = Waiting(Arc::clone(&self.waiting));
        Box::pin(async move {
            let answer = answer.await.unwrap_or_else(|_| Err(unavailable("the thread of the store stopped")));
            drop(waiting);
            answer
        })
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        let mut lanes = self.lanes.lock();
        let Some(Lanes { senders, begun }) = lanes.as_mut() else { return Err(closed()) };
        let lane = Some(request.lane() as usize).filter(|lane| *lane < senders.len()).unwrap_or(0);
        if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            return Err(unavailable(format!("{MAX_WAITING} operations wait for the database")));
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut after = 0;
        if lane == Lane::Begins as usize {
            *begun += 1;
        } else if request.follows() {
            after = *begun;
        }
        senders[lane].send(Job { request, after }).map_err(|_| unavailable("the thread of the store stopped"))
    }
}

/// Counts an operation as waiting until its answer arrives, or its caller is gone.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn prepare(
    address: &Address,
    options: &PostgresOptions,
    damaged: &DamageCount,
) -> Result<(deadpool_postgres::Pool, Uuid), StoreError> {
    let pool = link::pool(address, options, 1)?;
    let client = link::connect(&pool).await?;
    schema::check_encoding(&client).await?;
    schema::migrate(&client).await?;
    let opened_at = opened_at(&client).await?;
    // Before tasks are moved there. Narrow ones, until a node sets the retention.
    if let Err(error) = partitions::make_ahead(&client, None, Duration::ZERO).await {
        tracing::warn!(error = reason(&error), "cannot create a history partition; trying again");
    }
    migration::finish(&client).await?;
    damaged.note_there(count_damaged(&client).await.map_err(|error| unavailable(reason(&error)))?);
    Ok((pool, opened_at))
}

/// The lowest id of a task that is submitted from now on, by the clock of the database.
async fn opened_at(client: &deadpool_postgres::Object) -> Result<Uuid, StoreError> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
    let failed = |error: tokio_postgres::Error| unavailable(reason(&error));
    let rows = client.query_typed(sql, &[]).await.map_err(failed)?;
    let micros = rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(failed)?;
    Ok(*TaskId::from_parts(Timestamp::from_micros(micros), 0).as_uuid())
}

impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn close(&self) -> StoreFuture<()> {
        // The thread ends once nobody can ask and everything is answered.
        let senders = self.lanes.lock().take();
        let done = self.done.lock().take();
        let Some(done) = senders.and(done) else { return Box::pin(std::future::ready(Err(closed()))) };
        Box::pin(async move {
            drop(done.await);
            Ok(())
        })
    }
}

impl TaskStore for PostgresStore {
    fn enqueue(&self, batch: Vec<Submission>) -> StoreFuture<Vec<Result<EnqueueOutcome, Refusal>>> {
        let (batch, answer) = Batch::new(batch);
        self.ask(Request::Enqueue(batch), answer)
    }

    fn keyed(&self, pool: PoolName, key: IdempotencyKey) -> StoreFuture<Option<KeyedTask>> {
        self.call(Class::WRITE, async move |tx| tx.keyed(&pool, &key).await)
    }

    fn claim(&self, claim: Claim) -> StoreFuture<Vec<Task>> {
        self.call(Class::claim(claim.node), async move |tx| tx.claim(&claim).await)
    }

    fn peek(&self, peek: Peek) -> StoreFuture<Vec<Candidate>> {
        self.call(Class::READ.walking(), async move |tx| tx.peek(&peek).await)
    }

    fn claim_ids(&self, claim: Claim, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>> {
        self.call(Class::WRITE.forgettable().walking(), async move |tx| tx.claim_ids(&claim, &tasks).await)
    }

    fn settle(&self, batch: Vec<Settlement>) -> StoreFuture<Vec<Result<Settled, LeaseLost>>> {
        let (batch, answer) = Batch::new(batch);
        self.ask(Request::Settle(batch), answer)
    }

    fn assign(&self, assignments: Vec<(TaskId, LeaseEpoch, Start)>) {
        drop(self.call(Class::ASSIGN, async move |tx| tx.assign(&assignments).await));
    }

    fn cancel(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Cancelled, StateConflict>> {
        self.call(Class::WRITE, async move |tx| tx.cancel(task, now).await)
    }

    fn retry(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>> {
        self.call(Class::WRITE, async move |tx| tx.retry(task, now).await)
    }

    fn answer(&self, answered: Answered, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>> {
        self.call(Class::WRITE, async move |tx| tx.answer(&answered, now).await)
    }

    fn update(&self, task: TaskId, change: TaskChange, now: Timestamp) -> StoreFuture<Result<Updated, StateConflict>> {
        self.call(Class::WRITE, async move |tx| tx.update(task, change, now).await)
    }

    fn sweep(&self, pool: PoolName, now: Timestamp) -> StoreFuture<Swept> {
        self.call(Class::CLOCK, async move |tx| tx.sweep(&pool, now).await)
    }

    fn rescue(&self, rescue: Rescue) -> StoreFuture<Rescued> {
        self.call(Class::WRITE.walking(), async move |tx| tx.rescue(&rescue).await)
    }

    fn task(&self, task: TaskId) -> StoreFuture<Option<Task>> {
        self.call(Class::READ, async move |tx| tx.task(task).await)
    }

    fn tasks_of(&self, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>> {
        self.call(Class::READ, async move |tx| tx.tasks_of(&tasks).await)
    }

    fn tasks(&self, filter: TaskFilter) -> StoreFuture<TaskPage> {
        self.call(Class::READ, async move |tx| tx.tasks(&filter).await)
    }

    fn select(&self, filter: TaskFilter) -> StoreFuture<Vec<(TaskId, TaskState)>> {
        self.call(Class::CLOCK.reading().long(), async move |tx| tx.select(&filter).await)
    }

    fn bulk(&self, action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> StoreFuture<BulkOutcome> {
        self.call(Class::WRITE, async move |tx| tx.bulk(&action, &tasks, now).await)
    }

    fn attempts(&self, task: TaskId) -> StoreFuture<Option<Vec<AttemptRecord>>> {
        self.call(Class::READ, async move |tx| tx.attempts(task).await)
    }

    fn counts(&self, pool: PoolName) -> StoreFuture<TaskCounts> {
        self.call(Class::CLOCK.reading().long(), async move |tx| tx.counts(&pool).await)
    }

    fn backlog(&self, pool: PoolName) -> StoreFuture<Backlog> {
        self.call(Class::READ.walking(), async move |tx| tx.backlog(&pool).await)
    }

    fn pools_with_tasks(&self) -> StoreFuture<Vec<PoolName>> {
        self.call(Class::CLOCK.reading().walking(), async move |tx| tx.pools_with_tasks().await)
    }

    fn due_by(&self, pool: PoolName, until: Timestamp) -> StoreFuture<Vec<DueTasks>> {
        self.call(Class::READ.walking(), async move |tx| tx.due_by(&pool, until).await)
    }

    fn input_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.call(Class::CLOCK.reading().walking().long(), async move |tx| tx.input_bytes(&pool).await)
    }

    fn input_sizes(&self, tasks: Vec<TaskId>) -> StoreFuture<Vec<(TaskId, u64)>> {
        self.call(Class::READ, async move |tx| tx.input_sizes(&tasks).await)
    }

    fn note_cancellation(&self, tasks: Vec<TaskId>, by: Option<ApiKeyName>) -> StoreFuture<()> {
        self.call(Class::WRITE, async move |tx| tx.note_cancellation(&tasks, by.as_ref()).await)
    }

    fn tenant_usage(&self, tenant: TenantName) -> StoreFuture<TenantUsage> {
        self.call(Class::READ, async move |tx| tx.tenant_usage(&tenant).await)
    }

    fn clock_set_back(&self, _now: Timestamp, _by: Duration) -> StoreFuture<usize> {
        Box::pin(std::future::ready(Ok(0)))
    }
}

impl ContextStore for PostgresStore {
    fn context_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.call(Class::CLOCK.reading().walking().long(), async move |tx| tx.context_bytes(&pool).await)
    }

    fn context(&self, read: ContextRead) -> StoreFuture<Option<StoredContext>> {
        self.call(Class::READ, async move |tx| tx.context(&read).await)
    }

    fn contexts(&self, filter: ContextFilter) -> StoreFuture<Vec<ContextSummary>> {
        self.call(Class::READ, async move |tx| tx.contexts(&filter).await)
    }

    fn rebase(&self, base: ContextBase) -> StoreFuture<bool> {
        self.call(Class::WRITE, async move |tx| tx.rebase(&base).await)
    }

    fn expire_contexts(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        self.call(Class::CLOCK, async move |tx| tx.expire_contexts(before, limit).await)
    }

    fn delete_context(&self, pool: PoolName, context: ContextId) -> StoreFuture<Result<(), StateConflict>> {
        self.call(Class::WRITE, async move |tx| tx.delete_context(&pool, &context).await)
    }
}

impl EventLog for PostgresStore {
    fn persists_events(&self) -> bool {
        true
    }

    fn append_events(&self, events: Vec<AttemptEvent>) -> StoreFuture<()> {
        let (batch, answer) = Batch::new(events);
        let stored = self.ask(Request::Say(batch), answer);
        Box::pin(async move { stored.await.map(drop) })
    }

    fn events(&self, task: TaskId, after: u64, limit: usize) -> StoreFuture<Option<TaskEvents>> {
        self.call(Class::READ, async move |tx| tx.events(task, after, limit).await)
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> StoreFuture<()> {
        self.call(Class::CLOCK, async move |tx| tx.prune_events(before, limit).await)
    }
}

impl ClusterStore for PostgresStore {
    fn is_shared(&self) -> bool {
        true
    }

    fn renew(&self, node: NodeId, until: Timestamp) -> StoreFuture<()> {
        self.call(Class::CLOCK.forgettable(), async move |tx| tx.heartbeat(node, until).await)
    }

    fn heartbeat(&self, beat: Heartbeat) -> StoreFuture<ClusterState> {
        self.call(Class::CLOCK, async move |tx| tx.take_beat(&beat).await)
    }

    fn leases(
        &self,
        node: NodeId,
        pool: PoolName,
        known: Vec<TaskId>,
    ) -> StoreFuture<Option<Vec<(TaskId, LeaseEpoch)>>> {
        let class = Class::CLOCK.reading().walking().long();
        self.call(class, async move |tx| tx.leases(node, &pool, &known).await.map(Some))
    }

    fn deregister(&self, node: NodeId) -> StoreFuture<()> {
        self.call(Class::CLOCK, async move |tx| tx.forget_node(node).await)
    }

    fn time(&self) -> StoreFuture<Option<Timestamp>> {
        self.call(Class::CLOCK.reading(), async move |tx| tx.time().await)
    }

    fn notify(&self, hints: Notification) {
        self.notifier.notify(hints);
    }

    fn subscribe(&self) -> Option<broadcast::Receiver<Notification>> {
        Some(self.notifier.subscribe())
    }

    fn is_listening(&self) -> bool {
        self.notifier.is_listening()
    }
}

impl SettingsStore for PostgresStore {
    fn put_setting(&self, key: String, text: Option<String>) -> StoreFuture<()> {
        self.call(Class::WRITE, async move |tx| tx.put_setting(&key, text.as_deref()).await)
    }

    fn setting(&self, key: String) -> StoreFuture<Option<String>> {
        self.call(Class::READ, async move |tx| tx.note(&key).await)
    }
}

impl ScheduleStore for PostgresStore {
    fn schedule_revisions(&self) -> StoreFuture<Vec<(ScheduleName, u64)>> {
        self.call(Class::CLOCK.reading(), async move |tx| tx.schedule_revisions().await)
    }

    fn schedules_of(&self, names: Vec<ScheduleName>) -> StoreFuture<Vec<StoredSchedule>> {
        self.call(Class::CLOCK.reading(), async move |tx| tx.schedules_of(&names).await)
    }

    fn write_schedule(&self, write: ScheduleWrite) -> StoreFuture<Result<Option<EnqueueOutcome>, ScheduleConflict>> {
        self.call(Class::WRITE, async move |tx| tx.write_schedule(&write).await)
    }
}

impl ApiKeyStore for PostgresStore {
    fn api_keys(&self) -> StoreFuture<Vec<StoredApiKey>> {
        self.call(Class::CLOCK.reading(), async move |tx| tx.api_keys().await)
    }

    fn write_api_key(&self, write: ApiKeyWrite) -> StoreFuture<Result<(), ApiKeyConflict>> {
        self.call(Class::CLOCK, async move |tx| tx.write_api_key(&write).await)
    }

    fn note_api_key_use(&self, ids: Vec<ApiKeyId>, day: i64) -> StoreFuture<()> {
        self.call(Class::CLOCK, async move |tx| tx.note_api_key_use(&ids, day).await)
    }
}

impl Maintenance for PostgresStore {
    fn purge(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        self.call(Class::CLOCK, async move |tx| tx.purge(before, limit).await)
    }

    fn drop_expired_partitions(&self, now: Timestamp, retention: Duration) -> StoreFuture<Option<DroppedPartitions>> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(DropExpired { now, retention, reply }).is_err() {
            return Box::pin(std::future::ready(Err(closed())));
        }
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(closed())) })
    }

    fn vacuum_status(&self) -> Option<VacuumStatus> {
        self.upkeep.borrow().clone()
    }

    fn damaged(&self) -> DamagedTasks {
        self.damaged.get()
    }

    fn check(&self) -> StoreFuture<()> {
        self.call(Class::CLOCK, async move |tx| tx.beat().await)
    }
}

impl Drop for PostgresStore {
    /// Finishes what was begun.
    fn drop(&mut self) {
        self.lanes.get_mut().take();
        if let Some(thread) = self.thread.get_mut().take() {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}
