//! A store that fails on request.

use std::time::Duration;

use forerunner_store::{ApiKeyConflict, ApiKeyStore, ApiKeyWrite, StoredApiKey};
use forerunner_store::{ClusterStore, ContextStore, Maintenance, ScheduleStore, SettingsStore, TaskStore};
use forerunner_store::{DamagedTasks, DroppedPartitions, DueTasks, VacuumStatus};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use forerunner_core::{
    ApiKeyId, AttemptRecord, ContextId, IdempotencyKey, LeaseEpoch, NodeId, PoolName, ScheduleName, Task, TaskId,
    TaskState, Timestamp,
};
use forerunner_store::{
    BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ClusterState, ContextBase, ContextFilter, ContextRead,
    ContextSummary, EnqueueOutcome, Heartbeat, KeyedTask, LeaseLost, MemoryOptions, MemoryStore, Peek, Refusal, Rescue,
    Rescued, ScheduleConflict, ScheduleWrite, Settled, Settlement, Start, StateConflict, Store, StoreError,
    StoreFuture, StoredContext, StoredSchedule, Submission, Swept, TaskChange, TaskCounts, TaskFilter, TaskPage,
    Updated,
};

/// Does what a memory store does, unless a fault is set: then submissions, reads of a task and checks fail with it.
pub struct FaultyStore {
    inner: MemoryStore,
    fault: Mutex<Option<StoreError>>,
    /// The number of tasks in each call.
    groups: Mutex<Vec<usize>>,
    /// How often a task was read.
    reads: AtomicUsize,
}

impl FaultyStore {
    pub fn new() -> Arc<Self> {
        let inner = MemoryStore::new(MemoryOptions::default());
        Arc::new(Self { inner, fault: Mutex::default(), groups: Mutex::default(), reads: AtomicUsize::new(0) })
    }

    /// Returns how many tasks were stored together, call by call.
    pub fn groups(&self) -> Vec<usize> {
        self.groups.lock().unwrap().clone()
    }

    /// Returns how often a task was read.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub fn fail_with(&self, fault: StoreError) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    fn unless_faulty<T: Send + 'static>(&self, verb: impl FnOnce(&MemoryStore) -> StoreFuture<T>) -> StoreFuture<T> {
        match self.fault.lock().unwrap().clone() {
            Some(fault) => Box::pin(std::future::ready(Err(fault))),
            None => verb(&self.inner),
        }
    }
}

macro_rules! pass_on {
    ($($verb:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $verb(&self, $($arg: $type),*) -> StoreFuture<$answer> { self.inner.$verb($($arg),*) })*
    };
}

impl Store for FaultyStore {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    pass_on! {
        close() -> ();
    }
}

impl TaskStore for FaultyStore {
    fn enqueue(&self, batch: Vec<Submission>) -> StoreFuture<Vec<Result<EnqueueOutcome, Refusal>>> {
        self.groups.lock().unwrap().push(batch.len());
        self.unless_faulty(|inner| inner.enqueue(batch))
    }

    fn task(&self, task: TaskId) -> StoreFuture<Option<Task>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.unless_faulty(|inner| inner.task(task))
    }

    fn assign(&self, assignments: Vec<(TaskId, LeaseEpoch, Start)>) {
        self.inner.assign(assignments);
    }

    pass_on! {
        keyed(pool: PoolName, key: IdempotencyKey) -> Option<KeyedTask>;
        claim(claim: Claim) -> Vec<Task>;
        peek(peek: Peek) -> Vec<Candidate>;
        claim_ids(claim: Claim, tasks: Vec<TaskId>) -> Vec<Task>;
        settle(batch: Vec<Settlement>) -> Vec<Result<Settled, LeaseLost>>;
        cancel(task: TaskId, now: Timestamp) -> Result<Cancelled, StateConflict>;
        retry(task: TaskId, now: Timestamp) -> Result<Task, StateConflict>;
        answer(answered: forerunner_core::Answered, now: Timestamp) -> Result<Task, StateConflict>;
        update(task: TaskId, change: TaskChange, now: Timestamp) -> Result<Updated, StateConflict>;
        sweep(pool: PoolName, now: Timestamp) -> Swept;
        rescue(rescue: Rescue) -> Rescued;
        tasks(filter: TaskFilter) -> TaskPage;
        select(filter: TaskFilter) -> Vec<(TaskId, TaskState)>;
        bulk(action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> BulkOutcome;
        attempts(task: TaskId) -> Option<Vec<AttemptRecord>>;
        counts(pool: PoolName) -> TaskCounts;
        due_by(pool: PoolName, until: Timestamp) -> Vec<DueTasks>;
        input_bytes(pool: PoolName) -> u64;
        input_sizes(tasks: Vec<TaskId>) -> Vec<(TaskId, u64)>;
        note_cancellation(tasks: Vec<TaskId>, by: Option<forerunner_core::ApiKeyName>) -> ();
        tenant_usage(tenant: forerunner_core::TenantName) -> forerunner_store::TenantUsage;
        clock_set_back(now: Timestamp, by: Duration) -> usize;
        pools_with_tasks() -> Vec<PoolName>;
    }
}

impl ContextStore for FaultyStore {
    pass_on! {
        context_bytes(pool: PoolName) -> u64;
        context(read: ContextRead) -> Option<StoredContext>;
        contexts(filter: ContextFilter) -> Vec<ContextSummary>;
        rebase(base: ContextBase) -> bool;
        expire_contexts(before: Timestamp, limit: usize) -> usize;
        delete_context(pool: PoolName, context: ContextId) -> Result<(), StateConflict>;
    }
}

forerunner_store::keeps_no_events!(FaultyStore);

impl ClusterStore for FaultyStore {
    pass_on! {
        renew(node: NodeId, until: Timestamp) -> ();
        heartbeat(beat: Heartbeat) -> ClusterState;
        leases(node: NodeId, pool: PoolName, known: Vec<TaskId>) -> Option<Vec<(TaskId, LeaseEpoch)>>;
        deregister(node: NodeId) -> ();
    }

    forerunner_store::not_shared!();
}

impl SettingsStore for FaultyStore {
    pass_on! {
        put_setting(key: String, text: Option<String>) -> ();
        setting(key: String) -> Option<String>;
    }
}

impl ScheduleStore for FaultyStore {
    pass_on! {
        schedule_revisions() -> Vec<(ScheduleName, u64)>;
        schedules_of(names: Vec<ScheduleName>) -> Vec<StoredSchedule>;
        write_schedule(write: ScheduleWrite) -> Result<Option<EnqueueOutcome>, ScheduleConflict>;
    }
}

impl ApiKeyStore for FaultyStore {
    fn api_keys(&self) -> StoreFuture<Vec<StoredApiKey>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.api_keys()
    }

    pass_on! {
        write_api_key(write: ApiKeyWrite) -> Result<(), ApiKeyConflict>;
        note_api_key_use(ids: Vec<ApiKeyId>, day: i64) -> ();
    }
}

impl Maintenance for FaultyStore {
    fn check(&self) -> StoreFuture<()> {
        self.unless_faulty(Maintenance::check)
    }

    pass_on! {
        purge(before: Timestamp, limit: usize) -> usize;
    }

    fn drop_expired_partitions(&self, _now: Timestamp, _retention: Duration) -> StoreFuture<Option<DroppedPartitions>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn vacuum_status(&self) -> Option<VacuumStatus> {
        None
    }

    fn damaged(&self) -> DamagedTasks {
        DamagedTasks::default()
    }
}
