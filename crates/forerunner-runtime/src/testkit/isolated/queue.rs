//! A queue without a pool.

use std::sync::Arc;

use actix::{Actor, Addr};
use forerunner_core::{LeaseEpoch, Outcome, Task, TaskId};
use forerunner_store::{Store, Submission};
use tokio::sync::oneshot;

use super::{
    SentMessage,
    test_probe::{SentMessages, TestProbe},
};
use crate::{
    Error, PoolSettings,
    batcher::BatchSender,
    clock::IdMaker,
    contexts::ContextRoom,
    deps::PoolDeps,
    queue::{
        QueueActor, QueueAddrs, QueueDeps,
        messages::{AttachQueue, Demand, Drain, Enqueue, Reply, Settle},
    },
};

/// The actor that owns a pool's tasks, with an empty memory store; the test plays the pool.
///
/// ```
/// use forerunner_core::{Outcome, Payload, TaskState};
/// use forerunner_runtime::testkit::IsolatedQueue;
///
/// # actix_rt::System::new().block_on(async {
/// tokio::time::pause();
/// let mut queue = IsolatedQueue::start(|pool| pool.queue.limit = 10);
/// let id = queue.submit("1").await.unwrap();
/// queue.demand(1);
/// let task = queue.assigned().await;
/// queue.settle(task.id, task.epoch, Outcome::Succeeded(Payload::null()));
/// queue.drain().await;
/// assert_eq!(queue.task(id).await.state, TaskState::Succeeded);
/// # });
/// ```
pub struct IsolatedQueue {
    queue: Addr<QueueActor>,
    submit: BatchSender<Enqueue>,
    settle: BatchSender<Settle>,
    sent: SentMessages,
    deps: Arc<PoolDeps>,
    ids: IdMaker,
}

impl IsolatedQueue {
    /// Starts the actor on the current thread; `edit` changes the settings of its pool.
    ///
    /// # Panics
    /// When the settings are not valid.
    pub fn start(edit: impl FnOnce(&mut PoolSettings)) -> Self {
        let deps = super::deps(edit);
        let queue = QueueDeps {
            pool: deps.clone(),
            admission: super::admission(&deps),
            room: Arc::new(ContextRoom::new(deps.settings.contexts.limit_bytes)),
            prefetcher: super::agent_deps(&deps).prefetcher,
            seed: 1,
        };
        let QueueAddrs { queue, submit, settle, .. } = QueueActor::new(queue, 0, None).start_by(Actor::start);
        let (pool, sent) = TestProbe::start();
        queue.do_send(AttachQueue {
            assign: pool.clone().recipient(),
            select: pool.clone().recipient(),
            withdrawn: pool.clone().recipient(),
            stop_task: pool.clone().recipient(),
            nudge: Some(pool.recipient()),
            dependency_changed: None,
        });
        Self { queue, submit, settle, sent, deps, ids: IdMaker::new() }
    }

    /// Submits a task with this JSON text as its input.
    ///
    /// # Errors
    /// When the store rejects the task. The handle checks the queue's limit, so it is not checked here.
    ///
    /// # Panics
    /// When the text is not JSON, or the actor has stopped.
    pub async fn submit(&self, input: &str) -> Result<TaskId, Error> {
        let task = super::task(&self.ids, &self.deps, input);
        let id = task.id;
        let (reply, answer) = oneshot::channel();
        self.submit.send(Enqueue { submission: Submission::new(task, None), reply: Reply::to(reply) });
        answer.await.expect("the queue answers").map(|_| id)
    }

    /// Opens this many slots, as a pool with idle agents does.
    pub fn demand(&self, slots: usize) {
        self.queue.do_send(Demand(slots));
    }

    /// Waits for the next tasks that the queue assigns, and returns the first of them.
    ///
    /// # Panics
    /// When an hour passes without one.
    pub async fn assigned(&mut self) -> Arc<Task> {
        let pick = |message| if let SentMessage::Assigned(tasks) = message { tasks.into_iter().next() } else { None };
        self.sent.next("an assignment", pick).await
    }

    /// Ends an attempt, as its agent does.
    pub fn settle(&self, task: TaskId, epoch: LeaseEpoch, outcome: Outcome) {
        self.settle.send(Settle::without_run(task, epoch, outcome));
    }

    /// Waits until all ends are durable.
    ///
    /// # Panics
    /// When the actor has stopped.
    pub async fn drain(&self) {
        let (reply, drained) = oneshot::channel();
        self.queue.do_send(Drain { reply });
        drained.await.expect("the queue answers");
    }

    /// Returns the messages that the queue has sent so far.
    pub fn sent(&mut self) -> Vec<SentMessage> {
        self.sent.take()
    }

    /// Reads a task from the store.
    ///
    /// # Panics
    /// When the task does not exist.
    pub async fn task(&self, id: TaskId) -> Task {
        self.store().task(id).await.expect("the store answers").expect("the task is known")
    }

    /// Returns the store.
    pub fn store(&self) -> Arc<dyn Store> {
        self.deps.node.store.clone()
    }
}
