//! The wrapper itself.

use crate::{ApiKeyConflict, ApiKeyStore, ApiKeyWrite, StoredApiKey};
use crate::{ClusterStore, ContextStore, EventLog, Maintenance, ScheduleStore, SettingsStore, TaskStore};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use forerunner_core::{
    Answered, ApiKeyId, ApiKeyName, AttemptRecord, ContextId, IdempotencyKey, LeaseEpoch, NodeId, PoolName,
    ScheduleName, Task, TaskId, TaskState, TenantName, Timestamp,
};

use tokio::sync::broadcast;

use super::{Effect, Fault, Schedule, Verb, effect_log::EffectLog};
use crate::{
    AttemptEvent, BulkAction, BulkOutcome, Cancelled, Candidate, Claim, ClusterState, ContextBase, ContextFilter,
    ContextRead, ContextSummary, DamagedTasks, DroppedPartitions, DueTasks, EnqueueOutcome, Heartbeat, KeyedTask,
    LeaseLost, Notification, Peek, Refusal, Rescue, Rescued, ScheduleConflict, ScheduleWrite, Settled, Settlement,
    Start, StateConflict, Store, StoreError, StoreFuture, StoredContext, StoredSchedule, Submission, Swept, TaskChange,
    TaskCounts, TaskEvents, TaskFilter, TaskPage, TenantUsage, Updated, VacuumStatus,
};

/// A store whose calls fail by a [`Schedule`], and otherwise do what the store inside does.
///
/// What reaches the store inside does so when it is called, in order, as [`Store`] promises; only answers are delayed.
pub struct FaultyStore<S: ?Sized> {
    inner: Arc<S>,
    schedule: Mutex<Schedule>,
    calls: [AtomicU64; Verb::COUNT],
    injected: AtomicU64,
    journal: EffectLog,
}

impl<S: Store + ?Sized> FaultyStore<S> {
    /// Wraps a store.
    pub fn new(inner: Arc<S>, schedule: Schedule) -> Self {
        let calls = std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            inner,
            schedule: Mutex::new(schedule),
            calls,
            injected: AtomicU64::new(0),
            journal: EffectLog::default(),
        }
    }

    /// Continues with another schedule. The count of calls continues too, so a script refers to all calls so far.
    pub fn reschedule(&self, schedule: Schedule) {
        *self.schedule.lock() = schedule;
    }

    /// Lets nothing fail from now on.
    pub fn heal(&self) {
        self.reschedule(Schedule::calm());
    }

    /// Returns how many calls of a verb there were.
    pub fn calls(&self, verb: Verb) -> u64 {
        self.calls[verb as usize].load(Ordering::Relaxed)
    }

    /// Returns how many calls met a fault.
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }

    /// Returns the effects so far, of the kinds in [`Effect`], in order.
    pub fn effects(&self) -> Vec<Effect> {
        self.journal.read()
    }

    fn next_fault(&self, verb: Verb) -> Option<Fault> {
        let number = self.calls[verb as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let fault = self.schedule.lock().fault(verb, number);
        self.injected.fetch_add(u64::from(fault.is_some()), Ordering::Relaxed);
        fault
    }

    fn through<T: Send + 'static>(&self, verb: Verb, call: impl FnOnce(&S) -> StoreFuture<T>) -> StoreFuture<T> {
        let failed = |reason: &str| StoreError::Unavailable { store: self.inner.kind(), reason: reason.to_owned() };
        match self.next_fault(verb) {
            None => call(&self.inner),
            Some(Fault::Before) => {
                let error = failed("a fault was injected before the call");
                Box::pin(async move { Err(error) })
            }
            Some(Fault::Slow(delay)) => {
                let call = call(&self.inner);
                Box::pin(async move {
                    let answer = call.await;
                    tokio::time::sleep(delay).await;
                    answer
                })
            }
            Some(Fault::After) => {
                let error = failed("a fault was injected after the call; its outcome is unknown");
                instead(call(&self.inner), async move { error })
            }
            Some(Fault::Lost(patience)) => {
                let error = failed("the answer was lost; the outcome is unknown");
                instead(call(&self.inner), async move {
                    tokio::time::sleep(patience).await;
                    error
                })
            }
            Some(Fault::Silent) => instead(call(&self.inner), std::future::pending()),
        }
    }
}

/// Records the effect of an answer before the caller gets it.
fn noting<T: Send + 'static, I: IntoIterator<Item = Effect>>(
    journal: &EffectLog,
    call: StoreFuture<T>,
    effects: impl FnOnce(&T) -> I + Send + 'static,
) -> StoreFuture<T> {
    let journal = journal.clone();
    Box::pin(async move {
        let answer = call.await?;
        journal.note(effects(&answer));
        Ok(answer)
    })
}

/// Lets a call come to its end, and answers something else.
fn instead<T: Send + 'static>(
    call: StoreFuture<T>,
    error: impl Future<Output = StoreError> + Send + 'static,
) -> StoreFuture<T> {
    Box::pin(async move {
        drop(call.await);
        Err(error.await)
    })
}

impl<S: Store + ?Sized> Store for FaultyStore<S> {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn close(&self) -> StoreFuture<()> {
        self.through(Verb::Close, |store| store.close())
    }
}

impl<S: Store + ?Sized> TaskStore for FaultyStore<S> {
    fn enqueue(&self, batch: Vec<Submission>) -> StoreFuture<Vec<Result<EnqueueOutcome, Refusal>>> {
        self.through(Verb::Enqueue, |store| {
            noting(&self.journal, store.enqueue(batch), |answers| {
                let accepted = answers.iter().filter_map(|answer| match answer {
                    Ok(EnqueueOutcome::New { task, .. }) => Some(Effect::Accepted(*task)),
                    _ => None,
                });
                accepted.collect::<Vec<_>>()
            })
        })
    }

    fn keyed(&self, pool: PoolName, key: IdempotencyKey) -> StoreFuture<Option<KeyedTask>> {
        self.through(Verb::Task, |store| store.keyed(pool, key))
    }

    fn claim(&self, claim: Claim) -> StoreFuture<Vec<Task>> {
        self.through(Verb::Claim, |store| {
            noting(&self.journal, store.claim(claim), |tasks| {
                tasks.iter().map(|task| Effect::Claimed(task.id, task.epoch)).collect::<Vec<_>>()
            })
        })
    }

    fn peek(&self, peek: Peek) -> StoreFuture<Vec<Candidate>> {
        self.through(Verb::Peek, |store| store.peek(peek))
    }

    fn claim_ids(&self, claim: Claim, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>> {
        self.through(Verb::ClaimIds, |store| {
            noting(&self.journal, store.claim_ids(claim, tasks), |tasks| {
                tasks.iter().map(|task| Effect::Claimed(task.id, task.epoch)).collect::<Vec<_>>()
            })
        })
    }

    fn settle(&self, batch: Vec<Settlement>) -> StoreFuture<Vec<Result<Settled, LeaseLost>>> {
        let asked: Vec<_> = batch.iter().map(|one| (one.task, one.epoch)).collect();
        self.through(Verb::Settle, |store| {
            noting(&self.journal, store.settle(batch), |answers| {
                let effects = answers.iter().zip(asked).map(|(answer, (task, epoch))| match answer {
                    Ok(settled) => Effect::Settled(task, epoch, settled.state),
                    Err(_) => Effect::Refused(task, epoch),
                });
                effects.collect::<Vec<_>>()
            })
        })
    }

    fn assign(&self, assignments: Vec<(TaskId, LeaseEpoch, Start)>) {
        self.inner.assign(assignments);
    }

    fn cancel(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Cancelled, StateConflict>> {
        self.through(Verb::Cancel, |store| store.cancel(task, now))
    }

    fn retry(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>> {
        self.through(Verb::Retry, |store| store.retry(task, now))
    }

    fn answer(&self, answered: Answered, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>> {
        self.inner.answer(answered, now)
    }

    fn update(&self, task: TaskId, change: TaskChange, now: Timestamp) -> StoreFuture<Result<Updated, StateConflict>> {
        self.inner.update(task, change, now)
    }

    fn sweep(&self, pool: PoolName, now: Timestamp) -> StoreFuture<Swept> {
        self.through(Verb::Sweep, |store| store.sweep(pool, now))
    }

    fn clock_set_back(&self, now: Timestamp, by: Duration) -> StoreFuture<usize> {
        self.inner.clock_set_back(now, by)
    }

    fn rescue(&self, rescue: Rescue) -> StoreFuture<Rescued> {
        self.through(Verb::Rescue, |store| store.rescue(rescue))
    }

    fn task(&self, task: TaskId) -> StoreFuture<Option<Task>> {
        self.through(Verb::Task, |store| store.task(task))
    }

    fn tasks(&self, filter: TaskFilter) -> StoreFuture<TaskPage> {
        self.through(Verb::Tasks, |store| store.tasks(filter))
    }

    fn select(&self, filter: TaskFilter) -> StoreFuture<Vec<(TaskId, TaskState)>> {
        self.through(Verb::Tasks, |store| store.select(filter))
    }

    fn bulk(&self, action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> StoreFuture<BulkOutcome> {
        self.inner.bulk(action, tasks, now)
    }

    fn attempts(&self, task: TaskId) -> StoreFuture<Option<Vec<AttemptRecord>>> {
        self.inner.attempts(task)
    }

    fn counts(&self, pool: PoolName) -> StoreFuture<TaskCounts> {
        self.through(Verb::Counts, |store| store.counts(pool))
    }

    fn due_by(&self, pool: PoolName, until: Timestamp) -> StoreFuture<Vec<DueTasks>> {
        self.through(Verb::Counts, move |store| store.due_by(pool, until))
    }

    fn input_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.through(Verb::Counts, |store| store.input_bytes(pool))
    }

    fn input_sizes(&self, tasks: Vec<TaskId>) -> StoreFuture<Vec<(TaskId, u64)>> {
        self.through(Verb::Tasks, |store| store.input_sizes(tasks))
    }

    fn note_cancellation(&self, tasks: Vec<TaskId>, by: Option<ApiKeyName>) -> StoreFuture<()> {
        self.through(Verb::Cancel, |store| store.note_cancellation(tasks, by))
    }

    fn tenant_usage(&self, tenant: TenantName) -> StoreFuture<TenantUsage> {
        self.through(Verb::Counts, |store| store.tenant_usage(tenant))
    }

    fn pools_with_tasks(&self) -> StoreFuture<Vec<PoolName>> {
        self.through(Verb::Counts, TaskStore::pools_with_tasks)
    }
}

impl<S: Store + ?Sized> ContextStore for FaultyStore<S> {
    fn context_bytes(&self, pool: PoolName) -> StoreFuture<u64> {
        self.through(Verb::Counts, |store| store.context_bytes(pool))
    }

    fn context(&self, read: ContextRead) -> StoreFuture<Option<StoredContext>> {
        self.through(Verb::Context, |store| store.context(read))
    }

    fn contexts(&self, filter: ContextFilter) -> StoreFuture<Vec<ContextSummary>> {
        self.through(Verb::Contexts, |store| store.contexts(filter))
    }

    fn rebase(&self, base: ContextBase) -> StoreFuture<bool> {
        self.through(Verb::Rebase, |store| store.rebase(base))
    }

    fn expire_contexts(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        self.through(Verb::ExpireContexts, |store| store.expire_contexts(before, limit))
    }

    fn delete_context(&self, pool: PoolName, context: ContextId) -> StoreFuture<Result<(), StateConflict>> {
        self.through(Verb::DeleteContext, |store| store.delete_context(pool, context))
    }
}

impl<S: Store + ?Sized> EventLog for FaultyStore<S> {
    fn persists_events(&self) -> bool {
        self.inner.persists_events()
    }

    fn append_events(&self, events: Vec<AttemptEvent>) -> StoreFuture<()> {
        self.inner.append_events(events)
    }

    fn events(&self, task: TaskId, after: u64, limit: usize) -> StoreFuture<Option<TaskEvents>> {
        self.inner.events(task, after, limit)
    }

    fn prune_events(&self, before: Timestamp, limit: usize) -> StoreFuture<()> {
        self.inner.prune_events(before, limit)
    }
}

impl<S: Store + ?Sized> ClusterStore for FaultyStore<S> {
    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn renew(&self, node: NodeId, until: Timestamp) -> StoreFuture<()> {
        self.through(Verb::Renew, |store| store.renew(node, until))
    }

    fn heartbeat(&self, beat: Heartbeat) -> StoreFuture<ClusterState> {
        self.through(Verb::Heartbeat, |store| store.heartbeat(beat))
    }

    fn leases(
        &self,
        node: NodeId,
        pool: PoolName,
        known: Vec<TaskId>,
    ) -> StoreFuture<Option<Vec<(TaskId, LeaseEpoch)>>> {
        self.inner.leases(node, pool, known)
    }

    fn deregister(&self, node: NodeId) -> StoreFuture<()> {
        self.through(Verb::Deregister, |store| store.deregister(node))
    }

    fn time(&self) -> StoreFuture<Option<Timestamp>> {
        self.inner.time()
    }

    fn notify(&self, hints: Notification) {
        self.inner.notify(hints);
    }

    fn subscribe(&self) -> Option<broadcast::Receiver<Notification>> {
        self.inner.subscribe()
    }

    fn is_listening(&self) -> bool {
        self.inner.is_listening()
    }
}

impl<S: Store + ?Sized> ScheduleStore for FaultyStore<S> {
    fn schedule_revisions(&self) -> StoreFuture<Vec<(ScheduleName, u64)>> {
        self.through(Verb::Schedules, |store| store.schedule_revisions())
    }

    fn schedules_of(&self, names: Vec<ScheduleName>) -> StoreFuture<Vec<StoredSchedule>> {
        self.through(Verb::Schedules, |store| store.schedules_of(names))
    }

    fn write_schedule(&self, write: ScheduleWrite) -> StoreFuture<Result<Option<EnqueueOutcome>, ScheduleConflict>> {
        self.through(Verb::WriteSchedule, |store| {
            noting(&self.journal, store.write_schedule(write), |answer| match answer {
                Ok(Some(EnqueueOutcome::New { task, .. })) => Some(Effect::Accepted(*task)),
                _ => None,
            })
        })
    }
}

impl<S: Store + ?Sized> ApiKeyStore for FaultyStore<S> {
    fn api_keys(&self) -> StoreFuture<Vec<StoredApiKey>> {
        self.through(Verb::ApiKeys, |store| store.api_keys())
    }

    fn write_api_key(&self, write: ApiKeyWrite) -> StoreFuture<Result<(), ApiKeyConflict>> {
        self.through(Verb::WriteApiKey, |store| store.write_api_key(write))
    }

    fn note_api_key_use(&self, ids: Vec<ApiKeyId>, day: i64) -> StoreFuture<()> {
        self.through(Verb::WriteApiKey, |store| store.note_api_key_use(ids, day))
    }
}

impl<S: Store + ?Sized> SettingsStore for FaultyStore<S> {
    fn put_setting(&self, key: String, text: Option<String>) -> StoreFuture<()> {
        self.through(Verb::PutSetting, |store| store.put_setting(key, text))
    }

    fn setting(&self, key: String) -> StoreFuture<Option<String>> {
        self.through(Verb::Setting, |store| store.setting(key))
    }
}

impl<S: Store + ?Sized> Maintenance for FaultyStore<S> {
    fn purge(&self, before: Timestamp, limit: usize) -> StoreFuture<usize> {
        self.through(Verb::Purge, |store| store.purge(before, limit))
    }

    fn drop_expired_partitions(&self, now: Timestamp, retention: Duration) -> StoreFuture<Option<DroppedPartitions>> {
        self.inner.drop_expired_partitions(now, retention)
    }

    fn check(&self) -> StoreFuture<()> {
        self.through(Verb::Check, |store| store.check())
    }

    fn damaged(&self) -> DamagedTasks {
        self.inner.damaged()
    }

    fn vacuum_status(&self) -> Option<VacuumStatus> {
        self.inner.vacuum_status()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::MemoryStore;

    fn faulty(faults: &[(u64, Fault)]) -> FaultyStore<MemoryStore> {
        let script = faults.iter().map(|(number, fault)| (Verb::PutSetting, *number, *fault));
        FaultyStore::new(Arc::new(MemoryStore::default()), Schedule::script(script))
    }

    async fn put(store: &FaultyStore<MemoryStore>, text: &str) -> Result<(), StoreError> {
        store.put_setting("key".to_owned(), Some(text.to_owned())).await
    }

    async fn note(store: &FaultyStore<MemoryStore>) -> Option<String> {
        store.setting("key".to_owned()).await.unwrap()
    }

    #[tokio::test]
    async fn each_fault_does_and_answers_what_it_says() {
        let store = faulty(&[(2, Fault::Before), (3, Fault::After), (4, Fault::Lost(Duration::from_millis(20)))]);
        put(&store, "1").await.unwrap();
        assert!(put(&store, "2").await.unwrap_err().is_retryable());
        assert_eq!(note(&store).await.as_deref(), Some("1"));
        assert!(put(&store, "3").await.unwrap_err().is_retryable());
        assert_eq!(note(&store).await.as_deref(), Some("3"));
        assert!(put(&store, "4").await.unwrap_err().to_string().contains("answer was lost"));
        assert_eq!(note(&store).await.as_deref(), Some("4"));
        assert_eq!((store.calls(Verb::PutSetting), store.injected()), (4, 3));
    }

    #[tokio::test]
    async fn what_is_slow_or_silent_has_been_done_all_the_same() {
        let store = faulty(&[(1, Fault::Slow(Duration::from_millis(30))), (2, Fault::Silent)]);
        let slow = put(&store, "1");
        let mut slow = std::pin::pin!(slow);
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut slow).await.is_err());
        assert_eq!(note(&store).await.as_deref(), Some("1"));
        slow.await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), put(&store, "2")).await.is_err());
        assert_eq!(note(&store).await.as_deref(), Some("2"));
        store.heal();
        put(&store, "3").await.unwrap();
    }

    mod calm {
        use std::sync::Arc;

        use crate::{
            MemoryStore, Store,
            faulty::{FaultyStore, Schedule},
        };

        crate::store_conformance!(|| async {
            Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()), Schedule::calm())) as Arc<dyn Store>
        });
    }
}
