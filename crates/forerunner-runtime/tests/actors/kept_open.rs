//! A store that survives its node, so that a test can start another node with it.

use std::time::Duration;

use forerunner_core::IdempotencyKey;
use forerunner_core::{
    Answered, ApiKeyId, AttemptRecord, ContextId, LeaseEpoch, NodeId, PoolName, ScheduleName, Task, TaskId, TaskState,
    Timestamp,
};
use forerunner_store::{ApiKeyConflict, ApiKeyStore, ApiKeyWrite, StoredApiKey};
use forerunner_store::{
    BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ClusterState, ContextBase, ContextFilter, ContextRead,
    ContextSummary, DueTasks, EnqueueOutcome, Heartbeat, LeaseLost, MemoryStore, Peek, Refusal, Rescue, Rescued,
    ScheduleConflict, ScheduleWrite, Settled, Settlement, Start, StateConflict, Store, StoreFuture, StoredContext,
    StoredSchedule, Submission, Swept, TaskChange, TaskCounts, TaskFilter, TaskPage, Updated,
};
use forerunner_store::{ClusterStore, ContextStore, Maintenance, ScheduleStore, SettingsStore, TaskStore};
use forerunner_store::{DamagedTasks, DroppedPartitions, KeyedTask, VacuumStatus};

pub struct KeptOpen(pub MemoryStore);

macro_rules! pass_on {
    ($($verb:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $verb(&self, $($name: $type),*) -> $answer { self.0.$verb($($name),*) })*
    };
}

impl Store for KeptOpen {
    pass_on! {
        kind() -> &'static str;
    }

    fn close(&self) -> StoreFuture<()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl TaskStore for KeptOpen {
    pass_on! {
        enqueue(batch: Vec<Submission>) -> StoreFuture<Vec<Result<EnqueueOutcome, Refusal>>>;
        claim(claim: Claim) -> StoreFuture<Vec<Task>>;
        peek(peek: Peek) -> StoreFuture<Vec<Candidate>>;
        claim_ids(claim: Claim, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>>;
        settle(batch: Vec<Settlement>) -> StoreFuture<Vec<Result<Settled, LeaseLost>>>;
        assign(assignments: Vec<(TaskId, LeaseEpoch, Start)>) -> ();
        cancel(task: TaskId, now: Timestamp) -> StoreFuture<Result<Cancelled, StateConflict>>;
        retry(task: TaskId, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>>;
        answer(answered: Answered, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>>;
        update(task: TaskId, change: TaskChange, now: Timestamp) -> StoreFuture<Result<Updated, StateConflict>>;
        sweep(pool: PoolName, now: Timestamp) -> StoreFuture<Swept>;
        rescue(rescue: Rescue) -> StoreFuture<Rescued>;
        task(task: TaskId) -> StoreFuture<Option<Task>>;
        tasks(filter: TaskFilter) -> StoreFuture<TaskPage>;
        select(filter: TaskFilter) -> StoreFuture<Vec<(TaskId, TaskState)>>;
        bulk(action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> StoreFuture<BulkOutcome>;
        attempts(task: TaskId) -> StoreFuture<Option<Vec<AttemptRecord>>>;
        due_by(pool: PoolName, until: Timestamp) -> StoreFuture<Vec<DueTasks>>;
        counts(pool: PoolName) -> StoreFuture<TaskCounts>;
        input_bytes(pool: PoolName) -> StoreFuture<u64>;
        input_sizes(tasks: Vec<TaskId>) -> StoreFuture<Vec<(TaskId, u64)>>;
        note_cancellation(tasks: Vec<TaskId>, by: Option<forerunner_core::ApiKeyName>) -> StoreFuture<()>;
        tenant_usage(tenant: forerunner_core::TenantName) -> StoreFuture<forerunner_store::TenantUsage>;
        pools_with_tasks() -> StoreFuture<Vec<PoolName>>;
    }

    fn keyed(&self, _pool: PoolName, _key: IdempotencyKey) -> StoreFuture<Option<KeyedTask>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn clock_set_back(&self, _now: Timestamp, _by: Duration) -> StoreFuture<usize> {
        Box::pin(std::future::ready(Ok(0)))
    }
}

impl ContextStore for KeptOpen {
    pass_on! {
        context_bytes(pool: PoolName) -> StoreFuture<u64>;
        context(read: ContextRead) -> StoreFuture<Option<StoredContext>>;
        contexts(filter: ContextFilter) -> StoreFuture<Vec<ContextSummary>>;
        rebase(base: ContextBase) -> StoreFuture<bool>;
        expire_contexts(before: Timestamp, limit: usize) -> StoreFuture<usize>;
        delete_context(pool: PoolName, context: ContextId) -> StoreFuture<Result<(), StateConflict>>;
    }
}

forerunner_store::keeps_no_events!(KeptOpen);

impl ClusterStore for KeptOpen {
    pass_on! {
        renew(node: NodeId, until: Timestamp) -> StoreFuture<()>;
        heartbeat(beat: Heartbeat) -> StoreFuture<ClusterState>;
        leases(node: NodeId, pool: PoolName, known: Vec<TaskId>) -> StoreFuture<Option<Vec<(TaskId, LeaseEpoch)>>>;
        deregister(node: NodeId) -> StoreFuture<()>;
    }

    forerunner_store::not_shared!();
}

impl SettingsStore for KeptOpen {
    pass_on! {
        put_setting(key: String, text: Option<String>) -> StoreFuture<()>;
        setting(key: String) -> StoreFuture<Option<String>>;
    }
}

impl ScheduleStore for KeptOpen {
    pass_on! {
        schedule_revisions() -> StoreFuture<Vec<(ScheduleName, u64)>>;
        schedules_of(names: Vec<ScheduleName>) -> StoreFuture<Vec<StoredSchedule>>;
        write_schedule(write: ScheduleWrite) -> StoreFuture<Result<Option<EnqueueOutcome>, ScheduleConflict>>;
    }
}

impl ApiKeyStore for KeptOpen {
    pass_on! {
        api_keys() -> StoreFuture<Vec<StoredApiKey>>;
        write_api_key(write: ApiKeyWrite) -> StoreFuture<Result<(), ApiKeyConflict>>;
        note_api_key_use(ids: Vec<ApiKeyId>, day: i64) -> StoreFuture<()>;
    }
}

impl Maintenance for KeptOpen {
    pass_on! {
        purge(before: Timestamp, limit: usize) -> StoreFuture<usize>;
        check() -> StoreFuture<()>;
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
