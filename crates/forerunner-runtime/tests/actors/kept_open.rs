//! A store that survives its node, so that a test can start the next node on it.

use forerunner_core::{AttemptRecord, ContextId, LeaseEpoch, NodeId, PoolName, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{
    BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ClusterState, ContextBase, ContextFilter, ContextRead,
    ContextSummary, EnqueueOutcome, Heartbeat, LeaseLost, MemoryStore, Peek, Refusal, Rescue, Rescued, Settled,
    Settlement, Start, StateConflict, Store, StoreFuture, StoredContext, Submission, Swept, TaskChange, TaskCounts,
    TaskFilter, TaskPage, Updated,
};

pub struct KeptOpen(pub MemoryStore);

macro_rules! pass_on {
    ($($verb:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $verb(&self, $($name: $type),*) -> $answer { self.0.$verb($($name),*) })*
    };
}

impl Store for KeptOpen {
    pass_on! {
        kind() -> &'static str;
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
        renew(node: NodeId, until: Timestamp) -> StoreFuture<()>;
        heartbeat(beat: Heartbeat) -> StoreFuture<ClusterState>;
        deregister(node: NodeId) -> StoreFuture<()>;
        rescue(rescue: Rescue) -> StoreFuture<Rescued>;
        task(task: TaskId) -> StoreFuture<Option<Task>>;
        tasks(filter: TaskFilter) -> StoreFuture<TaskPage>;
        select(filter: TaskFilter) -> StoreFuture<Vec<(TaskId, TaskState)>>;
        bulk(action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> StoreFuture<BulkOutcome>;
        attempts(task: TaskId) -> StoreFuture<Option<Vec<AttemptRecord>>>;
        counts(pool: PoolName) -> StoreFuture<TaskCounts>;
        input_bytes(pool: PoolName) -> StoreFuture<u64>;
        context_bytes(pool: PoolName) -> StoreFuture<u64>;
        pools_with_tasks() -> StoreFuture<Vec<PoolName>>;
        context(read: ContextRead) -> StoreFuture<Option<StoredContext>>;
        contexts(filter: ContextFilter) -> StoreFuture<Vec<ContextSummary>>;
        rebase(base: ContextBase) -> StoreFuture<bool>;
        expire_contexts(before: Timestamp, limit: usize) -> StoreFuture<usize>;
        delete_context(pool: PoolName, context: ContextId) -> StoreFuture<Result<(), StateConflict>>;
        put_setting(key: String, text: Option<String>) -> StoreFuture<()>;
        setting(key: String) -> StoreFuture<Option<String>>;
        purge(before: Timestamp, limit: usize) -> StoreFuture<usize>;
        check() -> StoreFuture<()>;
    }

    fn close(&self) -> StoreFuture<()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
