//! Arguments and results of the verbs of a store.

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use forerunner_core::{
    AgentId, ContextCost, LeaseEpoch, Next, NodeId, PoolName, Task, TaskId, TaskReport, TaskState, Timestamp,
};

use crate::{ContextCommit, StoreError};

/// An answer that arrives once the store has done its part.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// A task to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// The task, `scheduled` if its `run_at` is after its `submitted_at`, else `queued`.
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

/// Checks that only the store can make, in the transaction that accepts the task. By default nothing is bounded.
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
pub struct KeyedTask {
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
        /// Whether an agent could run it now (not delayed, no task of its context before it).
        claimable: bool,
        /// Its depth.
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
    /// How many of them start now: the first ones, and any that was running in a crash before. The others are
    /// prefetched for agents that are ready next. They have no start until
    /// [`TaskStore::assign`](crate::TaskStore::assign) or their [`Settlement`] reports it; if they are released before,
    /// the attempt does not count.
    pub starts: usize,
    /// Stored as the start of the attempts that start.
    pub now: Timestamp,
    /// When the leases end unless the node renews them; see [`ClusterStore::renew`](crate::ClusterStore::renew).
    pub lease_until: Timestamp,
}

/// A peek at claimable tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// In which pool.
    pub pool: PoolName,
    /// The node that would claim them: tasks that are reserved a moment for another node are left out.
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
    /// The cost of its context, for the task's record.
    pub context_cost: Option<Box<ContextCost>>,
    /// What the task reports besides its result, with what earlier attempts reported; `None` leaves it as it is.
    pub report: Option<Box<TaskReport>>,
    /// How the attempt began, if it did and [`TaskStore::assign`](crate::TaskStore::assign) did not report that.
    pub started: Option<Start>,
}

impl Settlement {
    /// The end of an attempt that changes no context.
    pub const fn new(task: TaskId, epoch: LeaseEpoch, now: Timestamp, next: Next) -> Self {
        Self { task, epoch, now, next, context: None, context_cost: None, report: None, started: None }
    }

    /// Releases a task of which no attempt began.
    pub const fn release(task: TaskId, epoch: LeaseEpoch, now: Timestamp) -> Self {
        Self::new(task, epoch, now, Next::Release)
    }
}

/// The result of a settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The state the task is in now.
    pub state: TaskState,
    /// Tasks that became claimable by it: the next of the context, or the task itself.
    pub claimable: usize,
    /// When the task itself may run again, if it waits for a retry.
    pub run_at: Option<Timestamp>,
}

/// The result of a cancellation.
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
    /// Tasks that changed from `scheduled` to `queued`.
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

/// What [`Maintenance::drop_expired_partitions`](crate::Maintenance::drop_expired_partitions) removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DroppedPartitions {
    /// Partitions, with all tasks in them.
    pub partitions: usize,
    /// Tasks one by one, since they were in none.
    pub tasks: usize,
}

/// Which tasks to re-queue.
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
    /// Newest first, or oldest first if the filter asks for that.
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

/// What a tenant has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantUsage {
    /// Tasks that have not ended.
    pub tasks: u64,
    /// Bytes of their inputs.
    pub input_bytes: u64,
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

/// Delayed tasks that become due within one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueTasks {
    /// When the first of them is due.
    pub at: Timestamp,
    /// How many agents they could occupy: tasks without a context, and contexts.
    pub tasks: u64,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// The node that sends it.
    pub node: NodeId,
    /// The time, for a store that has no clock of its own.
    pub now: Timestamp,
    /// How long the node counts as alive from now on, with the leases of its tasks. Without a heartbeat it leads for
    /// two thirds of that: another node leads well before the tasks are re-queued.
    pub lease: Duration,
    /// What the other nodes are to know of it: JSON.
    pub report: String,
    /// Its plan for all of them. Stored only if it leads under the plan's term.
    pub plan: Option<Plan>,
}

impl Heartbeat {
    /// Returns how long the node leads from now on, if it does.
    pub fn lead(&self) -> Duration {
        self.lease * 2 / 3
    }
}

/// The state of the nodes.
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
    /// The report in its newest heartbeat.
    pub report: String,
}

/// The node that plans for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// Its id.
    pub node: NodeId,
    /// Grows with each change of the leader, so that plans of an earlier leader are recognised and rejected.
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
