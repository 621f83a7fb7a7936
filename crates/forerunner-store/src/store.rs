//! The verbs that everything above a store uses.

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use forerunner_core::{
    AgentId, AttemptRecord, ContextCost, ContextId, IdempotencyKey, LeaseEpoch, Next, NodeId, PoolName, RetryPolicy,
    Task, TaskError, TaskId, TaskState, Timestamp,
};

use futures_util::future::try_join_all;
use tokio::sync::broadcast;

use crate::{
    AttemptEvent, BulkAction, BulkOutcome, Candidate, ContextBase, ContextCommit, ContextFilter, ContextRead,
    ContextSummary, DamagedTasks, LeaseLost, Notification, Refusal, StateConflict, StoreError, StoredContext,
    TaskChange, TaskEvents, TaskFilter, Updated, VacuumStatus,
};

/// An answer that arrives once the store has done its part.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Where tasks, results, contexts and history live.
///
/// **Durable**: an `Ok` from [`enqueue`](Store::enqueue), [`settle`](Store::settle), [`cancel`](Store::cancel) or
/// [`retry`](Store::retry) means on disk (fsync) for a durable store. [`claim`](Store::claim) may answer before:
/// a claim that a crash forgets leaves the task queued, and the epochs handed out before a crash are never accepted
/// after it.
///
/// **Ordered**: calls made one after another on one thread take effect in that order. Where the store is
/// [shared](Store::is_shared), plain submissions and claims, ends of attempts, and what a clock causes may overtake each other while
/// they are under way; whatever else is asked comes after the submissions, claims and ends before it.
///
/// **Fenced**: only the newest epoch of a running task may settle it.
///
/// **One of a context**: of all unfinished tasks of a context, only the one that became due first (ties by submission)
/// can be claimed; a retry keeps its place. Others wait in state `queued` and are not counted as claimable.
///
/// Calls start their work when called, not when polled; a dropped future does not undo it.
pub trait Store: Send + Sync + 'static {
    /// Names the kind: `memory`, `sqlite`, `postgres`.
    fn kind(&self) -> &'static str;

    /// Returns whether other nodes may use the same store, so that tasks of theirs are not to be taken back at a start.
    fn is_shared(&self) -> bool {
        false
    }

    /// Accepts tasks. Answers one entry per task, in order; all accepted ones are durable when it answers.
    fn enqueue(&self, batch: Vec<Submission>) -> StoreFuture<Vec<Result<EnqueueOutcome, Refusal>>>;

    /// Finds the task that has an idempotency key; none if the store cannot tell.
    fn keyed(&self, _pool: PoolName, _key: IdempotencyKey) -> StoreFuture<Option<KeyHolder>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Leases up to `claim.limit` claimable tasks: highest priority first, then the one that became due first.
    ///
    /// The answered tasks are `running` with a new epoch, `attempt` counted up, `started_at` and `node` set, and the
    /// stored version of their context with its birth.
    /// Tasks past their deadline at `claim.now` are not handed out; [`Store::sweep`] expires them.
    fn claim(&self, claim: Claim) -> StoreFuture<Vec<Task>>;

    /// Shows the first tasks that [`Store::claim`] would hand out, in that order, without handing them out.
    fn peek(&self, peek: Peek) -> StoreFuture<Vec<Candidate>>;

    /// As [`Store::claim`], but only of `tasks`: those that cannot be claimed any more are left out. They need not be the
    /// first ones.
    fn claim_ids(&self, claim: Claim, tasks: Vec<TaskId>) -> StoreFuture<Vec<Task>>;

    /// Ends attempts: result, task state and context change in one transaction. One entry per settlement, in order.
    fn settle(&self, batch: Vec<Settlement>) -> StoreFuture<Vec<Result<Settled, LeaseLost>>>;

    /// Notes which agent runs a task since when, for listings. Best effort: not durable, ignored when the lease is gone.
    fn assign(&self, assignments: Vec<(TaskId, LeaseEpoch, Start)>);

    /// Cancels a task that waits, at once; one that runs is reported, for its holder to stop, and marked: whatever ends
    /// its lease without a result ends the task. One that is damaged is given up: what cannot be read of it is replaced.
    /// A store that is shared keeps the mark, and tells the holder with its next
    /// beat ([`ClusterState::stops`]); in another it may go with the node.
    fn cancel(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Cancelled, StateConflict>>;

    /// Sends an ended task back to the queue with fresh attempts and crashes. One that is damaged goes back to what it was, once
    /// its row can be read again: to its end, or to the queue.
    fn retry(&self, task: TaskId, now: Timestamp) -> StoreFuture<Result<Task, StateConflict>>;

    /// Changes a task that waits. One that has become due in its context keeps its place there, whatever its new `run_at`:
    /// those behind it wait for it.
    fn update(&self, task: TaskId, change: TaskChange, now: Timestamp) -> StoreFuture<Result<Updated, StateConflict>>;

    /// Makes delayed tasks claimable whose time has come, and expires waiting ones past their deadline.
    fn sweep(&self, pool: PoolName, now: Timestamp) -> StoreFuture<Swept>;

    /// Makes retries due sooner after the clock was set back by `by`, and is `now` again: they wait for a time that passes, not
    /// for one of day. None is due later than twice the longest delay of its task from now on, as after a clock that was set
    /// back while nobody looked (`by` is zero). What never ran keeps the time that its submitter gave it. Answers how many
    /// it changed; a store with a [clock](Store::time) of its own has nothing to do.
    fn clock_set_back(&self, _now: Timestamp, _by: Duration) -> StoreFuture<usize> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Lets all leases of a node live until `until`, or as long as they do already: the node's heartbeat. A claim does
    /// the same with its `lease_until`.
    fn renew(&self, node: NodeId, until: Timestamp) -> StoreFuture<()>;

    /// Says that a node lives and what it has to tell, renews its leases, takes the lead if nobody has it, and answers how
    /// things stand. What a node calls once a second.
    fn heartbeat(&self, beat: Heartbeat) -> StoreFuture<ClusterState>;

    /// Lists the running tasks of a pool that are leased to a node, with their epochs; none if the store cannot tell.
    fn leases(&self, _node: NodeId, _pool: PoolName) -> StoreFuture<Option<Vec<(TaskId, LeaseEpoch)>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Forgets a node at once, so that the others need not wait for the end of its lease. Its tasks keep their leases.
    fn deregister(&self, node: NodeId) -> StoreFuture<()>;

    /// Takes tasks back whose node is gone, or counts as gone: each goes to the front of its queue as one crash more,
    /// or dies of too many (see [`RetryPolicy::max_crashes`]). One that was only held counts as having been in one crash,
    /// and does not die of it.
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

    /// Names tasks and their states in the order of [`Store::tasks`], without reading the tasks; at most 10,000.
    fn select(&self, filter: TaskFilter) -> StoreFuture<Vec<(TaskId, TaskState)>>;

    /// Does the same to many tasks, in one transaction: to each what the verb for one would do. Ids that are there twice
    /// count once. A few hundred at a time hold up nothing else for long.
    fn bulk(&self, action: BulkAction, tasks: Vec<TaskId>, now: Timestamp) -> StoreFuture<BulkOutcome>;

    /// Reads how the attempts of a task went that did not succeed, the oldest first: the newest 10 of them. None if there is no
    /// such task. They go with the task.
    fn attempts(&self, task: TaskId) -> StoreFuture<Option<Vec<AttemptRecord>>>;

    /// Counts the tasks of a pool by state. Exact; costs one index scan at most.
    fn counts(&self, pool: PoolName) -> StoreFuture<TaskCounts>;

    /// Lists the pools that have tasks that have not ended, by name; none if the store cannot tell. The cost grows with the
    /// pools, not with their tasks.
    fn pools_with_tasks(&self) -> StoreFuture<Vec<PoolName>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Counts what of a pool can be claimed now, as [`Store::counts`] does, but at a cost that does not grow without bound: a
    /// store may stop at 100,000.
    fn backlog(&self, pool: PoolName) -> StoreFuture<Backlog> {
        let counts = self.counts(pool);
        Box::pin(async move {
            let counts = counts.await?;
            let TaskCounts { claimable, next_due, .. } = counts;
            Ok(Backlog { claimable, waiting: Some(counts.waiting()), next_due })
        })
    }

    /// Sums the bytes of the inputs of a pool's tasks that have not ended.
    fn input_bytes(&self, pool: PoolName) -> StoreFuture<u64>;

    /// Sums the bytes that the contexts of a pool take: frames, and the pieces that these name, each piece once. Reads an index of
    /// all frames, so it is asked now and then.
    fn context_bytes(&self, pool: PoolName) -> StoreFuture<u64>;

    /// Reads the newest state of a context with the frames that lead to it: from a base, or from what the asker holds.
    fn context(&self, read: ContextRead) -> StoreFuture<Option<StoredContext>>;

    /// Reads a page of contexts without their contents, in the order of their ids.
    fn contexts(&self, filter: ContextFilter) -> StoreFuture<Vec<ContextSummary>>;

    /// Puts a fresh base in the place of the frames up to its version, if they are still there. Answers whether it did.
    fn rebase(&self, base: ContextBase) -> StoreFuture<bool>;

    /// Removes contexts that were last committed before `before` and have no unfinished task, at most `limit`, with all
    /// that only they need; answers how many.
    fn expire_contexts(&self, before: Timestamp, limit: usize) -> StoreFuture<usize>;

    /// Removes a context for good: its frames, and the pieces that no other context needs. Refused while a task of it has
    /// not ended.
    fn delete_context(&self, pool: PoolName, context: ContextId) -> StoreFuture<Result<(), StateConflict>>;

    /// Keeps a small text under a key, for window history and pool settings. `None` removes it.
    fn put_setting(&self, key: String, text: Option<String>) -> StoreFuture<()>;

    /// Reads what [`Store::put_setting`] kept.
    fn setting(&self, key: String) -> StoreFuture<Option<String>>;

    /// Returns whether it keeps what happens to tasks, so that any node can tell. A node on another store does so itself.
    fn persists_events(&self) -> bool {
        false
    }

    /// Keeps what agents said; what comes under a lease that is gone is ignored.
    fn append_events(&self, _events: Vec<AttemptEvent>) -> StoreFuture<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Reads up to `limit` events of a task with numbers above `after`, the first ones first; none if it is unknown.
    fn events(&self, _task: TaskId, _after: u64, _limit: usize) -> StoreFuture<Option<TaskEvents>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Forgets what was kept of the events of tasks that ended before `before`, of at most `limit` of them.
    fn prune_events(&self, _before: Timestamp, _limit: usize) -> StoreFuture<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Removes tasks that ended before `before`, with their idempotency keys, at most `limit`; answers how many.
    fn purge(&self, before: Timestamp, limit: usize) -> StoreFuture<usize>;

    /// Removes tasks that ended longer ago than `retention`, with their idempotency keys, where that costs less than removing
    /// each: it may keep some of them for up to a seventh of the retention, or an hour, more. `None` from a store that has to
    /// [`purge`](Store::purge) them.
    fn drop_expired_partitions(&self, _now: Timestamp, _retention: Duration) -> StoreFuture<Option<DroppedPartitions>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// What the store saw when it last looked after its tables; none from one that has nothing to tell.
    fn vacuum_status(&self) -> Option<VacuumStatus> {
        None
    }

    /// How many tasks are set aside because their rows cannot be read: they are `damaged`, and nothing else waits for them.
    fn damaged(&self) -> DamagedTasks {
        DamagedTasks::default()
    }

    /// The time by the store's own clock, which nodes that share it go by; `None` for a store without one, which goes by the
    /// times that callers give.
    fn time(&self) -> StoreFuture<Option<Timestamp>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Answers once a small write has reached the disk, so that readiness can tell a broken store.
    fn check(&self) -> StoreFuture<()>;

    /// Tells other nodes at once what they would find out by looking. Best effort; ignored by a store that is not shared.
    /// A shared store itself tells of what ended, was cancelled, or was put under a key that begins with [`SETTINGS`].
    fn notify(&self, _hints: Notification) {}

    /// Begins to hear what other nodes tell; `None` for a store that is not shared, or cannot tell.
    fn subscribe(&self) -> Option<broadcast::Receiver<Notification>> {
        None
    }

    /// Returns whether what other nodes tell arrives just now. Who waits for them looks at the store more often when not.
    fn is_listening(&self) -> bool {
        false
    }

    /// Finishes what was begun and lets go of files and connections. Later calls answer [`StoreError::Closed`].
    fn close(&self) -> StoreFuture<()>;
}

/// A task to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The task, `scheduled` if its `run_at` lies after its `submitted_at`, else `queued`.
    pub task: Task,
    /// A hash of what the submitter asked for, there when the task has an idempotency key: the same key with another
    /// fingerprint is refused.
    pub fingerprint: Option<[u8; 32]>,
    /// What the store checks when it accepts the task.
    pub bounds: Bounds,
}

impl Submission {
    /// A submission without bounds.
    pub fn new(task: Task, fingerprint: Option<[u8; 32]>) -> Self {
        Self { task, fingerprint, bounds: Bounds::default() }
    }
}

/// What only the store can check of a task, in the transaction that accepts it. Nothing is bounded unless said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The pool has no room for another context: a task of one that is neither stored nor waited for is refused.
    pub contexts_full: Option<ContextsFull>,
    /// The greatest depth that a child may have.
    pub max_depth: Option<u32>,
}

/// How many bytes of contexts a pool has, and may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextsFull {
    /// Bytes that are stored, as measured last.
    pub stored_bytes: u64,
    /// Most bytes.
    pub limit_bytes: u64,
}

/// The task that has an idempotency key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyHolder {
    /// The task.
    pub task: Task,
    /// The hash that it was submitted with.
    pub fingerprint: Option<[u8; 32]>,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq)]
pub enum EnqueueOutcome {
    /// Accepted now.
    New {
        /// Its id.
        task: TaskId,
        /// `scheduled` or `queued`.
        state: TaskState,
        /// Whether an agent could take it now (not delayed, nothing of its context ahead of it).
        claimable: bool,
        /// How many tasks stand above it.
        depth: u32,
    },
    /// The same key and body were accepted before: here is that task.
    Known(Box<Task>),
}

/// A request for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// From which pool.
    pub pool: PoolName,
    /// For which node.
    pub node: NodeId,
    /// At most this many.
    pub limit: usize,
    /// How many of them start now: the first ones, and any that was under way in a crash before. The others are held for
    /// agents that are ready next: they have no start until [`Store::assign`] or their [`Settlement`] tells it, and the
    /// attempt of one that is taken back before does not count.
    pub starts: usize,
    /// Stored as the start of the attempts that start.
    pub now: Timestamp,
    /// When the leases end unless the node renews them; see [`Store::renew`].
    pub lease_until: Timestamp,
}

/// A look at what could be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// In which pool.
    pub pool: PoolName,
    /// The node that would claim them: tasks that are kept a moment for another node are left out.
    pub node: NodeId,
    /// At most this many.
    pub limit: usize,
    /// Tasks past their deadline by then are left out.
    pub now: Timestamp,
}

/// How an attempt began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// On which agent.
    pub agent: AgentId,
    /// When.
    pub at: Timestamp,
}

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// Which task.
    pub task: TaskId,
    /// Under which lease.
    pub epoch: LeaseEpoch,
    /// When the attempt ended.
    pub now: Timestamp,
    /// What becomes of the task.
    pub next: Next,
    /// What became of its context, in the same transaction.
    pub context: Option<ContextCommit>,
    /// What its context took, for the task's record.
    pub context_cost: Option<Box<ContextCost>>,
    /// How the attempt began, if it did and that was not told by [`Store::assign`].
    pub started: Option<Start>,
}

/// What a settle brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The state the task is in now.
    pub state: TaskState,
    /// Tasks that became claimable by it: the next of the context, or the task itself.
    pub claimable: usize,
    /// When the task itself may run again, if it waits for a retry.
    pub run_at: Option<Timestamp>,
}

/// What a cancellation brought about.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancelled {
    /// It waited and is cancelled now.
    Done {
        /// The task after it.
        task: Box<Task>,
        /// Whether it was claimable before.
        was_claimable: bool,
        /// Tasks that became claimable by it.
        claimable: usize,
    },
    /// It runs: stop it, and settle it as cancelled.
    Running(Box<Task>),
    /// It had ended before: nothing changed.
    Ended(Box<Task>),
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Tasks that left `scheduled` for `queued`.
    pub promoted: Vec<TaskId>,
    /// Tasks that became claimable.
    pub claimable: usize,
    /// Tasks that expired, and whether each was claimable before.
    pub expired: Vec<(TaskId, bool)>,
    /// Bytes of their inputs.
    pub expired_bytes: u64,
    /// When the next sweep has something to do, as far as known.
    pub next_due: Option<Timestamp>,
}

/// What [`Store::drop_expired_partitions`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DroppedPartitions {
    /// Partitions, with all tasks in them.
    pub partitions: usize,
    /// Tasks one by one, since they were in none.
    pub tasks: usize,
}

/// Whose tasks to take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rescue {
    /// Of every node but this one: it alone has the store.
    AllBut {
        /// The node that lives.
        node: NodeId,
        /// Stored as the end of the attempts.
        now: Timestamp,
    },
    /// Of every node whose leases ended before `now`.
    Expired {
        /// The time to compare with.
        now: Timestamp,
    },
}

/// What a rescue did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Tasks that run again.
    pub requeued: Vec<TaskId>,
    /// Tasks that ended: of too many crashes, or since they had been cancelled while they ran.
    pub dead: Vec<TaskId>,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskPage {
    /// Newest first, or oldest first if the filter says so.
    pub tasks: Vec<Task>,
    /// Whether more follow.
    pub more: bool,
}

/// How many tasks of a pool are in which state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// By state; a state without tasks may be absent.
    pub by_state: BTreeMap<TaskState, u64>,
    /// Of the queued ones, those that can be claimed now.
    pub claimable: u64,
    /// When the next delayed task is due.
    pub next_due: Option<Timestamp>,
}

impl TaskCounts {
    /// Returns the number of tasks in one state.
    pub fn of(&self, state: TaskState) -> u64 {
        self.by_state.get(&state).copied().unwrap_or(0)
    }

    /// Tasks that have not ended and do not run: what the queue limit bounds.
    pub fn waiting(&self) -> u64 {
        self.of(TaskState::Scheduled) + self.of(TaskState::Queued)
    }
}

/// What of a pool waits for an agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Tasks that can be claimed now.
    pub claimable: u64,
    /// Tasks that have not ended and do not run; none if there are too many to be counted often.
    pub waiting: Option<u64>,
    /// When the next delayed task is due.
    pub next_due: Option<Timestamp>,
}

/// Why a task taken back from a lost node ends, or runs again: the error that is stored with it.
pub fn node_lost() -> TaskError {
    TaskError::new(
        forerunner_core::ErrorKind::NodeLost,
        "the node that ran the task went away before the result was stored",
    )
}

/// Whether a task that crashed once more is to die of it.
pub fn dies_of_crash(crashes: u32, retry: &RetryPolicy) -> bool {
    crashes >= retry.max_crashes
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whose.
    pub node: NodeId,
    /// When, for a store that has no clock of its own.
    pub now: Timestamp,
    /// How long the node counts as alive from now on, with the leases of its tasks. Two thirds of it are how long it leads
    /// without beating again, if it does: another one leads well before its tasks are taken from it.
    pub lease: Duration,
    /// What the other nodes are to know of it: JSON.
    pub report: String,
    /// What it plans for all of them. Kept only if it leads under the plan's term.
    pub plan: Option<Plan>,
}

impl Heartbeat {
    /// Returns how long the node leads from now on, if it does.
    pub fn lead(&self) -> Duration {
        self.lease * 2 / 3
    }
}

/// How the nodes stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterState {
    /// Those that live, also the one that asked; oldest first.
    pub nodes: Vec<LiveNode>,
    /// Which of them leads.
    pub leader: Leader,
    /// The newest plan; it may be from an earlier leader.
    pub plan: Option<Plan>,
    /// Running tasks of the node that asked which somebody cancelled.
    pub stops: Vec<(TaskId, LeaseEpoch)>,
    /// The notes whose keys begin with [`SETTINGS`]: what all nodes are to follow.
    pub settings: BTreeMap<String, String>,
    /// When the first lease of another node ends unless it beats, counted from now.
    pub next_end: Option<Duration>,
}

/// A node that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveNode {
    /// Its id.
    pub node: NodeId,
    /// What it told with its newest beat.
    pub report: String,
}

/// The node that plans for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// Its id.
    pub node: NodeId,
    /// Grows with each change of the lead, so that plans of an earlier leader can be told and refused.
    pub term: u64,
}

/// What a leader plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Under which term it was made.
    pub term: u64,
    /// What is planned: JSON.
    pub text: String,
}

/// How long a lease lasts unless renewed.
pub const LEASE: Duration = Duration::from_secs(15);

/// What the keys of notes begin with that all nodes are to follow.
pub const SETTINGS: &str = "settings/";
