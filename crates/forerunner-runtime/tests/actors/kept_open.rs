//! A store that survives its node, so that a test can start the next node on it.

use std::time::Duration;

use forerunner_core::IdempotencyKey;
use forerunner_core::{AttemptRecord, ContextId, LeaseEpoch, NodeId, PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{
    AttemptEvent, DamagedTasks, DroppedPartitions, DueTasks, KeyHolder, Notification, TaskEvents, VacuumStatus,
};
use forerunner_store::{
    BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ClusterState, ContextBase, ContextFilter, ContextRead,
    ContextSummary, EnqueueOutcome, Heartbeat, LeaseLost, MemoryStore, Peek, Refusal, Rescue, Rescued, Settled,
    Settlement, Start, StateConflict, Store, StoreFuture, StoredContext, Submission, Swept, TaskChange, TaskCounts,
    TaskFilter, TaskPage, Updated,
};
use forerunner_store::{ClusterStore, ContextStore, EventLog, Maintenance, SettingsStore, TaskStore};
use tokio::sync::broadcast;

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
        pools_with_tasks() -> StoreFuture<Vec<PoolName>>;
    }

    fn keyed(&self, _pool: PoolName, _key: IdempotencyKey) -> StoreFuture<Option<KeyHolder>> {
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

impl EventLog for KeptOpen {
    fn persists_events(&self) -> bool {
        false
    }

    fn append_events(&self, _events: Vec<AttemptEvent>) -> StoreFuture<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn events(&self, _task: TaskId, _after: u64, _limit: usize) -> StoreFuture<Option<TaskEvents>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn prune_events(&self, _before: Timestamp, _limit: usize) -> StoreFuture<()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl ClusterStore for KeptOpen {
    pass_on! {
        renew(node: NodeId, until: Timestamp) -> StoreFuture<()>;
        heartbeat(beat: Heartbeat) -> StoreFuture<ClusterState>;
        deregister(node: NodeId) -> StoreFuture<()>;
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn leases(&self, _node: NodeId, _pool: PoolName) -> StoreFuture<Option<Vec<(TaskId, LeaseEpoch)>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn time(&self) -> StoreFuture<Option<Timestamp>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn notify(&self, _hints: Notification) {}

    fn subscribe(&self) -> Option<broadcast::Receiver<Notification>> {
        None
    }

    fn is_listening(&self) -> bool {
        false
    }
}

impl SettingsStore for KeptOpen {
    pass_on! {
        put_setting(key: String, text: Option<String>) -> StoreFuture<()>;
        setting(key: String) -> StoreFuture<Option<String>>;
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
