//! A store under test, with short words for what the cases do.

use std::{cell::Cell, sync::Arc, time::Duration};

use forerunner_core::{
    ContextId, ErrorKind, IdempotencyKey, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskError,
    TaskId, TaskState, Timestamp,
};

use crate::{
    Cancelled, Claim, EnqueueOutcome, LeaseLost, Refusal, Rescue, Settled, Settlement, Store, Submission, Swept,
    TaskCounts,
};

pub(super) struct Lab {
    pub store: Arc<dyn Store>,
    ids: Cell<u64>,
}

/// A time, in microseconds after an arbitrary start.
pub(super) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

pub(super) fn pool(name: &str) -> PoolName {
    PoolName::new(name).expect("cases use valid names")
}

pub(super) fn context(name: &str) -> ContextId {
    ContextId::new(name).expect("cases use valid names")
}

pub(super) fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).expect("cases use valid names")
}

pub(super) fn node(number: u128) -> NodeId {
    NodeId::from_parts(at(0), number << 64)
}

pub(super) fn id(number: u64) -> TaskId {
    TaskId::from_parts(at(0) + Duration::from_millis(number), 0)
}

pub(super) fn trouble() -> TaskError {
    TaskError::new(ErrorKind::AgentError, "it said no")
}

pub(super) fn succeeded() -> Next {
    Next::Finish { state: TaskState::Succeeded, output: Some(Payload::trusted(r#"{"ok":true}"#)), error: None }
}

pub(super) fn failed() -> Next {
    Next::Finish { state: TaskState::Failed, output: None, error: Some(trouble()) }
}

pub(super) fn retry(run_at: Timestamp) -> Next {
    Next::Retry { run_at, error: trouble(), crash: false, counts: true }
}

pub(super) fn submission(task: Task) -> Submission {
    let fingerprint = task.idempotency_key.is_some().then(|| *blake3::hash(task.input.as_str().as_bytes()).as_bytes());
    Submission::new(task, fingerprint)
}

impl Lab {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, ids: Cell::new(0) }
    }

    /// A task of pool `coder` that was submitted at `now`, with defaults for everything else.
    pub fn task(&self, now: i64) -> Task {
        let number = self.ids.get() + 1;
        self.ids.set(number);
        let new = NewTask::new(pool("coder"), Payload::trusted(format!("{{\"n\":{number}}}")));
        Task::accepted(id(number), new, at(now), Duration::from_secs(60), RetryPolicy::default())
    }

    pub fn task_of(&self, now: i64, name: &str) -> Task {
        Task { context: Some(context(name)), ..self.task(now) }
    }

    pub async fn try_enqueue(&self, task: Task) -> Result<EnqueueOutcome, Refusal> {
        let mut answers = self.store.enqueue(vec![submission(task)]).await.unwrap();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// Enqueues a task that must be new; answers its id and whether it is claimable.
    pub async fn enqueue(&self, task: Task) -> (TaskId, bool) {
        match self.try_enqueue(task).await.unwrap() {
            EnqueueOutcome::New { task, claimable, .. } => (task, claimable),
            EnqueueOutcome::Known(task) => panic!("task {} was known", task.id),
        }
    }

    pub async fn claim(&self, limit: usize, now: i64) -> Vec<Task> {
        self.claim_for(node(1), limit, now).await
    }

    pub async fn claim_for(&self, node: NodeId, limit: usize, now: i64) -> Vec<Task> {
        let claim =
            Claim { pool: pool("coder"), node, limit, starts: usize::MAX, now: at(now), lease_until: at(now + 100) };
        self.store.claim(claim).await.unwrap()
    }

    pub async fn claim_ids(&self, limit: usize, now: i64) -> Vec<TaskId> {
        self.claim(limit, now).await.into_iter().map(|task| task.id).collect()
    }

    /// The end of an attempt of a task without a context.
    pub fn settlement(&self, task: &Task, now: i64, next: Next) -> Settlement {
        let Task { id, epoch, .. } = *task;
        Settlement::new(id, epoch, at(now), next)
    }

    pub async fn settle(&self, task: &Task, now: i64, next: Next) -> Result<Settled, LeaseLost> {
        self.settle_with(self.settlement(task, now, next)).await
    }

    pub async fn settle_with(&self, settlement: Settlement) -> Result<Settled, LeaseLost> {
        let mut answers = self.store.settle(vec![settlement]).await.unwrap();
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    pub async fn get(&self, id: TaskId) -> Task {
        self.store.task(id).await.unwrap().expect("the task is kept")
    }

    /// Cancels a task that must be waiting; answers whether it was claimable, and how many became so.
    pub async fn cancel(&self, id: TaskId, now: i64) -> (bool, usize) {
        match self.store.cancel(id, at(now)).await.unwrap().unwrap() {
            Cancelled::Done { task, was_claimable, claimable } => {
                assert_eq!((task.state, task.finished_at), (TaskState::Cancelled, Some(at(now))));
                (was_claimable, claimable)
            }
            other => panic!("{other:?}"),
        }
    }

    pub async fn sweep(&self, now: i64) -> Swept {
        self.store.sweep(pool("coder"), at(now)).await.unwrap()
    }

    pub async fn rescue_all_but(&self, node: NodeId, now: i64) -> crate::Rescued {
        self.store.rescue(Rescue::AllBut { node, now: at(now) }).await.unwrap()
    }

    pub async fn counts(&self) -> TaskCounts {
        self.store.counts(pool("coder")).await.unwrap()
    }
}
