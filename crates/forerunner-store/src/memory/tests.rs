//! Rows that the store shares with its caller.

use std::{sync::Arc, time::Duration};

use forerunner_core::{
    IdempotencyKey, LeaseEpoch, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState,
    Timestamp,
};

use crate::{
    Bounds, Claim, EnqueueOutcome, LocalStore, MemoryStore, Refusal, Settlement, Store, StoreError, TaskStore,
};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn task(number: u128) -> Arc<Task> {
    let new = NewTask::new(pool(), Payload::null());
    let id = TaskId::from_parts(NOW, number);
    Arc::new(Task::accepted(id, new, NOW, Duration::from_secs(60), RetryPolicy::default()))
}

fn pool() -> PoolName {
    PoolName::new("coder").unwrap()
}

fn claim(limit: usize) -> Claim {
    let node = NodeId::from_parts(NOW, 1 << 64);
    Claim { pool: pool(), node, limit, starts: limit, now: NOW, lease_until: NOW + Duration::from_secs(15) }
}

fn settlement(task: &Task, next: Next) -> Settlement {
    Settlement::new(task.id, task.epoch, NOW, next)
}

fn succeeded() -> Next {
    Next::Finish { state: TaskState::Succeeded, output: Some(Payload::trusted("7")), error: None }
}

fn accept(store: &MemoryStore, task: Arc<Task>) -> EnqueueOutcome {
    store.enqueue_now(task, None, Bounds::default(), None).unwrap().unwrap()
}

#[test]
fn a_row_is_changed_in_place_while_nobody_else_refers_to_it() {
    let store = MemoryStore::default();
    let submitted = task(1);
    let row = Arc::as_ptr(&submitted);
    assert!(matches!(accept(&store, submitted), EnqueueOutcome::New { claimable: true, .. }));
    let leased = store.claim_now(&claim(9)).unwrap().remove(0);
    assert_eq!((Arc::as_ptr(&leased), leased.state, leased.attempt), (row, TaskState::Running, 1));
    let mut settlement = settlement(&leased, succeeded());
    let ended = store.settle_now(leased, &mut settlement).unwrap().unwrap();
    let (settled, ended) = (ended.settled, ended.row);
    assert_eq!((settled.state, settled.claimable), (TaskState::Succeeded, 0));
    assert_eq!((Arc::as_ptr(&ended), ended.output.as_ref().map(Payload::as_str)), (row, Some("7")));
}

#[tokio::test]
async fn who_refers_to_a_row_sees_it_as_it_was() {
    let store = MemoryStore::default();
    let submitted = task(1);
    accept(&store, submitted.clone());
    let leased = store.claim_now(&claim(9)).unwrap().remove(0);
    let mut released = settlement(&leased, Next::Release);
    let after = store.settle_now(leased.clone(), &mut released).unwrap().unwrap();
    let (settled, waiting) = (after.settled, after.row);
    assert_eq!((settled.state, settled.claimable), (TaskState::Queued, 1));
    let states = [&submitted, &leased, &waiting].map(|row| (row.state, row.attempt));
    assert_eq!(states, [(TaskState::Queued, 0), (TaskState::Running, 1), (TaskState::Queued, 0)]);
    assert_eq!(store.task(leased.id).await.unwrap().as_ref(), Some(&*waiting));
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let store = MemoryStore::default();
    let keyed = |number| {
        let key = Some(IdempotencyKey::new("order-7").unwrap());
        Arc::new(Task { idempotency_key: key, ..Task::clone(&task(number)) })
    };
    let submit = |number, body| store.enqueue_now(keyed(number), Some([body; 32]), Bounds::default(), None).unwrap();
    assert!(matches!(submit(1, 1), Ok(EnqueueOutcome::New { .. })));
    assert!(matches!(submit(2, 1), Ok(EnqueueOutcome::Known(known)) if known.id == task(1).id));
    assert!(matches!(submit(3, 2), Err(Refusal::KeyReused { .. })));
    let leased = store.claim_now(&claim(9)).unwrap().remove(0);
    let mut stale = Settlement { epoch: LeaseEpoch(leased.epoch.0 + 1), ..settlement(&leased, succeeded()) };
    assert!(store.settle_now(leased.clone(), &mut stale).unwrap().is_err());
    assert_eq!(store.task(leased.id).await.unwrap().map(|task| task.state), Some(TaskState::Running));
    store.close().await.unwrap();
    let closed = store.enqueue_now(task(4), None, Bounds::default(), None);
    assert!(matches!(closed, Err(StoreError::Closed { .. })), "{closed:?}");
    assert!(matches!(store.claim_now(&claim(1)), Err(StoreError::Closed { .. })));
}
