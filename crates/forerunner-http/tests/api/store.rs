//! A store that can be told to fail.

use std::sync::{Arc, Mutex};

use forerunner_core::{
    AttemptRecord, ContextId, IdempotencyKey, LeaseEpoch, NodeId, PoolName, Task, TaskId, TaskState, Timestamp,
};
use forerunner_store::{
    Beat, Beaten, BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ContextBase, ContextFilter, ContextRead,
    ContextSummary, Enqueued, KeyHolder, LeaseLost, Look, MemoryOptions, MemoryStore, Mismatch, Refusal, Rescue,
    Rescued, Settled, Settlement, Start, Store, StoreError, StoreFuture, StoredContext, Submission, Swept, TaskChange,
    TaskCounts, TaskFilter, TaskPage, Updated,
};

/// Does what a memory store does, unless a fault is set: then submissions, reads of a task and checks fail with it.
pub struct FaultyStore {
    inner: MemoryStore,
    fault: Mutex<Option<StoreError>>,
    /// How many tasks came with each call.
    groups: Mutex<Vec<usize>>,
}

impl FaultyStore {
    pub fn new() -> Arc<Self> {
        let inner = MemoryStore::new(MemoryOptions::default());
        Arc::new(Self { inner, fault: Mutex::default(), groups: Mutex::default() })
    }

    /// Returns how many tasks were stored together, call by call.
    pub fn groups(&self) -> Vec<usize> {
        self.groups.lock().unwrap().clone()
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

    fn enqueue(&self, batch: Vec<Submission>) -> StoreFuture<Vec<Result<Enqueued, Refusal>>> {
        self.groups.lock().unwrap().push(batch.len());
        self.unless_faulty(|inner| inner.enqueue(batch))
    }

    fn task(&self, task: TaskId) -> StoreFuture<Option<Task>> {
        self.unless_faulty(|inner| inner.task(task))
    }

    fn check(&self) -> StoreFuture<()> {
        self.unless_faulty(Store::check)
    }

    fn assign(&self, assignments: Vec<(TaskId, LeaseEpoch, Start)>) {
        self.inner.assign(assignments);
    }

    pass_on! {
        keyed(pool: PoolName, key: IdempotencyKey) -> Option<KeyHolder>;
        claim(claim: Claim) -> Vec<Task>;
        look(look: Look) -> Vec<Candidate>;
        take(claim: Claim, tasks: Vec<TaskId>) -> Vec<Task>;
        settle(batch: Vec<Settlement>) -> Vec<Result<Settled, LeaseLost>>;
        cancel(task: TaskId, now: Timestamp) -> Result<Cancelled, Mismatch>;
        redrive(task: TaskId, now: Timestamp) -> Result<Task, Mismatch>;
        update(task: TaskId, change: TaskChange, now: Timestamp) -> Result<Updated, Mismatch>;
        sweep(pool: PoolName, now: Timestamp) -> Swept;
        renew(node: NodeId, until: Timestamp) -> ();
        beat(beat: Beat) -> Beaten;
        leave(node: NodeId) -> ();
        rescue(rescue: Rescue) -> Rescued;
        tasks(filter: TaskFilter) -> TaskPage;
        select(filter: TaskFilter) -> Vec<(TaskId, TaskState)>;
        bulk(action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> BulkOutcome;
        attempts(task: TaskId) -> Option<Vec<AttemptRecord>>;
        counts(pool: PoolName) -> TaskCounts;
        input_bytes(pool: PoolName) -> u64;
        context_bytes(pool: PoolName) -> u64;
        context(read: ContextRead) -> Option<StoredContext>;
        contexts(filter: ContextFilter) -> Vec<ContextSummary>;
        rebase(base: ContextBase) -> bool;
        expire_contexts(before: Timestamp, limit: usize) -> usize;
        delete_context(pool: PoolName, context: ContextId) -> Result<(), Mismatch>;
        put_note(key: String, text: Option<String>) -> ();
        note(key: String) -> Option<String>;
        purge(before: Timestamp, limit: usize) -> usize;
        close() -> ();
    }
}
