//! The messages of a queue: requests that it accepts, reports that it sends.

use std::{sync::Arc, time::Duration};

use actix::{Message, Recipient};
use forerunner_core::{
    AgentId, Answered, ContextCost, DependencyReport, LeaseEpoch, Outcome, Priority, Selection, Task, TaskId,
    TaskReport, Timestamp, placement::Candidate,
};
use forerunner_forecast::Arrival;
use forerunner_store::{
    BulkAction, ContextCommit, EnqueueOutcome, LeaseLost, ScheduleConflict, ScheduleWrite, StoreError, Submission,
    TaskChange,
};
use tokio::sync::oneshot;

use super::sample::{QueueSample, SampleMark};
use crate::{Error, agent::CancelReason, status::Cause};

/// Accept a task. Sent by a `Handle`, which has reserved its place in the admission. The queue answers once the task is
/// durable. Submissions are batched on their way.
pub(crate) struct Enqueue {
    pub(crate) submission: Submission,
    pub(crate) reply: Reply,
}

/// A task that a [`LocalStore`](forerunner_store::LocalStore) has accepted. Sent by a `Handle` in batches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) task: TaskId,
    /// The number of its context for the forecast.
    pub(crate) session: Option<u64>,
    pub(crate) submitted_at: Timestamp,
    pub(crate) run_at: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) priority: Priority,
    pub(crate) input_bytes: u64,
    /// Whether an agent could run it now.
    pub(crate) claimable: bool,
}

impl Arrived {
    /// Describes a task before the store has it.
    pub(crate) fn of(task: &Task) -> Self {
        let Task { id, submitted_at, run_at, deadline, priority, .. } = *task;
        let input_bytes = task.input.len() as u64;
        let session = task.context.as_ref().map(|context| Arrival::session_named(context.as_str()));
        Self { task: id, session, submitted_at, run_at, deadline, priority, input_bytes, claimable: false }
    }
}

/// Accept the task of a schedule with the change of the schedule. Sent by a `Handle`, which has reserved its place in the
/// admission.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FireSchedule {
    pub(crate) write: ScheduleWrite,
    pub(crate) reply: oneshot::Sender<Result<Result<Option<EnqueueOutcome>, ScheduleConflict>, StoreError>>,
}

/// Where the answer to a submission goes. Dropped before the store call, it answers that the node is shutting down.
/// Dropped later, it answers nothing, since the outcome is unknown.
pub(crate) struct Reply {
    sender: Option<oneshot::Sender<Result<EnqueueOutcome, Error>>>,
    sent: bool,
}

impl Reply {
    pub(crate) fn to(sender: oneshot::Sender<Result<EnqueueOutcome, Error>>) -> Self {
        Self { sender: Some(sender), sent: false }
    }

    /// Notes that the store call is made.
    pub(crate) fn note_sent(&mut self) {
        self.sent = true;
    }

    pub(crate) fn answer(mut self, answer: Result<EnqueueOutcome, Error>) {
        if let Some(sender) = self.sender.take() {
            // The caller may have stopped waiting.
            let _ = sender.send(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take().filter(|_| !self.sent) {
            let _ = sender.send(Err(Error::ShuttingDown));
        }
    }
}

/// The clock was set back by this much, and the store has adjusted. Sent by the node.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct ClockSetBack(pub(crate) Duration);

/// The pool has this many more free slots. Sent by the `PoolActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Demand(pub(crate) usize);

/// The pool has this many fewer free slots. Sent by the `PoolActor`; answered with [`Withdrawn`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Withdraw(pub(crate) usize);

/// How many of the slots the queue removed. Sent to the `PoolActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Withdrawn {
    pub(crate) asked: usize,
    pub(crate) got: usize,
}

/// Tasks for free agents, leased to this node. Sent to the `PoolActor`, one task for each open slot at most.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Assign {
    pub(crate) tasks: Vec<Arc<Task>>,
    /// The store is behind: agents start nothing new before the ends of their current tasks are durable.
    pub(crate) await_settles: bool,
}

/// What a queue needs of its pool. Sent by the `PoolActor` when it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Message)]
#[rtype(result = "()")]
pub(crate) struct PoolFacts {
    /// The pool selects among the waiting tasks before they are claimed.
    pub(crate) uses_lookahead: bool,
    /// The measured time to start an agent; zero before the first measurement.
    pub(crate) cold_start: Duration,
    /// The number of agents that the pool should have.
    pub(crate) agents: u32,
    /// The number of agents that are warm: as many tasks run at the same time at most. 0 before the first one is.
    pub(crate) warm: u32,
}

/// Select from these tasks, the first that wait, at most `limit` to claim now. Sent to the `PoolActor`.
#[derive(Message)]
#[rtype(result = "Selected")]
pub(crate) struct Select {
    pub(crate) tasks: Vec<Candidate>,
    pub(crate) limit: usize,
}

/// The tasks that a pool selected.
#[derive(Debug, actix::MessageResponse)]
pub(crate) struct Selected(pub(crate) Selection);

/// An attempt ended. Sent by the `AgentActor` that ran it, or by the `PoolActor` for an attempt that never began or
/// whose agent vanished. Settles are batched on their way.
pub(crate) struct Settle {
    pub(crate) task: TaskId,
    pub(crate) epoch: LeaseEpoch,
    pub(crate) outcome: Outcome,
    pub(crate) context: Option<Box<ContextCommit>>,
    /// The cost of the task's context; `None` for a task without one.
    pub(crate) context_cost: Option<Box<ContextCost>>,
    /// What the task reports besides its result; `None` if there is nothing new.
    pub(crate) report: Option<Box<TaskReport>>,
    /// Agent, duration and context size of the run; `None` for an attempt that never began.
    pub(crate) ran: Option<Ran>,
    /// Receives a message when the end is durable.
    pub(crate) reply: Option<Recipient<SettleDone>>,
}

impl Settle {
    /// The end of an attempt that never began, or whose agent vanished.
    pub(crate) const fn without_run(task: TaskId, epoch: LeaseEpoch, outcome: Outcome) -> Self {
        Self { task, epoch, outcome, context: None, context_cost: None, report: None, ran: None, reply: None }
    }

    /// The end of an attempt that ran.
    pub(crate) fn ran(task: &Task, outcome: Outcome, ran: Ran) -> Self {
        Self { ran: Some(ran), ..Self::without_run(task.id, task.epoch, outcome) }
    }
}

/// How an attempt ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ran {
    pub(crate) agent: AgentId,
    pub(crate) service_s: f64,
    pub(crate) context_bytes: u64,
}

/// The end of an attempt is durable, or the store rejected it. Sent to the `AgentActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SettleDone {
    pub(crate) task: TaskId,
    pub(crate) result: Result<(), LeaseLost>,
}

/// Cancel a task. Sent by a `Handle`; answered with the task as it is afterwards.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Cancel {
    pub(crate) task: TaskId,
    pub(crate) reply: oneshot::Sender<Result<Task, Error>>,
}

/// Stop a running task. Sent to the `PoolActor`, which stops its agent's run.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopTask {
    pub(crate) task: TaskId,
    pub(crate) reason: CancelReason,
}

/// Return an ended task to the queue. Sent by a `Handle`; answered with the task as it is afterwards.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RetryTask {
    pub(crate) task: TaskId,
    pub(crate) reply: oneshot::Sender<Result<Task, Error>>,
}

/// Answer what the agent of a task asked. Sent by a `Handle`; answered with the task as it is afterwards.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AnswerTask {
    pub(crate) answered: Answered,
    pub(crate) reply: oneshot::Sender<Result<Task, Error>>,
}

/// A bulk operation on the pool's tasks is stored: cancel, retry, or a move from or to another pool. Sent by a
/// `Handle`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct BulkDone {
    pub(crate) action: BulkAction,
    /// Tasks of this pool: those that waited and ended or moved, or those that had ended and wait again.
    pub(crate) tasks: Vec<TaskId>,
    /// Tasks that were moved here. The `Handle` has reserved their places in the admission.
    pub(crate) arrived: Vec<TaskId>,
    /// Bytes of the inputs of `tasks` and of `arrived`.
    pub(crate) bytes: (u64, u64),
    /// The change in the number of claimable tasks; negative if there are fewer.
    pub(crate) claimable: i64,
}

/// Change a waiting task. Sent by a `Handle`; answered with the task as it is afterwards.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Update {
    pub(crate) task: TaskId,
    pub(crate) change: TaskChange,
    pub(crate) reply: oneshot::Sender<Result<Task, Error>>,
}

/// Return the counters. Sent by the `ForecastActor` and the `ShareActor`, each at its own period. Reading changes
/// nothing.
#[derive(Message)]
#[rtype(result = "QueueSample")]
pub(crate) struct SampleQueue {
    /// Where the sender's last sample ended.
    pub(crate) after: SampleMark,
}

/// The store's number of claimable tasks. Sent by the `ClusterActor`, since other nodes submit and claim as well.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Counted {
    pub(crate) claimable: u64,
    /// Waiting tasks, with delayed ones and those behind others of their context. `None` if there are too many to count
    /// each time.
    pub(crate) waiting: Option<u64>,
    pub(crate) next_due: Option<Timestamp>,
    /// Nodes that share the queue.
    pub(crate) nodes: usize,
}

/// Another node reports waiting tasks. Sent by the `ClusterActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WorkAvailable;

/// Tasks were cancelled on another node: stop those that run here. Sent by the `ClusterActor`, repeatedly for the same
/// tasks.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopCancelled(pub(crate) Arc<Vec<TaskId>>);

/// This node has lost its leases: stop the tasks that run under them. Sent by the `ClusterActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopAll;

/// The dependency circuit has changed: let the other nodes know. Sent to the `ShareActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct DependencyChanged;

/// The states of the other nodes' dependency circuits. Sent by the `ShareActor` after each beat.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FollowDependency {
    /// In order of their nodes.
    pub(crate) others: Vec<DependencyReport>,
    /// How many of those come before this node.
    pub(crate) before: usize,
}

/// Return the state of the queue. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "QueueStatus")]
pub(crate) struct GetQueueStatus;

/// The state of a queue.
#[derive(Debug, Clone, Default, PartialEq, actix::MessageResponse)]
pub(crate) struct QueueStatus {
    pub(crate) depth: u64,
    pub(crate) running: u64,
    pub(crate) started: u64,
    pub(crate) late: u64,
    pub(crate) finished: u64,
    pub(crate) dependency: DependencyReport,
}

/// The expected load, against which the queue recognises a surge. Sent by the `ForecastActor` after each decision.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SetBaseline {
    pub(crate) rate_per_s: f64,
    pub(crate) service_s: f64,
}

/// The situation has changed: decide now. Sent to the `ForecastActor` by the queue and the pool.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) struct Nudge(pub(crate) Cause);

/// The addresses to which the queue sends messages. Sent once by the wiring, before anything else.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttachQueue {
    pub(crate) assign: Recipient<Assign>,
    pub(crate) select: Recipient<Select>,
    pub(crate) withdrawn: Recipient<Withdrawn>,
    pub(crate) stop_task: Recipient<StopTask>,
    pub(crate) nudge: Option<Recipient<Nudge>>,
    /// Where several nodes share the pool.
    pub(crate) dependency_changed: Option<Recipient<DependencyChanged>>,
}

/// Accept nothing more, settle what is pending, then answer. Sent by the wiring when the node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Drain {
    pub(crate) reply: oneshot::Sender<()>,
}
