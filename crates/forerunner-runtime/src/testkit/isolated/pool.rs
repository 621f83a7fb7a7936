//! A pool and its agents, without a queue and a forecast.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Addr};
use forerunner_core::{AgentCounts, LeaseEpoch, Outcome, Task, TaskId, TaskState};

use super::{
    SentMessage,
    test_probe::{SentMessages, TestProbe},
};
use crate::{
    AgentStatus, PoolSettings,
    agent::{CancelReason, DriverFactory},
    clock::IdMaker,
    deps::PoolDeps,
    pool::{
        PoolActor,
        messages::{GetPool, ListAgents, PoolLinks, Resize},
    },
    queue::messages::{Assign, StopTask},
};

/// The actor that supervises a pool's agents, with its agents; the test plays queue and forecast.
///
/// ```
/// use forerunner_core::Outcome;
/// use forerunner_runtime::testkit::{IsolatedPool, Script};
///
/// # actix_rt::System::new().block_on(async {
/// tokio::time::pause();
/// let mut pool = IsolatedPool::start(Script::answers("1"), |pool| pool.max = 9);
/// pool.resize(3);
/// pool.until("three ready", |agents| agents.ready == 3).await;
/// let task = pool.assign("{}");
/// let (settled, _, outcome) = pool.settled().await;
/// assert_eq!(settled, task);
/// assert!(matches!(outcome, Outcome::Succeeded(_)));
/// # });
/// ```
pub struct IsolatedPool {
    pool: Addr<PoolActor>,
    sent: SentMessages,
    deps: Arc<PoolDeps>,
    ids: IdMaker,
}

impl IsolatedPool {
    /// Starts the actor on the current thread; `edit` changes its settings.
    ///
    /// # Panics
    /// When the settings are not valid.
    pub fn start(agents: impl DriverFactory + 'static, edit: impl FnOnce(&mut PoolSettings)) -> Self {
        let deps = super::deps(edit);
        let (queue, settle, sent) = TestProbe::start_settled();
        let links = PoolLinks {
            demand: queue.clone().recipient(),
            withdraw: queue.clone().recipient(),
            settle,
            facts: queue.clone().recipient(),
            nudge: Some(queue.recipient()),
        };
        let min = deps.settings.min;
        let pool = PoolActor::new(super::agent_deps(&deps), links, Arc::new(agents), 1, (min, min)).start();
        Self { pool, sent, deps, ids: IdMaker::new() }
    }

    /// Resizes the pool, as a forecast does.
    pub fn resize(&self, agents: u32) {
        self.pool.do_send(Resize(agents));
    }

    /// Assigns a task with this JSON text as its input, as a queue does for an open slot.
    ///
    /// # Panics
    /// When the text is not JSON.
    pub fn assign(&self, input: &str) -> TaskId {
        let mut task = super::task(&self.ids, &self.deps, input);
        (task.state, task.attempt, task.epoch) = (TaskState::Running, 1, LeaseEpoch(1));
        task.started_at = Some(self.deps.now());
        let id = task.id;
        self.pool.do_send(Assign { tasks: vec![Arc::<Task>::new(task)], await_settles: false });
        id
    }

    /// Stops a running task, as a queue does for a cancelled one.
    pub fn stop_task(&self, task: TaskId) {
        self.pool.do_send(StopTask { task, reason: CancelReason::TaskCancelled });
    }

    /// Waits for the next attempt to end.
    ///
    /// # Panics
    /// When an hour passes without one.
    pub async fn settled(&mut self) -> (TaskId, LeaseEpoch, Outcome) {
        let pick = |message| match message {
            SentMessage::Settled { task, epoch, outcome } => Some((task, epoch, outcome)),
            _ => None,
        };
        self.sent.next("the end of an attempt", pick).await
    }

    /// Returns the messages that pool and agents have sent so far.
    pub fn sent(&mut self) -> Vec<SentMessage> {
        self.sent.take()
    }

    /// Counts the agents by state.
    ///
    /// # Panics
    /// When the actor has stopped.
    pub async fn counts(&self) -> AgentCounts {
        self.pool.send(GetPool).await.expect("the pool answers").counts
    }

    /// Lists the agents, oldest first.
    ///
    /// # Panics
    /// When the actor has stopped.
    pub async fn agents(&self) -> Vec<AgentStatus> {
        self.pool.send(ListAgents).await.expect("the pool answers").0
    }

    /// Waits until the agents' counts match, at most an hour, in steps of 10 ms.
    ///
    /// # Panics
    /// When they never match.
    pub async fn until(&self, what: &str, wanted: impl Fn(&AgentCounts) -> bool) -> AgentCounts {
        for _ in 0..360_000 {
            let counts = self.counts().await;
            if wanted(&counts) {
                return counts;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the pool never came to: {what}");
    }
}
