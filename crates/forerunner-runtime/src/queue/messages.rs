//! What a queue hears and answers.

use std::{sync::Arc, time::Duration};

use actix::{Message, Recipient};
use forerunner_core::{
    AgentId, ContextCost, LeaseEpoch, Outcome, Selection, Task, TaskId, Timestamp, placement::Candidate,
};
use forerunner_store::{BulkAction, ContextCommit, EnqueueOutcome, LeaseLost, Submission, TaskChange};
use tokio::sync::oneshot;

use super::sample::{QueueSample, SampleMark};
use crate::{Error, agent::CancelReason, status::Cause};

/// Accept a task. Sent by a `Handle`, which holds a place in the admission for it; answered once the task is durable.
/// Gathers on its way.
pub(crate) struct Enqueue {
    pub(crate) submission: Submission,
    pub(crate) reply: Reply,
}

/// Where the answer to a submission goes. Dropped before the submission was sent to the store, it says that the node takes
/// nothing any more; after that, nothing, since nobody knows.
pub(crate) struct Reply {
    sender: Option<oneshot::Sender<Result<EnqueueOutcome, Error>>>,
    sent: bool,
}

impl Reply {
    pub(crate) fn to(sender: oneshot::Sender<Result<EnqueueOutcome, Error>>) -> Self {
        Self { sender: Some(sender), sent: false }
    }

    /// The store is asked from now on.
    pub(crate) fn note_sent(&mut self) {
        self.sent = true;
    }

    pub(crate) fn answer(mut self, answer: Result<EnqueueOutcome, Error>) {
        if let Some(sender) = self.sender.take() {
            // Nobody may be waiting.
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

/// The clock was set back by so much, and the store knows. Sent by the node.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct ClockSetBack(pub(crate) Duration);

/// The pool can take this many tasks more. Sent by the `PoolActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Demand(pub(crate) usize);

/// The pool can take this many tasks less. Sent by the `PoolActor`; answered with [`Withdrawn`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Withdraw(pub(crate) usize);

/// Slots were forgotten. Sent to the `PoolActor`.
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
    /// The store is behind: the agents are to take nothing new before the ends of these tasks are durable.
    pub(crate) await_settles: bool,
}

/// What a queue must know of its pool. Sent by the `PoolActor` when it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Message)]
#[rtype(result = "()")]
pub(crate) struct PoolFacts {
    /// The pool wants to see what waits before tasks are claimed.
    pub(crate) uses_lookahead: bool,
    /// How long an agent takes to start, as measured; zero while it is not.
    pub(crate) cold_start: Duration,
    /// How many agents the pool is to have.
    pub(crate) agents: u32,
}

/// Say which of these tasks, the first that wait, you would take: at most `limit`. Sent to the `PoolActor`.
#[derive(Message)]
#[rtype(result = "Selected")]
pub(crate) struct Select {
    pub(crate) tasks: Vec<Candidate>,
    pub(crate) limit: usize,
}

/// Which tasks a pool would take.
#[derive(Debug, actix::MessageResponse)]
pub(crate) struct Selected(pub(crate) Selection);

/// An attempt ended. Sent by the `AgentActor` that ran it, or by the `PoolActor` for one that vanished or never began.
/// Gathers on its way.
pub(crate) struct Settle {
    pub(crate) task: TaskId,
    pub(crate) epoch: LeaseEpoch,
    pub(crate) outcome: Outcome,
    pub(crate) context: Option<ContextCommit>,
    /// What its context took; absent without one.
    pub(crate) context_cost: Option<Box<ContextCost>>,
    /// On which agent and for how long; absent if it never began.
    pub(crate) ran: Option<Ran>,
    /// Hears when the end is durable.
    pub(crate) reply: Option<Recipient<SettleDone>>,
}

impl Settle {
    /// The end of an attempt that never began, or whose agent vanished.
    pub(crate) const fn without_run(task: TaskId, epoch: LeaseEpoch, outcome: Outcome) -> Self {
        Self { task, epoch, outcome, context: None, context_cost: None, ran: None, reply: None }
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

/// The end of an attempt is durable, or was refused. Sent to the `AgentActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SettleDone {
    pub(crate) task: TaskId,
    pub(crate) result: Result<(), LeaseLost>,
}

/// Cancel a task. Sent by a `Handle`; answered with the task after it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Cancel {
    pub(crate) task: TaskId,
    pub(crate) reply: oneshot::Sender<Result<Task, Error>>,
}

/// A running task is to stop. Sent to the `PoolActor`, which tells the agent.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopTask {
    pub(crate) task: TaskId,
    pub(crate) reason: CancelReason,
}

/// Send an ended task back to the queue. Sent by a `Handle`; answered with the task after it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct RetryTask {
    pub(crate) task: TaskId,
    pub(crate) reply: oneshot::Sender<Result<Task, Error>>,
}

/// Tasks of the pool were cancelled, sent back, or left for or came from another pool. Sent by a `Handle` once that is stored.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct BulkDone {
    pub(crate) action: BulkAction,
    /// Those that waited and have ended or left, or had ended and wait again.
    pub(crate) tasks: Vec<TaskId>,
    /// Those that came from other pools. The `Handle` took places in the admission for them.
    pub(crate) arrived: Vec<TaskId>,
    /// Bytes of the inputs of both.
    pub(crate) bytes: (u64, u64),
    /// How many more can be claimed than before; negative if there are fewer.
    pub(crate) claimable: i64,
}

/// Change a task that waits. Sent by a `Handle`; answered with the task after it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Update {
    pub(crate) task: TaskId,
    pub(crate) change: TaskChange,
    pub(crate) reply: oneshot::Sender<Result<Task, Error>>,
}

/// Say what you have counted. Sent by the `ForecastActor` and the `ShareActor`, each at its own period: reading changes nothing.
#[derive(Message)]
#[rtype(result = "QueueSample")]
pub(crate) struct SampleQueue {
    /// Where the sender's last sample ended.
    pub(crate) after: SampleMark,
}

/// The store has counted this many claimable tasks. Sent by the `ClusterActor`, since other nodes submit and claim too.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Counted {
    pub(crate) claimable: u64,
    /// Tasks that wait, delayed ones and those behind others included; none if there are too many to be counted each time.
    pub(crate) waiting: Option<u64>,
    pub(crate) next_due: Option<Timestamp>,
    /// Nodes that share the queue.
    pub(crate) nodes: usize,
}

/// Another node says that there may be work. Sent by the `ClusterActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WorkAvailable;

/// Running tasks were cancelled on another node: stop those that run here. Sent by the `ClusterActor`, also again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopCancelled(pub(crate) Arc<Vec<TaskId>>);

/// This node has lost its leases: stop what runs under them. Sent by the `ClusterActor`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopAll;

/// How a queue stands. Sent by a `Handle`.
#[derive(Message)]
#[rtype(result = "QueueStatus")]
pub(crate) struct GetQueueStatus;

/// How a queue stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, actix::MessageResponse)]
pub(crate) struct QueueStatus {
    pub(crate) depth: u64,
    pub(crate) running: u64,
    pub(crate) started: u64,
    pub(crate) late: u64,
    pub(crate) finished: u64,
}

/// What is normal now, so that the queue can tell a surge. Sent by the `ForecastActor` after each decision.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SetBaseline {
    pub(crate) rate_per_s: f64,
    pub(crate) service_s: f64,
}

/// The picture has changed: decide now. Sent to the `ForecastActor` by the queue and the pool.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) struct Nudge(pub(crate) Cause);

/// Where to send things. Sent once by the wiring, before anything else.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttachQueue {
    pub(crate) assign: Recipient<Assign>,
    pub(crate) select: Recipient<Select>,
    pub(crate) withdrawn: Recipient<Withdrawn>,
    pub(crate) stop_task: Recipient<StopTask>,
    pub(crate) nudge: Option<Recipient<Nudge>>,
}

/// Take nothing new, settle what is pending, then answer. Sent by the wiring when the node stops.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Drain {
    pub(crate) reply: oneshot::Sender<()>,
}
