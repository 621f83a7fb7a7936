//! What a store does, by role; [`Store`] is all roles together.

use std::time::Duration;

use forerunner_core::{
    Answered, ApiKeyId, ApiKeyName, AttemptRecord, ContextId, IdempotencyKey, LeaseEpoch, NodeId, PoolName,
    ScheduleName, Task, TaskId, TaskState, TenantName, Timestamp,
};
use futures_util::future::try_join_all;
use tokio::sync::broadcast;

use crate::{
    ApiKeyConflict, ApiKeyWrite, AttemptEvent, Backlog, BulkAction, BulkOutcome, Cancelled, Candidate, Claim,
    ClusterState, ContextBase, ContextFilter, ContextRead, ContextSummary, DamagedTasks, DroppedPartitions, DueTasks,
    EnqueueOutcome, Heartbeat, KeyedTask, LeaseLost, LocalStore, Notification, Peek, Refusal, Rescue, Rescued,
    ScheduleConflict, ScheduleWrite, Settled, Settlement, Start, StateConflict, StoreFuture, StoredApiKey,
    StoredContext, StoredSchedule, Submission, Swept, TaskChange, TaskCounts, TaskEvents, TaskFilter, TaskPage,
    TenantUsage, Updated, VacuumStatus,
};

/// Accepts, claims, ends, changes and reads tasks.
pub trait TaskStore: Send + Sync + 'static {
    /// Accepts tasks. Answers one entry per task, in order; all accepted ones are durable when it answers.
    fn enqueue(&self, batch: Vec<Submission>) -> StoreFuture<Vec<Result<EnqueueOutcome, Refusal>>>;

    /// Finds the task that has an idempotency key; `None` if the store has no index of keys.
    fn keyed(&self, pool: PoolName, key: IdempotencyKey) -> StoreFuture<Option<KeyedTask>>;

    /// Leases up to `claim.limit` claimable tasks: highest priority first, then the one that became due first.
    ///
    /// The returned tasks are `running` with a new epoch, `attempt` incremented, `started_at` and `node` set, and the
    /// stored version of their context with its birth. Tasks past their deadline at `claim.now` are not claimed;
    /// [`TaskStore::sweep`] expires them.
    fn claim(&self, claim: Claim) -> StoreFuture<Vec<Task>>;

    /// Shows the first tasks that [`TaskStore::claim`] would hand out, in that order, without handing them out.
    fn peek(&self, peek: Peek) -> StoreFuture<Vec<Candidate>>;

    /// As [`TaskStore::claim`], but of `tasks` only: those that are no longer claimable are left out. They need not be
    /// the first ones.
    fn claim_ids(&self, claim: Claim, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>>;

    /// Ends attempts: result, task state and context change in one transaction. One entry per settlement, in order.
    fn settle(&self, batch: Vec<Settlement>) -> StoreFuture<Vec<Result<Settled, LeaseLost>>>;

    /// Records which agent runs a task since when, for listings. Best effort: not durable, ignored when the lease has
    /// ended.
    fn assign(&self, assignments: Vec<(TaskId, LeaseEpoch, Start)>);

    /// Cancels a waiting task at once. A running one is reported, for its node to stop, and marked: whatever ends its
    /// lease without a result ends the task. A damaged one is given up: its unreadable data is replaced. A shared store
    /// persists the mark, and reports it to the node with its next heartbeat ([`ClusterState::stops`]); in another
    /// store it may be lost with the node.
    fn cancel(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Cancelled, StateConflict>>;

    /// Returns an ended task to the queue with fresh attempts and crashes. A damaged one returns to its earlier state,
    /// once its row is readable: to its end, or to the queue.
    fn retry(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>>;

    /// Returns a task that waits for an answer to its queue, at the place that it had, with the answer. It changes nothing
    /// if the task does not wait, or waits for something else than what was answered.
    fn answer(&self, answered: Answered, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>>;

    /// Changes a waiting task. A task that is due in its context keeps its place there, whatever its new `run_at`:
    /// those behind it wait for it.
    fn update(&self, task: TaskId, change: TaskChange, now: Timestamp) -> StoreFuture<Result<Updated, StateConflict>>;

    /// Makes delayed tasks claimable whose time has come, and expires waiting ones past their deadline.
    fn sweep(&self, pool: PoolName, now: Timestamp) -> StoreFuture<Swept>;

    /// Makes retries due sooner after the clock was set back by `by`, and is `now` again: a retry waits for a span of
    /// time, not for a time of day. None is due later than twice the longest delay of its task from now on, as after a
    /// clock that was set back while no node ran (`by` is zero). Tasks that never ran keep their submitter's time.
    /// Returns how many it changed; a store with a [clock](ClusterStore::time) of its own has nothing to do.
    fn clock_set_back(&self, now: Timestamp, by: Duration) -> StoreFuture<usize>;

    /// Re-queues tasks whose node is lost, or counts as lost. Each goes to the front of its queue with one crash more,
    /// or is dead after too many (see [`RetryPolicy::max_crashes`](forerunner_core::RetryPolicy::max_crashes)). A task
    /// that was only claimed ahead counts as having been in one crash, and does not die of it.
    fn rescue(&self, rescue: Rescue) -> StoreFuture<Rescued>;

    /// Reads one task.
    fn task(&self, task: TaskId) -> StoreFuture<Option<Task>>;

    /// Reads those of the tasks that there are, in any order.
    fn tasks_of(&self, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>> {
        let calls: Vec<_> = tasks.into_iter().map(|task| self.task(task)).collect();
        Box::pin(async move { Ok(try_join_all(calls).await?.into_iter().flatten().collect()) })
    }

    /// Reads a page of tasks, newest first.
    fn tasks(&self, filter: TaskFilter) -> StoreFuture<TaskPage>;

    /// Lists ids and states of tasks in the order of [`TaskStore::tasks`], without reading the tasks; at most 10,000.
    fn select(&self, filter: TaskFilter) -> StoreFuture<Vec<(TaskId, TaskState)>>;

    /// Applies one operation to many tasks, in one transaction, as the verb for one task would. An id that occurs twice
    /// counts once. A few hundred at a time delay nothing else for long.
    fn bulk(&self, action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> StoreFuture<BulkOutcome>;

    /// Reads how the attempts of a task went that did not succeed, the oldest first: the newest 10 of them. None if there is no
    /// such task. They go with the task.
    fn attempts(&self, task: TaskId) -> StoreFuture<Option<Vec<AttemptRecord>>>;

    /// Counts the tasks of a pool by state. Exact; costs at most one index scan.
    fn counts(&self, pool: PoolName) -> StoreFuture<TaskCounts>;

    /// Lists the pools with unfinished tasks, by name; empty if the store does not count them. The cost grows with the
    /// pools, not with their tasks.
    fn pools_with_tasks(&self) -> StoreFuture<Vec<PoolName>>;

    /// Counts what of a pool can be claimed now, as [`TaskStore::counts`] does, but at a cost that does not grow without bound: a
    /// store may stop at 100,000.
    fn backlog(&self, pool: PoolName) -> StoreFuture<Backlog> {
        let counts = self.counts(pool);
        Box::pin(async move {
            let counts = counts.await?;
            let TaskCounts { claimable, next_due, .. } = counts;
            Ok(Backlog { claimable, waiting: Some(counts.waiting()), next_due })
        })
    }

    /// Counts the delayed tasks of a pool that become due by `until`, by the second, the first due first; at most 4,096
    /// seconds. Tasks of one context in one second count once, since they run one after another. The cost grows with
    /// the tasks counted.
    fn due_by(&self, pool: PoolName, until: Timestamp) -> StoreFuture<Vec<DueTasks>>;

    /// Sums the bytes of the inputs of a pool's tasks that have not ended.
    fn input_bytes(&self, pool: PoolName) -> StoreFuture<u64>;

    /// Returns the bytes of the inputs of those of the tasks that have not ended, in any order, without reading the inputs.
    fn input_sizes(&self, tasks: Vec<TaskId>) -> StoreFuture<Vec<(TaskId, u64)>>;

    /// Notes by which key somebody is about to cancel tasks. Those that have ended, or are not there, are left out.
    fn note_cancellation(&self, tasks: Vec<TaskId>, by: Option<ApiKeyName>) -> StoreFuture<()>;

    /// Counts the tasks of a tenant that have not ended, and the bytes of their inputs. It reads all of them.
    fn tenant_usage(&self, tenant: TenantName) -> StoreFuture<TenantUsage>;
}

/// Reads, compacts and removes contexts. Attempts commit them with [`TaskStore::settle`].
pub trait ContextStore: Send + Sync + 'static {
    /// Sums the bytes of the contexts of a pool: frames, and the shared objects that these name, each once. It reads an
    /// index of all frames, so call it now and then only.
    fn context_bytes(&self, pool: PoolName) -> StoreFuture<u64>;

    /// Reads the newest state of a context with the frames that lead to it: from a base, or from the version that the
    /// caller has.
    fn context(&self, read: ContextRead) -> StoreFuture<Option<StoredContext>>;

    /// Reads a page of contexts without their contents, in the order of their ids.
    fn contexts(&self, filter: ContextFilter) -> StoreFuture<Vec<ContextSummary>>;

    /// Puts a fresh base in the place of the frames up to its version, if they are still there. Answers whether it did.
    fn rebase(&self, base: ContextBase) -> StoreFuture<bool>;

    /// Removes contexts that were last committed before `before` and have no unfinished task, at most `limit`, with all
    /// that only they need; returns how many.
    fn expire_contexts(&self, before: Timestamp, limit: usize) -> StoreFuture<usize>;

    /// Removes a context: its frames, and the shared objects that no other context needs. Rejected while a task of it
    /// has not ended.
    fn delete_context(&self, pool: PoolName, context: ContextId) -> StoreFuture<Result<(), StateConflict>>;
}

/// Persists what happens to tasks, where the store does that.
pub trait EventLog: Send + Sync + 'static {
    /// Returns whether the store persists events of tasks, so that any node can serve them. On another store the node
    /// has them itself.
    fn persists_events(&self) -> bool;

    /// Stores events of agents; those under an ended lease are ignored.
    fn append_events(&self, events: Vec<AttemptEvent>) -> StoreFuture<()>;

    /// Reads up to `limit` events of a task with numbers above `after`, the first ones first; none if it is unknown.
    fn events(&self, task: TaskId, after: u64, limit: usize) -> StoreFuture<Option<TaskEvents>>;

    /// Removes the events of tasks that ended before `before`, of at most `limit` of them.
    fn prune_events(&self, before: Timestamp, limit: usize) -> StoreFuture<()>;
}

/// Lets nodes share a store: leases, heartbeats, the leader, notifications and one clock.
pub trait ClusterStore: Send + Sync + 'static {
    /// Returns whether other nodes may use the same store, so that a start must not re-queue their tasks.
    fn is_shared(&self) -> bool;

    /// Lets all leases of a node live until `until`, or as long as they do already: the node's heartbeat. A claim does
    /// the same with its `lease_until`.
    fn renew(&self, node: NodeId, until: Timestamp) -> StoreFuture<()>;

    /// Reports that a node lives, with its report to the others. Renews its leases, becomes the leader if there is
    /// none, and returns the state of the cluster. A node calls it once a second.
    fn heartbeat(&self, beat: Heartbeat) -> StoreFuture<ClusterState>;

    /// Lists running tasks of a pool that are leased to a node, with their epochs: those among `known`, which are the
    /// tasks that the node has, and those whose claim may not have arrived. A store may list all others too. `None` if
    /// the store does not record nodes.
    fn leases(
        &self,
        node: NodeId,
        pool: PoolName,
        known: Vec<TaskId>,
    ) -> StoreFuture<Option<Vec<(TaskId, LeaseEpoch)>>>;

    /// Removes a node at once, so that the others need not wait for the end of its lease. Its tasks keep their leases.
    fn deregister(&self, node: NodeId) -> StoreFuture<()>;

    /// The time of the store's own clock, which nodes that share it use; `None` for a store without a clock, which uses
    /// the times of its callers.
    fn time(&self) -> StoreFuture<Option<Timestamp>>;

    /// Notifies other nodes at once of what they would find at their next poll. Best effort; ignored by a store that is
    /// not shared. A shared store itself notifies of ends, cancellations, and keys that begin with
    /// [`SETTINGS`](crate::SETTINGS).
    fn notify(&self, hints: Notification);

    /// Subscribes to notifications of other nodes; `None` for a store that is not shared, or has no notifications.
    fn subscribe(&self) -> Option<broadcast::Receiver<Notification>>;

    /// Returns whether notifications of other nodes arrive now. If not, callers poll the store more often.
    fn is_listening(&self) -> bool;
}

/// Small texts by key: saved forecasts and pool settings.
pub trait SettingsStore: Send + Sync + 'static {
    /// Stores a small text under a key, for window history and pool settings. `None` removes it.
    fn put_setting(&self, key: String, text: Option<String>) -> StoreFuture<()>;

    /// Reads the text that [`SettingsStore::put_setting`] stored.
    fn setting(&self, key: String) -> StoreFuture<Option<String>>;
}

/// Schedules: what submits tasks by itself.
pub trait ScheduleStore: Send + Sync + 'static {
    /// Lists all schedules with their revisions, by name, without reading them: nodes poll it.
    fn schedule_revisions(&self) -> StoreFuture<Vec<(ScheduleName, u64)>>;

    /// Reads those of the schedules that there are, in any order.
    fn schedules_of(&self, names: Vec<ScheduleName>) -> StoreFuture<Vec<StoredSchedule>>;

    /// Makes, changes or removes a schedule of an expected revision, and accepts a task along with it, in one
    /// transaction. So of nodes that decide about the same occurrence, one succeeds. Answers what became of the task.
    fn write_schedule(&self, write: ScheduleWrite) -> StoreFuture<Result<Option<EnqueueOutcome>, ScheduleConflict>>;
}

/// Keys of the API: what each may do. A store has hashes, and no key itself.
pub trait ApiKeyStore: Send + Sync + 'static {
    /// Reads all keys, by id: nodes poll it.
    fn api_keys(&self) -> StoreFuture<Vec<StoredApiKey>>;

    /// Makes, changes or removes a key of an expected revision.
    fn write_api_key(&self, write: ApiKeyWrite) -> StoreFuture<Result<(), ApiKeyConflict>>;

    /// Notes that a node accepted these keys on a day, counted from 1970-01-01. Keys that no longer exist are left out.
    fn note_api_key_use(&self, ids: Vec<ApiKeyId>, day: i64) -> StoreFuture<()>;
}

/// Removes what has expired, and reports the health of the store.
pub trait Maintenance: Send + Sync + 'static {
    /// Removes tasks that ended before `before`, with their idempotency keys, at most `limit`; returns how many.
    fn purge(&self, before: Timestamp, limit: usize) -> StoreFuture<usize>;

    /// Removes tasks that ended longer ago than `retention`, with their idempotency keys, where that costs less than
    /// removing each. Some of them may stay for up to a seventh of the retention, or an hour, more. `None` from a store
    /// that needs [`purge`](Maintenance::purge).
    fn drop_expired_partitions(&self, now: Timestamp, retention: Duration) -> StoreFuture<Option<DroppedPartitions>>;

    /// The result of the store's last vacuum; `None` from a store without one.
    fn vacuum_status(&self) -> Option<VacuumStatus>;

    /// How many tasks are set aside because their rows cannot be read: they are `damaged`, and nothing else waits for them.
    fn damaged(&self) -> DamagedTasks;

    /// Returns once a small write has reached the disk, so that readiness can detect a broken store.
    fn check(&self) -> StoreFuture<()>;
}

/// Where tasks, results, contexts and history live.
///
/// **Durable**: an `Ok` from [`enqueue`](TaskStore::enqueue), [`settle`](TaskStore::settle),
/// [`cancel`](TaskStore::cancel) or [`retry`](TaskStore::retry) means on disk (fsync) for a durable store.
/// [`claim`](TaskStore::claim) may return before: if a crash loses the claim, the task is still queued, and no epoch
/// from before a crash is accepted after it.
///
/// **Ordered**: calls made one after another on one thread take effect in that order. Where the store is
/// [shared](ClusterStore::is_shared), plain submissions and claims, ends of attempts, and calls of timers may overtake
/// each other while they are in progress. All other calls come after the submissions, claims and ends before them.
///
/// **Fenced**: only the newest epoch of a running task may settle it.
///
/// **One of a context**: of all unfinished tasks of a context, only the one that became due first (ties by submission)
/// can be claimed; a retry keeps its place. Others wait in state `queued` and do not count as claimable.
///
/// Calls start their work when called, not when polled; a dropped future does not undo it.
pub trait Store:
    TaskStore + ContextStore + EventLog + ClusterStore + SettingsStore + ScheduleStore + ApiKeyStore + Maintenance
{
    /// Names the kind: `memory`, `sqlite`, `postgres`.
    fn kind(&self) -> &'static str;

    /// Returns the store as one whose tasks are in the memory of this process, if it is that. It is not durable.
    fn local(&self) -> Option<&dyn LocalStore> {
        None
    }

    /// Finishes calls in progress and closes files and connections. Later calls return
    /// [`StoreError::Closed`](crate::StoreError::Closed).
    fn close(&self) -> StoreFuture<()>;
}
