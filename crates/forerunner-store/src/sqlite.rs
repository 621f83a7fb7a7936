//! Tasks in a SQLite file: durable, for one process.
//!
//! ```text
//! calls ──▶ inbox ──▶ writer thread ──▶ one transaction for all that waits ──▶ one fsync ──▶ answers
//!             └─ questions, once what was called before them is committed ──▶ reader threads
//! ```

mod api_keys;
mod attempts;
mod bulk;
mod cache;
mod contexts;
mod damaged;
mod failure;
mod file;
mod health;
mod inbox;
mod jobs;
mod listing;
mod log;
mod mark;
mod open;
mod peek;
mod reader;
mod ready;
mod rescue;
mod rows;
mod schedules;
mod schema;
mod select;
mod settings;
mod settle;
mod space;
mod submit;
mod tx;
mod update;
mod waiting;
mod watch;
mod writer;

use crate::{ApiKeyConflict, ApiKeyStore, ApiKeyWrite, StoredApiKey};
use crate::{ClusterStore, ContextStore, Maintenance, ScheduleStore, SettingsStore, TaskStore};
use crate::{DroppedPartitions, DueTasks, ScheduleConflict, ScheduleWrite, StoredSchedule};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use forerunner_core::{
    Answered, ApiKeyId, ApiKeyName, AttemptRecord, ContextId, IdempotencyKey, LeaseEpoch, NodeId, PoolName,
    ScheduleName, Task, TaskId, TaskState, TenantName, Timestamp,
};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use self::{
    cache::Agents,
    failure::{KIND, Reach, Sql, closed, explain, reach, unavailable},
    file::{StoreFile, beside},
    health::Health,
    inbox::Inbox,
    jobs::{Kind, Weight, Work, arriving},
    reader::{Readers, question},
    space::{MaxSize, Space},
    tx::Tx,
    writer::{Parts, Writer},
};
use crate::{
    BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ClusterState, ContextBase, ContextFilter, ContextRead,
    ContextSummary, DamagedTasks, EnqueueOutcome, Heartbeat, KeyedTask, LeaseLost, Peek, Refusal, Rescue, Rescued,
    Settled, Settlement, SharedObject, Start, StateConflict, Store, StoreError, StoreFuture, StoredContext, Submission,
    Swept, TaskChange, TaskCounts, TaskFilter, TaskPage, TenantUsage, Updated, VacuumStatus,
    damage::{Damage, DamageCount},
    membership::Membership,
};

/// How a [`SqliteStore`] is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Largest size of the database, in bytes. Beyond it new tasks are rejected as with a full disk, and the last MiB
    /// is reserved for finishing the others. `None`, the default, leaves it to the disk.
    pub max_size_bytes: Option<u64>,
    /// Whether to check the whole file. A file of at most 4 MiB is checked when it is opened. A larger one is checked
    /// in the background, for about a second a GiB; findings are logged and returned by
    /// [`Maintenance::check`](crate::Maintenance::check). On by default.
    pub quick_check: bool,
    /// Threads that read, at least 1; by default 2.
    pub readers: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { max_size_bytes: None, quick_check: true, readers: 2 }
    }
}

/// A store in one SQLite file.
///
/// One thread writes: it collects all waiting operations, runs them in one transaction and syncs once. So an operation
/// alone costs one sync of the disk, and a thousand at a time cost hardly more. Other threads read. No call blocks the
/// calling thread.
///
/// The file is for one process at a time, by one name: its inode is locked, and a lock file beside it. Before and after
/// each group the store checks whether the file still has its name. If it has not, operations return
/// [`StoreError::Unavailable`] until it is back. A read includes everything that was called before on the same thread;
/// it may include later calls.
///
/// When the disk is full, new tasks get [`StoreError::Full`], while a reserve of 1 MiB lets running ones finish; the
/// store recovers by itself once there is space. After an error of the disk, operations return
/// [`StoreError::Unavailable`], and each further one tries to open the file again. Leases of a transaction that failed
/// are lost, and their epochs are never used again.
pub struct SqliteStore {
    path: PathBuf,
    inbox: Arc<Inbox>,
    readers: Mutex<Option<Readers>>,
    agents: Agents,
    max_size: MaxSize,
    damaged: Arc<DamageCount>,
    membership: Mutex<Membership>,
    /// The check of a large file.
    health: Mutex<Option<Health>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens a file, creating it if need be. Blocks while it checks the file and reads the counts.
    ///
    /// # Errors
    /// [`StoreError::Place`] when its directory does not exist, or cannot be written. [`StoreError::Name`] when the
    /// file has other names or is mounted alone. [`StoreError::InUse`] when another process has it open.
    /// [`StoreError::NewerSchema`] and [`StoreError::Damaged`], also for a log that is missing or belongs to another
    /// database; nothing is changed then. [`StoreError::Full`] and [`StoreError::Unavailable`] by errors of the disk.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, StoreError> {
        open::assert_version()?;
        let file = Arc::new(StoreFile::open(path.as_ref())?);
        let path = file.path().to_owned();
        let is_small = health::is_small(&path);
        open::inspect(&file, options.quick_check && is_small)?;
        let (inbox, agents, max_size) = (Arc::<Inbox>::default(), Agents::default(), MaxSize::default());
        max_size.store(options.max_size_bytes.unwrap_or(0), Ordering::Relaxed);
        let damaged = Arc::<DamageCount>::default();
        let (readers, reader_threads) = Readers::start(&file, options.readers)?;
        let writer = Writer::open(Parts {
            inbox: Arc::clone(&inbox),
            agents: Arc::clone(&agents),
            space: Space::new(beside(&path, "-reserve"), Arc::clone(&max_size)),
            damaged: Arc::clone(&damaged),
            readers: readers.clone(),
            reader_threads,
            file,
        })?;
        let thread = std::thread::Builder::new().name("store-write".to_owned());
        let writer = thread.spawn(move || writer.serve()).map_err(|error| unavailable(error.to_string()))?;
        let health = if options.quick_check && !is_small { Some(Health::begin(path.clone())?) } else { None };
        if options.quick_check {
            let survey = Survey {
                readers: readers.clone(),
                inbox: Arc::clone(&inbox),
                agents: Arc::clone(&agents),
                all: is_small,
            };
            survey.go_on(path.clone(), i64::MIN);
        }
        let (readers, writer, health) = (Mutex::new(Some(readers)), Mutex::new(Some(writer)), Mutex::new(health));
        Ok(Self { health, path, inbox, readers, agents, max_size, damaged, membership: Mutex::default(), writer })
    }

    /// Changes the largest size of the database, in bytes, while it runs. `None` leaves it to the disk.
    pub fn set_max_size(&self, bytes: Option<u64>) {
        self.max_size.store(bytes.unwrap_or(0), Ordering::Relaxed);
    }

    fn write<I: Send + 'static, T: Send + 'static>(
        &self,
        kind: Kind,
        weight: Weight,
        input: I,
        verb: fn(&mut Tx<'_>, &I) -> Sql<T>,
    ) -> StoreFuture<T> {
        let (work, answer) = Work::new(kind, weight, input, verb);
        self.inbox.push(Box::new(work));
        answer
    }

    /// Changes one thing, or something that is small.
    fn change<I: Send + 'static, T: Send + 'static>(
        &self,
        input: I,
        verb: fn(&mut Tx<'_>, &I) -> Sql<T>,
    ) -> StoreFuture<T> {
        self.write(Kind::Change, Weight { items: 1, bytes: 0 }, input, verb)
    }

    fn read<T: Send + 'static>(&self, read: impl FnOnce(&Connection) -> Sql<T> + Send + 'static) -> StoreFuture<T> {
        let (damaged, path) = (Arc::clone(&self.damaged), self.path.clone());
        let read = move |connection: &Connection| {
            let note = |error: &rusqlite::Error| {
                if reach(error) == Reach::Engine {
                    damaged.note_error(&explain(error, &path));
                }
            };
            read(connection).inspect_err(note)
        };
        let (query, answer) = question(self.path.clone(), read);
        match self.inbox.push_query(query) {
            Ok(None) => {}
            Ok(Some(query)) => match &*self.readers.lock() {
                Some(readers) => readers.ask(query),
                None => drop(query(Err(closed()))),
            },
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        }
        answer
    }
}

impl Store for SqliteStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn close(&self) -> StoreFuture<()> {
        let (reply, answer) = oneshot::channel();
        // The readers stop once nobody can ask them.
        self.readers.lock().take();
        self.health.lock().take();
        if !self.inbox.close(Some(reply)) {
            return Box::pin(std::future::ready(Err(closed())));
        }
        arriving(answer)
    }
}

impl TaskStore for SqliteStore {
    fn enqueue(&self, batch: Vec<Submission>) -> StoreFuture<Vec<Result<EnqueueOutcome, Refusal>>> {
        let bytes = batch.iter().map(|submission| submission.task.input.len()).sum();
        self.write(Kind::Admit, Weight { items: batch.len(), bytes }, batch, |tx, batch| tx.enqueue(batch))
    }

    fn keyed(&self, pool: PoolName, key: IdempotencyKey) -> StoreFuture<Option<KeyedTask>> {
        self.change((pool, key), |tx, (pool, key)| match tx.cache.pool(pool) {
            Some(pool) => tx.keyed(pool, key),
            None => Ok(None),
        })
    }

    fn claim(&self, claim: Claim) -> StoreFuture<Vec<Task>> {
        let weight = Weight { items: 1, bytes: 0 };
        let (mut work, answer) = Work::new(Kind::HandOut, weight, claim, |tx, claim| tx.claim(claim));
        work.empty = Vec::is_empty;
        self.inbox.push(Box::new(work));
        answer
    }

    fn peek(&self, peek: Peek) -> StoreFuture<Vec<Candidate>> {
        // Answered at once, as a claim is, and among claims: it sees what was handed out and is not on disk yet.
        let (mut work, answer) = Work::new(Kind::HandOut, Weight::default(), peek, |tx, peek| tx.peek(peek));
        work.empty = |_| true;
        self.inbox.push(Box::new(work));
        answer
    }

    fn claim_ids(&self, claim: Claim, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>> {
        let weight = Weight { items: 1, bytes: 0 };
        let take = |tx: &mut Tx<'_>, (claim, tasks): &(Claim, Vec<TaskId>)| tx.claim_ids(claim, tasks);
        let (mut work, answer) = Work::new(Kind::HandOut, weight, (claim, tasks), take);
        work.empty = Vec::is_empty;
        self.inbox.push(Box::new(work));
        answer
    }

    fn settle(&self, batch: Vec<Settlement>) -> StoreFuture<Vec<Result<Settled, LeaseLost>>> {
        let bytes = batch.iter().map(settlement_bytes).sum();
        self.write(Kind::Change, Weight { items: batch.len(), bytes }, batch, |tx, batch| tx.settle(batch))
    }

    fn assign(&self, assignments: Vec<(TaskId, LeaseEpoch, Start)>) {
        let assign = |tx: &mut Tx<'_>, assignments: &Vec<_>| {
            tx.assign(assignments);
            Ok(())
        };
        drop(self.write(Kind::Peek, Weight::default(), assignments, assign));
    }

    fn cancel(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Cancelled, StateConflict>> {
        self.change((task, now), |tx, (task, now)| tx.cancel(*task, *now))
    }

    fn retry(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>> {
        self.change((task, now), |tx, (task, now)| tx.retry(*task, *now))
    }

    fn answer(&self, answered: Answered, _: Timestamp) -> StoreFuture<Result<Task, StateConflict>> {
        self.change(answered, |tx, answered| tx.answer(answered))
    }

    fn update(&self, task: TaskId, change: TaskChange, now: Timestamp) -> StoreFuture<Result<Updated, StateConflict>> {
        self.change((task, change, now), |tx, (task, change, now)| tx.update(*task, *change, *now))
    }

    fn sweep(&self, pool: PoolName, now: Timestamp) -> StoreFuture<Swept> {
        self.change((pool, now), |tx, (pool, now)| {
            tx.cache.pool(pool).map_or_else(|| Ok(Swept::default()), |pool| tx.sweep(pool, *now))
        })
    }

    fn clock_set_back(&self, now: Timestamp, by: Duration) -> StoreFuture<usize> {
        self.change((now, by), |tx, (now, by)| tx.clock_set_back(*now, *by))
    }

    fn rescue(&self, rescue: Rescue) -> StoreFuture<Rescued> {
        self.change(rescue, |tx, rescue| tx.rescue(rescue))
    }

    fn task(&self, task: TaskId) -> StoreFuture<Option<Task>> {
        let (agents, inbox) = (Arc::clone(&self.agents), Arc::clone(&self.inbox));
        self.read(move |connection| {
            let Some((task, damage)) = listing::task(connection, task, &agents)? else { return Ok(None) };
            set_aside(&inbox, damage.into_iter().collect());
            Ok(Some(task))
        })
    }

    fn tasks(&self, filter: TaskFilter) -> StoreFuture<TaskPage> {
        let (agents, inbox) = (Arc::clone(&self.agents), Arc::clone(&self.inbox));
        self.read(move |connection| {
            let (page, damaged) = listing::page(connection, &filter, &agents)?;
            set_aside(&inbox, damaged);
            Ok(page)
        })
    }

    fn select(&self, filter: TaskFilter) -> StoreFuture<Vec<(TaskId, TaskState)>> {
        self.read(move |connection| select::select(connection, &filter))
    }

    fn bulk(&self, action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> StoreFuture<BulkOutcome> {
        let weight = Weight { items: tasks.len(), bytes: 0 };
        self.write(Kind::Change, weight, (action, tasks, now), |tx, (action, tasks, now)| tx.bulk(action, tasks, *now))
    }

    fn attempts(&self, task: TaskId) -> StoreFuture<Option<Vec<AttemptRecord>>> {
        self.read(move |connection| attempts::read(connection, task))
    }

    fn counts(&self, pool: PoolName) -> StoreFuture<TaskCounts> {
        self.write(Kind::Peek, Weight::default(), pool, |tx, pool| tx.counts(pool))
    }

    fn pools_with_tasks(&self) -> StoreFuture<Vec<PoolName>> {
        self.write(Kind::Peek, Weight::default(), (), |tx, ()| Ok(tx.pools_with_tasks()))
    }

    fn due_by(&self, pool: PoolName, until: Timestamp) -> StoreFuture<Vec<DueTasks>> {
        self.read(move |connection| listing::due_by(connection, &pool, until))
    }

    fn input_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.read(move |connection| listing::input_bytes(connection, &pool))
    }

    fn input_sizes(&self, tasks: Vec<TaskId>) -> StoreFuture<Vec<(TaskId, u64)>> {
        self.read(move |connection| listing::input_sizes(connection, &tasks))
    }

    fn note_cancellation(&self, tasks: Vec<TaskId>, by: Option<ApiKeyName>) -> StoreFuture<()> {
        self.change((tasks, by), |tx, (tasks, by)| tx.note_cancellation(tasks, by.as_ref()))
    }

    fn tenant_usage(&self, tenant: TenantName) -> StoreFuture<TenantUsage> {
        self.read(move |connection| listing::tenant_usage(connection, &tenant))
    }
}

impl ContextStore for SqliteStore {
    fn context_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.read(move |connection| contexts::stored_bytes(connection, &pool))
    }

    fn context(&self, read: ContextRead) -> StoreFuture<Option<StoredContext>> {
        self.read(move |connection| contexts::read(connection, &read))
    }

    fn contexts(&self, filter: ContextFilter) -> StoreFuture<Vec<ContextSummary>> {
        self.read(move |connection| contexts::list(connection, &filter))
    }

    fn rebase(&self, base: ContextBase) -> StoreFuture<bool> {
        let bytes = base.frame.len() + pieces_bytes(&base.pieces);
        self.write(Kind::Change, Weight { items: 1, bytes }, base, |tx, base| tx.rebase(base))
    }

    fn expire_contexts(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        self.change((before, limit), |tx, (before, limit)| tx.expire_contexts(*before, *limit))
    }

    fn delete_context(&self, pool: PoolName, context: ContextId) -> StoreFuture<Result<(), StateConflict>> {
        self.change((pool, context), |tx, (pool, context)| tx.delete_context(pool, context))
    }
}

crate::keeps_no_events!(SqliteStore);

impl ClusterStore for SqliteStore {
    fn renew(&self, node: NodeId, until: Timestamp) -> StoreFuture<()> {
        self.write(Kind::Peek, Weight::default(), (node, until), |tx, (node, until)| tx.renew(*node, *until, false))
    }

    /// The file belongs to one process, and so do its nodes: their state is in memory.
    fn heartbeat(&self, beat: Heartbeat) -> StoreFuture<ClusterState> {
        let renewed = self.renew(beat.node, beat.now + beat.lease);
        let beaten = self.membership.lock().beat(beat);
        Box::pin(async move { renewed.await.map(|()| beaten) })
    }

    fn deregister(&self, node: NodeId) -> StoreFuture<()> {
        self.membership.lock().leave(node);
        Box::pin(std::future::ready(Ok(())))
    }

    fn leases(
        &self,
        _node: NodeId,
        _pool: PoolName,
        _known: Vec<TaskId>,
    ) -> StoreFuture<Option<Vec<(TaskId, LeaseEpoch)>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    crate::not_shared!();
}

impl SettingsStore for SqliteStore {
    fn put_setting(&self, key: String, text: Option<String>) -> StoreFuture<()> {
        self.change((key, text), |tx, (key, text)| tx.put_setting(key, text.as_deref()))
    }

    fn setting(&self, key: String) -> StoreFuture<Option<String>> {
        self.read(move |connection| listing::note(connection, &key))
    }
}

impl ScheduleStore for SqliteStore {
    fn schedule_revisions(&self) -> StoreFuture<Vec<(ScheduleName, u64)>> {
        self.read(schedules::revisions)
    }

    fn schedules_of(&self, names: Vec<ScheduleName>) -> StoreFuture<Vec<StoredSchedule>> {
        self.read(move |connection| schedules::read(connection, names))
    }

    fn write_schedule(&self, write: ScheduleWrite) -> StoreFuture<Result<Option<EnqueueOutcome>, ScheduleConflict>> {
        let bytes = write.task.as_ref().map_or(0, |submission| submission.task.input.len());
        let kind = if write.task.is_some() || write.expected.is_none() { Kind::Admit } else { Kind::Change };
        self.write(kind, Weight { items: 1, bytes }, write, |tx, write| tx.write_schedule(write))
    }
}

impl ApiKeyStore for SqliteStore {
    fn api_keys(&self) -> StoreFuture<Vec<StoredApiKey>> {
        self.read(api_keys::read)
    }

    fn write_api_key(&self, write: ApiKeyWrite) -> StoreFuture<Result<(), ApiKeyConflict>> {
        self.change(write, |tx, write| tx.write_api_key(write))
    }

    fn note_api_key_use(&self, ids: Vec<ApiKeyId>, day: i64) -> StoreFuture<()> {
        self.change((ids, day), |tx, (ids, day)| tx.note_api_key_use(ids, *day))
    }
}

impl Maintenance for SqliteStore {
    fn purge(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        // Each removed task writes as much to the log as an accepted one.
        let weight = Weight { items: limit.min(10_000), bytes: 0 };
        self.write(Kind::Change, weight, (before, limit), |tx, (before, limit)| tx.purge(*before, *limit))
    }

    fn vacuum_status(&self) -> Option<VacuumStatus> {
        let log = std::fs::metadata(beside(&self.path, "-wal"));
        Some(VacuumStatus { log_bytes: Some(log.map_or(0, |log| log.len())), ..VacuumStatus::default() })
    }

    fn damaged(&self) -> DamagedTasks {
        self.damaged.get()
    }

    fn check(&self) -> StoreFuture<()> {
        let health = self.health.lock();
        if let Some(damage) = health.as_ref().and_then(Health::damage) {
            return Box::pin(std::future::ready(Err(damage)));
        }
        drop(health);
        if let Some(damage) = self.damaged.corrupt() {
            return Box::pin(std::future::ready(Err(damage)));
        }
        self.write(Kind::Admit, Weight { items: 1, bytes: 0 }, (), |tx, ()| tx.beat())
    }

    fn drop_expired_partitions(&self, _now: Timestamp, _retention: Duration) -> StoreFuture<Option<DroppedPartitions>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Rows that one step of a survey reads: others are asked in between.
const SURVEYED: usize = 500;

/// Reads the tasks of a file once it is open, so that unreadable ones are set aside before any call reaches them: all
/// of a small file, the unfinished ones of a large one.
struct Survey {
    readers: Readers,
    inbox: Arc<Inbox>,
    agents: Agents,
    all: bool,
}

impl Survey {
    /// Makes a reader check the next rows, and then those after them.
    fn go_on(self, path: PathBuf, after: i64) {
        let (readers, again) = (self.readers.clone(), path.clone());
        let look = move |connection: &Connection| {
            let (damaged, last) = listing::survey(connection, (after, self.all, SURVEYED), &self.agents)?;
            set_aside(&self.inbox, damaged);
            if let Some(last) = last.filter(|_| !self.inbox.is_closed()) {
                self.go_on(again, last);
            }
            Ok(())
        };
        readers.ask(question(path, look).0);
    }
}

/// Has the writer set aside what a reader could not read.
fn set_aside(inbox: &Inbox, unread: Vec<Damage>) {
    if !unread.is_empty() {
        let weight = Weight { items: unread.len(), bytes: 0 };
        let (work, _) = Work::new(Kind::Change, weight, unread, |tx, unread: &Vec<_>| tx.set_aside_unread(unread));
        inbox.push(Box::new(work));
    }
}

fn settlement_bytes(settlement: &Settlement) -> usize {
    let output = match &settlement.next {
        forerunner_core::Next::Finish { output: Some(output), .. } => output.len(),
        _ => 0,
    };
    output + settlement.context.as_ref().map_or(0, |commit| commit.frame.len() + pieces_bytes(&commit.pieces))
}

fn pieces_bytes(pieces: &[SharedObject]) -> usize {
    pieces.iter().map(|piece| piece.bytes.len()).sum()
}

impl Drop for SqliteStore {
    /// Closes the store and waits until it is closed: the file must be free for the next one that opens it.
    fn drop(&mut self) {
        self.readers.get_mut().take();
        self.health.get_mut().take();
        self.inbox.close(None);
        if let Some(writer) = self.writer.get_mut().take() {
            drop(writer.join());
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}
