//! Tasks in PostgreSQL: durable, for several nodes.
//!
//! ```text
//! calls ──▶ lane ──▶ one task ──▶ one transaction for all that waits ──▶ one commit ──▶ answers
//! ```
//!
//! Statements have names, and the session has settings, only where the connection leads to the server itself. A pooler in
//! transaction mode may stand in between.

mod address;
mod affinity;
mod attempts;
mod bell;
mod bulk;
mod bulk_move;
mod contexts;
mod damaged;
mod direct;
mod events;
mod failure;
mod floors;
mod history;
mod holders;
mod janitor;
mod jobs;
mod link;
mod listing;
mod look;
mod nodes;
mod partitions;
mod pieces;
mod presence;
mod rows;
mod schema;
mod select;
mod settle;
mod sizes;
mod submit;
mod tls;
mod tx;
mod update;
mod waiting;
mod writer;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use forerunner_core::{
    AttemptRecord, ContextId, IdempotencyKey, LeaseEpoch, NodeId, PoolName, Task, TaskId, TaskState, Timestamp,
};
use futures_util::future::join_all;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use self::{
    address::Address,
    bell::Bell,
    failure::{KIND, closed, unavailable},
    janitor::{Janitor, Retire},
    jobs::{Ask, Job},
    presence::Presence,
    writer::{Order, Shared, Writer},
};
use crate::{
    Backlog, Beat, Beaten, BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ContextBase, ContextFilter,
    ContextRead, ContextSummary, DamagedTasks, Enqueued, Hints, KeyHolder, LeaseLost, Look, Mismatch, Refusal, Rescue,
    Rescued, Retired, Said, Settled, Settlement, Start, Store, StoreError, StoreFuture, StoredContext, Submission,
    Swept, TaskChange, TaskCounts, TaskEvents, TaskFilter, TaskPage, Updated, Upkeep, damage::DamageCount,
};

/// Connections that operations are run on side by side, if a node may have so many.
const LANES: usize = 3;
/// The one that begins tasks.
const BEGINS: usize = 1;
/// Most operations that may wait.
const MAX_WAITING: usize = 16_384;

/// How a [`PostgresStore`] is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Most connections of this node, at least 1; 4 unless said. One cleans up, the others run operations, three at most, one at
    /// least. One more hears other nodes.
    pub connections: usize,
    /// Longest time to get a connection; 3 s unless said.
    pub connect_timeout: Duration,
    /// Longest silence of the database in a transaction: until it has begun, a connection for it included, then in each
    /// statement and in the commit; 5 s unless said. The server is told the same, and it is how long sent bytes may stay
    /// unacknowledged.
    pub call_timeout: Duration,
    /// Time between two rounds of vacuuming the tables that change with every task, by one node at a time; 30 s unless said.
    pub vacuum_every: Duration,
    /// Whether leases follow the clock of the database, as they must when several nodes share it. On unless said; off,
    /// they follow the times that callers give.
    pub database_time: bool,
    /// How long a node whose session has ended may be away, without a beat, until its leases are ended by another one that
    /// listens; 8 s unless said. A lease ends after [`LEASE`](crate::LEASE) in any case.
    pub gone_after: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            connections: 4,
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(5),
            vacuum_every: Duration::from_secs(30),
            database_time: true,
            gone_after: Duration::from_secs(8),
        }
    }
}

/// A store in a PostgreSQL database, 15 or later, which any number of nodes may share.
///
/// All operations that wait in a lane are run in one transaction, in the order of the calls, so one commit serves many. What
/// begins tasks, what ends them and what a clock causes have a lane each, if there are connections for that. No call
/// blocks the thread that makes it, and each is bounded in time: without a connection it answers
/// [`StoreError::Unavailable`], and [`StoreError::OutcomeUnknown`] when the connection broke during the commit.
pub struct PostgresStore {
    lanes: Mutex<Option<Lanes>>,
    waiting: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
    done: Mutex<Option<oneshot::Receiver<()>>>,
    bell: Arc<Bell>,
    wishes: mpsc::UnboundedSender<Retire>,
    upkeep: watch::Receiver<Option<Upkeep>>,
    damaged: Arc<DamageCount>,
}

/// The ways to the lanes.
struct Lanes {
    senders: Vec<mpsc::UnboundedSender<Job>>,
    /// Operations sent to the lane that begins tasks.
    begun: u64,
}

impl PostgresStore {
    /// Connects to the database that a `postgres://` address names, and brings its schema to the newest version.
    /// Blocks until that is done.
    ///
    /// Connections are encrypted with `?sslmode=require`, and sure of the server with `sslmode=verify-full`, where
    /// `sslrootcert=PATH` names the authorities to trust in place of the system's. `listen=HOST:PORT` says where the database
    /// itself is if the address leads to a pooler in transaction mode, over which other nodes are not heard; `listen=off`
    /// saves the connection. Statements have names where the connection leads to the server itself; with `statements=named`
    /// also behind a pooler, which has to keep track of them, and with `statements=unnamed` nowhere.
    ///
    /// # Errors
    /// [`StoreError::Address`] when the address has another form, [`StoreError::NewerSchema`] with nothing changed,
    /// [`StoreError::Unavailable`] when the database cannot be reached.
    pub fn open(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let address = Address::parse(url, &options)?;
        let lanes = options.connections.saturating_sub(1).clamp(1, LANES);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..lanes).map(|_| mpsc::unbounded_channel()).unzip();
        let (opened, outcome) = std::sync::mpsc::channel();
        let (finished, done) = oneshot::channel();
        let (wishes, wished) = mpsc::unbounded_channel();
        let presence = Arc::new(Presence::new(options.gone_after));
        let bell = Arc::new(Bell::new(Arc::clone(&presence)));
        let rung = Arc::clone(&bell);
        let (seen, upkeep) = watch::channel(None);
        let damaged = Arc::<DamageCount>::default();
        let counted = Arc::clone(&damaged);
        let serve = async move {
            let pools = prepare(&address, &options, &counted)
                .await
                .and_then(|pool| Ok((pool, link::pool(&address, &options, lanes)?)));
            let (pool, links) = match pools {
                Ok(pools) => pools,
                Err(error) => return drop(opened.send(Err(error))),
            };
            drop(opened.send(Ok(())));
            let naming = address.naming;
            // It ends with the runtime, which ends with the writer.
            drop(tokio::spawn(Arc::clone(&rung).serve(address, options.call_timeout)));
            let shared = Shared { bell: rung, floors: Arc::default(), presence, damaged: counted };
            let floors = Arc::clone(&shared.floors);
            let damaged = Arc::clone(&shared.damaged);
            let janitor = Janitor { pool, period: options.vacuum_every, wishes: wished, floors, seen, damaged };
            let (ends, ended) = watch::channel(0);
            let ends = &ends;
            let writers = receivers.into_iter().enumerate().map(|(lane, jobs)| {
                let order = Order { ended: ended.clone(), ends: (lane == BEGINS).then_some(ends) };
                Writer::new(links.clone(), options, naming, jobs, shared.clone(), order).serve()
            });
            tokio::select! {
                _ = join_all(writers) => {}
                () = janitor.serve() => {}
            }
            // Nobody may be waiting for it.
            finished.send(()).unwrap_or_default();
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| unavailable(error.to_string()))?;
        let thread = std::thread::Builder::new().name("store-postgres".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serve)).map_err(|error| unavailable(error.to_string()))?;
        outcome.recv().unwrap_or_else(|_| Err(unavailable("the thread of the store stopped")))?;
        Ok(Self {
            lanes: Mutex::new(Some(Lanes { senders, begun: 0 })),
            waiting: Arc::default(),
            thread: Mutex::new(Some(thread)),
            done: Mutex::new(Some(done)),
            bell,
            wishes,
            upkeep,
            damaged,
        })
    }

    fn ask<T: Send + 'static>(&self, ask: Ask) -> StoreFuture<T> {
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.send(Job { ask, after: 0, reply }) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let waiting = Waiting(Arc::clone(&self.waiting));
        Box::pin(async move {
            let answer = answer.await.unwrap_or_else(|_| Err(unavailable("the thread of the store stopped")));
            drop(waiting);
            answer?.downcast().map(|answer| *answer).map_err(|_| unavailable("the answer is of another kind"))
        })
    }

    fn send(&self, mut job: Job) -> Result<(), StoreError> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Lanes { senders, begun }) = lanes.as_mut() else { return Err(closed()) };
        let lane = if job.ask.lane() < senders.len() { job.ask.lane() } else { 0 };
        if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            return Err(unavailable(format!("{MAX_WAITING} operations wait for the database")));
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if lane == BEGINS {
            *begun += 1;
        } else if job.ask.follows() {
            job.after = *begun;
        }
        senders[lane].send(job).map_err(|_| unavailable("the thread of the store stopped"))
    }
}

/// Counts an operation as waiting until its answer is there, or nobody waits for it.
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
) -> Result<deadpool_postgres::Pool, StoreError> {
    let pool = link::pool(address, options, 1)?;
    let client = link::connect(&pool).await?;
    schema::check_encoding(&client).await?;
    schema::migrate(&client).await?;
    damaged.note_there(janitor::count_damaged(&client).await.map_err(|error| unavailable(failure::reason(&error)))?);
    // Narrow ones, until a node says what the retention is.
    if let Err(error) = partitions::make_ahead(&client, None, Duration::ZERO).await {
        tracing::warn!(error = failure::reason(&error), "no partition was made for tasks that end; it is tried again");
    }
    Ok(pool)
}

impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn enqueue(&self, batch: Vec<Submission>) -> StoreFuture<Vec<Result<Enqueued, Refusal>>> {
        self.ask(Ask::Enqueue(batch))
    }

    fn keyed(&self, pool: PoolName, key: IdempotencyKey) -> StoreFuture<Option<KeyHolder>> {
        self.ask(Ask::Keyed(pool, key))
    }

    fn claim(&self, claim: Claim) -> StoreFuture<Vec<Task>> {
        self.ask(Ask::Claim(claim))
    }

    fn look(&self, look: Look) -> StoreFuture<Vec<Candidate>> {
        self.ask(Ask::Look(look))
    }

    fn take(&self, claim: Claim, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>> {
        self.ask(Ask::Take(claim, tasks))
    }

    fn settle(&self, batch: Vec<Settlement>) -> StoreFuture<Vec<Result<Settled, LeaseLost>>> {
        self.ask(Ask::Settle(batch))
    }

    fn assign(&self, assignments: Vec<(TaskId, LeaseEpoch, Start)>) {
        drop(self.ask::<()>(Ask::Assign(assignments)));
    }

    fn cancel(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Cancelled, Mismatch>> {
        self.ask(Ask::Cancel(task, now))
    }

    fn redrive(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Task, Mismatch>> {
        self.ask(Ask::Redrive(task, now))
    }

    fn update(&self, task: TaskId, change: TaskChange, now: Timestamp) -> StoreFuture<Result<Updated, Mismatch>> {
        self.ask(Ask::Update(task, change, now))
    }

    fn sweep(&self, pool: PoolName, now: Timestamp) -> StoreFuture<Swept> {
        self.ask(Ask::Sweep(pool, now))
    }

    fn renew(&self, node: NodeId, until: Timestamp) -> StoreFuture<()> {
        self.ask(Ask::Renew(node, until))
    }

    fn beat(&self, beat: Beat) -> StoreFuture<Beaten> {
        self.ask(Ask::Beat(Box::new(beat)))
    }

    fn leases(&self, node: NodeId, pool: PoolName) -> StoreFuture<Option<Vec<(TaskId, LeaseEpoch)>>> {
        self.ask(Ask::Leases(node, pool))
    }

    fn leave(&self, node: NodeId) -> StoreFuture<()> {
        self.ask(Ask::Leave(node))
    }

    fn rescue(&self, rescue: Rescue) -> StoreFuture<Rescued> {
        self.ask(Ask::Rescue(rescue))
    }

    fn task(&self, task: TaskId) -> StoreFuture<Option<Task>> {
        self.ask(Ask::Task(task))
    }

    fn tasks_of(&self, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>> {
        self.ask(Ask::TasksOf(tasks))
    }

    fn tasks(&self, filter: TaskFilter) -> StoreFuture<TaskPage> {
        self.ask(Ask::Tasks(filter))
    }

    fn select(&self, filter: TaskFilter) -> StoreFuture<Vec<(TaskId, TaskState)>> {
        self.ask(Ask::Select(filter))
    }

    fn bulk(&self, action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> StoreFuture<BulkOutcome> {
        self.ask(Ask::Bulk(action, tasks, now))
    }

    fn attempts(&self, task: TaskId) -> StoreFuture<Option<Vec<AttemptRecord>>> {
        self.ask(Ask::Attempts(task))
    }

    fn counts(&self, pool: PoolName) -> StoreFuture<TaskCounts> {
        self.ask(Ask::Counts(pool))
    }

    fn backlog(&self, pool: PoolName) -> StoreFuture<Backlog> {
        self.ask(Ask::Backlog(pool))
    }

    fn pools_with_tasks(&self) -> StoreFuture<Vec<PoolName>> {
        self.ask(Ask::PoolsWithTasks)
    }

    fn input_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.ask(Ask::InputBytes(pool))
    }

    fn context_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.ask(Ask::ContextBytes(pool))
    }

    fn context(&self, read: ContextRead) -> StoreFuture<Option<StoredContext>> {
        self.ask(Ask::Context(read))
    }

    fn contexts(&self, filter: ContextFilter) -> StoreFuture<Vec<ContextSummary>> {
        self.ask(Ask::Contexts(filter))
    }

    fn rebase(&self, base: ContextBase) -> StoreFuture<bool> {
        self.ask(Ask::Rebase(Box::new(base)))
    }

    fn expire_contexts(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        self.ask(Ask::ExpireContexts(before, limit))
    }

    fn delete_context(&self, pool: PoolName, context: ContextId) -> StoreFuture<Result<(), Mismatch>> {
        self.ask(Ask::DeleteContext(pool, context))
    }

    fn put_note(&self, key: String, text: Option<String>) -> StoreFuture<()> {
        self.ask(Ask::PutNote(key, text))
    }

    fn note(&self, key: String) -> StoreFuture<Option<String>> {
        self.ask(Ask::Note(key))
    }

    fn purge(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        self.ask(Ask::Purge(before, limit))
    }

    fn retire(&self, now: Timestamp, retention: Duration) -> StoreFuture<Option<Retired>> {
        let (reply, answer) = oneshot::channel();
        if self.wishes.send(Retire { now, retention, reply }).is_err() {
            return Box::pin(std::future::ready(Err(closed())));
        }
        Box::pin(async move { answer.await.unwrap_or_else(|_| Err(closed())) })
    }

    fn upkeep(&self) -> Option<Upkeep> {
        self.upkeep.borrow().clone()
    }

    fn damaged(&self) -> DamagedTasks {
        self.damaged.get()
    }

    fn time(&self) -> StoreFuture<Option<Timestamp>> {
        self.ask(Ask::Time)
    }

    fn check(&self) -> StoreFuture<()> {
        self.ask(Ask::Check)
    }

    fn keeps_events(&self) -> bool {
        true
    }

    fn say(&self, said: Vec<Said>) -> StoreFuture<()> {
        self.ask(Ask::Say(said))
    }

    fn events(&self, task: TaskId, after: u64, limit: usize) -> StoreFuture<Option<TaskEvents>> {
        self.ask(Ask::Events(task, after, limit))
    }

    fn forget_events(&self, before: Timestamp, limit: usize) -> StoreFuture<()> {
        self.ask(Ask::ForgetEvents(before, limit))
    }

    fn tell(&self, hints: Hints) {
        self.bell.tell(hints);
    }

    fn hear(&self) -> Option<broadcast::Receiver<Hints>> {
        Some(self.bell.hear())
    }

    fn is_hearing(&self) -> bool {
        self.bell.is_hearing()
    }

    fn close(&self) -> StoreFuture<()> {
        // The thread ends once nobody can ask and everything is answered.
        let senders = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(done) = senders.and(done) else { return Box::pin(std::future::ready(Err(closed()))) };
        Box::pin(async move {
            drop(done.await);
            Ok(())
        })
    }
}

impl Drop for PostgresStore {
    /// Finishes what was begun.
    fn drop(&mut self) {
        self.lanes.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            drop(thread.join());
        }
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}
