use std::sync::{Arc, atomic::AtomicUsize};

use actix::{Actor, Addr, Context, Handler};
use forerunner_core::{
    ErrorKind, LeaseEpoch, NewTask, NodeId, Outcome, Payload, PoolName, Task, TaskError, TaskState, Timestamp,
};
use forerunner_store::{MemoryOptions, MemoryStore, Store, Submission};
use tokio::sync::{mpsc, oneshot};

use super::{
    QueueActor,
    actor::QueueWays,
    messages::{Assign, AttachQueue, Demand, Drain, Enqueue, Settle, StopTask, Withdrawn},
};
use crate::{
    PoolSettings, SystemClock,
    admission::Admission,
    clock::IdMaker,
    deps::{Deps, PoolDeps},
    gather::Outlet,
    watch::WatchBoard,
};

/// Stands for the pool: passes on what it is assigned.
struct Pool(mpsc::UnboundedSender<Arc<Task>>);

impl Actor for Pool {
    type Context = Context<Self>;
}

impl Handler<Assign> for Pool {
    type Result = ();

    fn handle(&mut self, Assign(tasks): Assign, _: &mut Self::Context) {
        for task in tasks {
            self.0.send(task).expect("the test listens");
        }
    }
}

impl Handler<Withdrawn> for Pool {
    type Result = ();

    fn handle(&mut self, _: Withdrawn, _: &mut Self::Context) {}
}

impl Handler<StopTask> for Pool {
    type Result = ();

    fn handle(&mut self, _: StopTask, _: &mut Self::Context) {}
}

/// A queue over an empty store in memory, with a pool that only listens.
struct Bench {
    queue: Addr<QueueActor>,
    submit: Outlet<Enqueue>,
    settle: Outlet<Settle>,
    assigned: mpsc::UnboundedReceiver<Arc<Task>>,
    store: Arc<dyn Store>,
}

impl Bench {
    fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(MemoryOptions::default()));
        let node = Deps {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            node: NodeId::from_parts(Timestamp::default(), 1),
            watch: WatchBoard::default(),
        };
        let deps = PoolDeps {
            node: Arc::new(node),
            name: name(),
            settings: PoolSettings::default(),
            policy: None,
            admission: Admission::new(0, 100),
            unsettled: AtomicUsize::new(0),
            seed: 1,
        };
        let QueueWays { queue, submit, settle } = QueueActor::new(Arc::new(deps), 0, None).start_by(Actor::start);
        let (sender, assigned) = mpsc::unbounded_channel();
        let pool = Pool(sender).start();
        queue.do_send(AttachQueue {
            assign: pool.clone().recipient(),
            withdrawn: pool.clone().recipient(),
            stop_task: pool.recipient(),
            nudge: None,
        });
        Self { queue, submit, settle, assigned, store }
    }

    async fn enqueue(&self) {
        let (reply, answer) = oneshot::channel();
        self.submit.send(Enqueue { submission: Submission { task: task(), fingerprint: None }, reply });
        assert!(answer.await.expect("the queue answers").is_ok());
    }

    async fn next(&mut self) -> Arc<Task> {
        self.queue.do_send(Demand(1));
        self.assigned.recv().await.expect("the pool lives")
    }

    fn settle(&self, task: &Task, outcome: Outcome) {
        let (task, epoch) = (task.id, task.epoch);
        self.settle.send(Settle { task, epoch, outcome, context: None, ran: None, reply: None });
    }

    async fn drain(&self) {
        let (reply, drained) = oneshot::channel();
        self.queue.do_send(Drain { reply });
        drained.await.expect("the queue answers");
    }
}

fn name() -> PoolName {
    PoolName::new("p").expect("a name")
}

fn task() -> Task {
    let new = NewTask::new(name(), Payload::null());
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    Task {
        id: IdMaker::new().task(now),
        pool: new.pool,
        state: TaskState::Queued,
        input: new.input,
        context: None,
        priority: new.priority,
        context_version: 0,
        submitted_at: now,
        run_at: now,
        deadline: None,
        timeout: std::time::Duration::from_secs(60),
        retry: PoolSettings::default().task.retry(None),
        labels: new.labels,
        idempotency_key: None,
        attempt: 0,
        crashes: 0,
        epoch: LeaseEpoch::default(),
        started_at: None,
        finished_at: None,
        agent: None,
        node: None,
        output: None,
        error: None,
    }
}

/// As when an agent dies just as a task reaches it: it hands the task back, and the pool reports the agent lost.
#[actix::test]
async fn an_attempt_is_ended_once_and_the_next_one_is_not_harmed() {
    let mut bench = Bench::new();
    bench.enqueue().await;
    let first = bench.next().await;
    bench.settle(&first, Outcome::Released);
    let second = bench.next().await;
    assert!(second.epoch > first.epoch);
    bench.settle(&first, Outcome::Failed(TaskError::new(ErrorKind::AgentLost, "it died")));
    bench.settle(&second, Outcome::Succeeded(Payload::null()));
    bench.settle(&second, Outcome::Failed(TaskError::new(ErrorKind::AgentLost, "it died")));
    bench.drain().await;
    let ended = bench.store.task(first.id).await.expect("the store answers").expect("it is known");
    assert_eq!((ended.state, ended.attempt, ended.crashes), (TaskState::Succeeded, 1, 0));
}
