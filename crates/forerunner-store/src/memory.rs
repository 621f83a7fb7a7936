//! Tasks in memory: for embedders who need no durability, and for tests.

mod api_keys;
mod bulk;
mod contexts;
mod lane;
mod peek;
mod reads;
mod rescue;
mod schedules;
mod slots;
mod state;
#[cfg(test)]
mod tests;
mod update;
mod verbs;

use crate::{ApiKeyConflict, ApiKeyStore, ApiKeyWrite, StoredApiKey};
use crate::{ClusterStore, ContextStore, Maintenance, ScheduleStore, SettingsStore, TaskStore};
use crate::{DamagedTasks, DroppedPartitions, DueTasks, VacuumStatus};
use std::{future, sync::Arc, time::Duration};

use parking_lot::Mutex;

use forerunner_core::{
    Answered, ApiKeyId, ApiKeyName, AttemptRecord, ContextId, IdempotencyKey, LeaseEpoch, NodeId, PoolName,
    ScheduleName, Task, TaskId, TaskState, TenantName, Timestamp,
};

use self::state::State;
use crate::{
    Bounds, BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ClusterState, ContextBase, ContextFilter,
    ContextRead, ContextSummary, EndWaiter, EnqueueOutcome, Heartbeat, KeyedTask, LeaseLost, LocalStore, Peek, Refusal,
    Rescue, Rescued, SETTINGS, ScheduleConflict, ScheduleWrite, Settled, SettledNow, Settlement, Start, StateConflict,
    Store, StoreError, StoreFuture, StoredContext, StoredSchedule, Submission, Swept, TaskChange, TaskCounts,
    TaskFilter, TaskPage, TenantUsage, Updated,
};

const KIND: &str = "memory";

/// How much a [`MemoryStore`] retains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Ended tasks to retain, with their idempotency keys; the oldest are removed first. By default 100,000.
    pub retained: usize,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { retained: 100_000 }
    }
}

/// A store that forgets everything when the process ends.
///
/// Each call does its work before it returns, under one lock for a few hundred nanoseconds a task, and its future is
/// ready at once.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(options: MemoryOptions) -> Self {
        Self { state: Mutex::new(State::new(options.retained)) }
    }

    /// Runs one verb, unless the store is closed.
    fn run<T: Send + 'static>(&self, verb: impl FnOnce(&mut State) -> T) -> StoreFuture<T> {
        Box::pin(future::ready(self.run_now(verb)))
    }

    fn run_now<T>(&self, verb: impl FnOnce(&mut State) -> T) -> Result<T, StoreError> {
        // No verb leaves the state half changed when it panics on behalf of a caller, so poison means nothing.
        let mut state = self.state.lock();
        if state.closed {
            return Err(StoreError::Closed { store: KIND });
        }
        let answer = verb(&mut state);
        state.notify_waiters();
        Ok(answer)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn local(&self) -> Option<&dyn LocalStore> {
        Some(self)
    }

    fn close(&self) -> StoreFuture<()> {
        self.run(State::close)
    }
}

/// Copies of rows, for callers that own what they get.
fn owned(tasks: Vec<Arc<Task>>) -> Vec<Task> {
    tasks.iter().map(|task| Task::clone(task)).collect()
}

impl LocalStore for MemoryStore {
    fn enqueue_now(
        &self,
        task: Arc<Task>,
        fingerprint: Option<[u8; 32]>,
        bounds: Bounds,
        waiter: Option<EndWaiter>,
    ) -> Result<Result<EnqueueOutcome, Refusal>, StoreError> {
        self.run_now(|state| state.accept_new(task, fingerprint, bounds, waiter))
    }

    fn claim_now(&self, claim: &Claim) -> Result<Vec<Arc<Task>>, StoreError> {
        self.run_now(|state| state.claim(claim))
    }

    fn settle_now(
        &self,
        leased: Arc<Task>,
        settlement: &mut Settlement,
    ) -> Result<Result<SettledNow, LeaseLost>, StoreError> {
        // The row is changed in place once the store has the only reference to it.
        drop(leased);
        self.run_now(|state| {
            let (settled, slot) = state.settle(settlement)?;
            let row = state.slots.at(slot).task.clone();
            let waiter = state.take_waiter(&row);
            state.trim();
            Ok(SettledNow { settled, row, waiter })
        })
    }
}

impl TaskStore for MemoryStore {
    fn enqueue(&self, batch: Vec<Submission>) -> StoreFuture<Vec<Result<EnqueueOutcome, Refusal>>> {
        self.run(|state| batch.into_iter().map(|submission| state.enqueue(submission)).collect())
    }

    fn keyed(&self, pool: PoolName, key: IdempotencyKey) -> StoreFuture<Option<KeyedTask>> {
        self.run(|state| state.keyed(&pool, &key))
    }

    fn claim(&self, claim: Claim) -> StoreFuture<Vec<Task>> {
        self.run(|state| owned(state.claim(&claim)))
    }

    fn peek(&self, peek: Peek) -> StoreFuture<Vec<Candidate>> {
        self.run(|state| state.peek(&peek))
    }

    fn claim_ids(&self, claim: Claim, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>> {
        self.run(|state| owned(state.claim_ids(&claim, &tasks)))
    }

    fn settle(&self, batch: Vec<Settlement>) -> StoreFuture<Vec<Result<Settled, LeaseLost>>> {
        self.run(|state| {
            let answers = batch.into_iter().map(|mut settlement| Ok(state.settle(&mut settlement)?.0)).collect();
            state.trim();
            answers
        })
    }

    fn assign(&self, assignments: Vec<(TaskId, LeaseEpoch, Start)>) {
        let mut state = self.state.lock();
        for (task, epoch, start) in assignments {
            state.assign(task, epoch, start);
        }
    }

    fn cancel(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Cancelled, StateConflict>> {
        self.run(|state| {
            let answer = state.cancel(task, now);
            state.trim();
            answer
        })
    }

    fn retry(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>> {
        self.run(|state| state.retry(task, now))
    }

    fn answer(&self, answered: Answered, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>> {
        self.run(|state| state.answer(&answered, now))
    }

    fn update(&self, task: TaskId, change: TaskChange, now: Timestamp) -> StoreFuture<Result<Updated, StateConflict>> {
        self.run(|state| state.update(task, change, now))
    }

    fn sweep(&self, pool: PoolName, now: Timestamp) -> StoreFuture<Swept> {
        self.run(|state| {
            let Some(pool) = state.pool(&pool) else { return Swept::default() };
            let swept = state.sweep(pool, now);
            state.trim();
            swept
        })
    }

    fn clock_set_back(&self, now: Timestamp, by: Duration) -> StoreFuture<usize> {
        self.run(|state| state.clock_set_back(now, by))
    }

    fn rescue(&self, rescue: Rescue) -> StoreFuture<Rescued> {
        self.run(|state| {
            let rescued = state.rescue(&rescue);
            state.trim();
            rescued
        })
    }

    fn task(&self, task: TaskId) -> StoreFuture<Option<Task>> {
        self.run(|state| state.slots.find(task).map(|slot| Task::clone(&state.slots.at(slot).task)))
    }

    fn tasks(&self, filter: TaskFilter) -> StoreFuture<TaskPage> {
        self.run(|state| state.page(&filter))
    }

    fn select(&self, filter: TaskFilter) -> StoreFuture<Vec<(TaskId, TaskState)>> {
        self.run(|state| state.select(&filter))
    }

    fn bulk(&self, action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> StoreFuture<BulkOutcome> {
        self.run(|state| {
            let outcome = state.bulk(&action, tasks, now);
            state.trim();
            outcome
        })
    }

    fn attempts(&self, task: TaskId) -> StoreFuture<Option<Vec<AttemptRecord>>> {
        self.run(|state| state.slots.find(task).map(|slot| state.slots.at(slot).attempts.clone()))
    }

    fn counts(&self, pool: PoolName) -> StoreFuture<TaskCounts> {
        self.run(|state| state.counts(&pool))
    }

    fn pools_with_tasks(&self) -> StoreFuture<Vec<PoolName>> {
        self.run(|state| state.pools_with_tasks())
    }

    fn due_by(&self, pool: PoolName, until: Timestamp) -> StoreFuture<Vec<DueTasks>> {
        self.run(move |state| state.due_by(&pool, until))
    }

    fn input_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.run(|state| state.input_bytes(&pool))
    }

    fn input_sizes(&self, tasks: Vec<TaskId>) -> StoreFuture<Vec<(TaskId, u64)>> {
        self.run(|state| state.input_sizes(&tasks))
    }

    fn note_cancellation(&self, tasks: Vec<TaskId>, by: Option<ApiKeyName>) -> StoreFuture<()> {
        self.run(|state| state.note_cancellation(&tasks, by.as_ref()))
    }

    fn tenant_usage(&self, tenant: TenantName) -> StoreFuture<TenantUsage> {
        self.run(|state| state.tenant_usage(&tenant))
    }
}

impl ContextStore for MemoryStore {
    fn context_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.run(|state| state.pool(&pool).map_or(0, |pool| state.pools[pool as usize].contexts.stored_bytes()))
    }

    fn context(&self, read: ContextRead) -> StoreFuture<Option<StoredContext>> {
        self.run(|state| state.context(read))
    }

    fn contexts(&self, filter: ContextFilter) -> StoreFuture<Vec<ContextSummary>> {
        self.run(|state| state.contexts(&filter))
    }

    fn rebase(&self, base: ContextBase) -> StoreFuture<bool> {
        self.run(|state| state.rebase(base))
    }

    fn expire_contexts(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        self.run(|state| state.expire_contexts(before, limit))
    }

    fn delete_context(&self, pool: PoolName, context: ContextId) -> StoreFuture<Result<(), StateConflict>> {
        self.run(|state| state.delete_context(pool, context))
    }
}

crate::keeps_no_events!(MemoryStore);

impl ClusterStore for MemoryStore {
    fn renew(&self, node: NodeId, until: Timestamp) -> StoreFuture<()> {
        self.run(|state| state.renew(node, until))
    }

    fn heartbeat(&self, beat: Heartbeat) -> StoreFuture<ClusterState> {
        self.run(|state| {
            state.renew(beat.node, beat.now + beat.lease);
            let kept = state.notes.iter().filter(|(key, _)| key.starts_with(SETTINGS));
            let settings = kept.map(|(key, text)| (key.clone(), text.clone())).collect();
            ClusterState { settings, ..state.membership.beat(beat) }
        })
    }

    fn leases(
        &self,
        node: NodeId,
        pool: PoolName,
        _known: Vec<TaskId>,
    ) -> StoreFuture<Option<Vec<(TaskId, LeaseEpoch)>>> {
        self.run(move |state| Some(state.leases(node, &pool)))
    }

    fn deregister(&self, node: NodeId) -> StoreFuture<()> {
        self.run(|state| state.membership.leave(node))
    }

    crate::not_shared!();
}

impl SettingsStore for MemoryStore {
    fn put_setting(&self, key: String, text: Option<String>) -> StoreFuture<()> {
        self.run(|state| {
            match text {
                Some(text) => state.notes.insert(key, text),
                None => state.notes.remove(&key),
            };
        })
    }

    fn setting(&self, key: String) -> StoreFuture<Option<String>> {
        self.run(|state| state.notes.get(&key).cloned())
    }
}

impl ScheduleStore for MemoryStore {
    fn schedule_revisions(&self) -> StoreFuture<Vec<(ScheduleName, u64)>> {
        self.run(|state| state.schedule_revisions())
    }

    fn schedules_of(&self, names: Vec<ScheduleName>) -> StoreFuture<Vec<StoredSchedule>> {
        self.run(|state| state.schedules_of(&names))
    }

    fn write_schedule(&self, write: ScheduleWrite) -> StoreFuture<Result<Option<EnqueueOutcome>, ScheduleConflict>> {
        self.run(|state| state.write_schedule(write))
    }
}

impl ApiKeyStore for MemoryStore {
    fn api_keys(&self) -> StoreFuture<Vec<StoredApiKey>> {
        self.run(|state| state.api_keys())
    }

    fn write_api_key(&self, write: ApiKeyWrite) -> StoreFuture<Result<(), ApiKeyConflict>> {
        self.run(|state| state.write_api_key(write))
    }

    fn note_api_key_use(&self, ids: Vec<ApiKeyId>, day: i64) -> StoreFuture<()> {
        self.run(|state| state.note_api_key_use(&ids, day))
    }
}

impl Maintenance for MemoryStore {
    fn purge(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        self.run(|state| state.purge(before, limit))
    }

    fn check(&self) -> StoreFuture<()> {
        self.run(|_| ())
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
