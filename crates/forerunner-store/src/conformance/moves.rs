use std::{future::Future, sync::Arc};

use forerunner_core::{PoolName, Priority, Task, TaskId, TaskState};

use super::lab::{Lab, at, id, key, node, pool, submission, succeeded};
use crate::{BulkAction, BulkOutcome, BulkRefusal, Claim, EnqueueOutcome, Obstacle, PoolOutcome, Store, TaskCounts};

async fn give(lab: &Lab, to: &PoolName, dry_run: bool, tasks: &[TaskId]) -> BulkOutcome {
    let action = BulkAction::Move { to: to.clone(), dry_run };
    let mut outcome = lab.store.bulk(action, tasks.to_vec(), at(10)).await.unwrap();
    for changed in outcome.pools.values_mut() {
        changed.done.sort_unstable();
        changed.arrived.sort_unstable();
        // Another case checks bytes.
        (changed.done_bytes, changed.arrived_bytes) = (0, 0);
    }
    outcome.refused.sort_unstable_by_key(|refusal| refusal.task);
    outcome
}

async fn claim_of(lab: &Lab, pool: &PoolName, now: i64) -> Vec<Task> {
    let claim = Claim {
        pool: pool.clone(),
        node: node(1),
        limit: 9,
        starts: usize::MAX,
        now: at(now),
        lease_until: at(now + 100),
    };
    lab.store.claim(claim).await.unwrap()
}

async fn counts(lab: &Lab, pool: &PoolName) -> (u64, u64, u64) {
    let counts: TaskCounts = lab.store.counts(pool.clone()).await.unwrap();
    (counts.of(TaskState::Scheduled), counts.of(TaskState::Queued), counts.claimable)
}

/// A waiting task moves to the other pool with its place, its time and its deadline; both pools count right.
pub async fn tasks_that_wait_go_to_another_pool<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let (old, new) = (pool("coder"), pool("writer"));
    let there = lab.task(5);
    let resident = there.id;
    lab.enqueue(Task { pool: new.clone(), ..there }).await;
    let plain = lab.enqueue(lab.task(1)).await.0;
    let urgent = lab.enqueue(Task { priority: Priority::MAX, ..lab.task(2) }).await.0;
    let delayed = lab.enqueue(Task { run_at: at(50), ..lab.task(3) }).await.0;
    let late = lab.enqueue(Task { deadline: Some(at(20)), ..lab.task(4) }).await.0;
    let left = lab.enqueue(lab.task(6)).await.0;
    let all = [plain, urgent, delayed, late, plain];
    let mut ids = [plain, urgent, delayed, late];
    ids.sort_unstable();

    let look = give(&lab, &new, true, &all).await;
    let would = PoolOutcome { done: ids.to_vec(), ..PoolOutcome::default() };
    assert_eq!(look, BulkOutcome { pools: [(old.clone(), would)].into(), ..BulkOutcome::default() });
    assert_eq!((counts(&lab, &old).await, counts(&lab, &new).await), ((1, 4, 4), (0, 1, 1)), "nothing was changed");

    let outcome = give(&lab, &new, false, &all).await;
    let gone = PoolOutcome { done: ids.to_vec(), claimable: -3, ..PoolOutcome::default() };
    let come = PoolOutcome { arrived: ids.to_vec(), claimable: 3, ..PoolOutcome::default() };
    assert_eq!(outcome.pools, [(old.clone(), gone), (new.clone(), come)].into());
    assert_eq!((counts(&lab, &old).await, counts(&lab, &new).await), ((0, 1, 1), (1, 4, 4)));
    let task = lab.get(delayed).await;
    assert_eq!((task.pool, task.state, task.run_at), (new.clone(), TaskState::Scheduled, at(50)));
    assert_eq!(lab.claim_ids(9, 11).await, [left], "the old pool has nothing else");
    assert_eq!(lab.sweep(60).await.expired, [], "nor has its sweep");

    let expired = lab.store.sweep(new.clone(), at(20)).await.unwrap();
    assert_eq!((expired.expired, expired.next_due), (vec![(late, true)], Some(at(50))));
    let order: Vec<_> = claim_of(&lab, &new, 21).await.into_iter().map(|task| task.id).collect();
    assert_eq!(order, [urgent, plain, resident], "a task keeps the place that its time gives it");
    assert_eq!(lab.store.sweep(new.clone(), at(50)).await.unwrap().promoted, [delayed]);
    let run = claim_of(&lab, &new, 51).await.remove(0);
    assert_eq!(lab.settle(&run, 52, succeeded()).await.unwrap().state, TaskState::Succeeded);
    assert_eq!(lab.get(delayed).await.pool, new, "it ends where it went");
}

/// A task stays if it runs or has ended, belongs to a context, is in that pool already, or has a key that is in use
/// there.
pub async fn tasks_that_cannot_go_to_another_pool_stay<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let new = pool("writer");
    let ended = lab.enqueue(lab.task(1)).await.0;
    let task = lab.claim(1, 2).await.remove(0);
    lab.settle(&task, 3, succeeded()).await.unwrap();
    let running = lab.enqueue(lab.task(4)).await.0;
    assert_eq!(lab.claim_ids(1, 5).await, [running]);
    let talk = lab.enqueue(lab.task_of(6, "c")).await.0;
    let there = lab.task(6);
    let resident = there.id;
    let there = Task { pool: new.clone(), idempotency_key: Some(key("k")), ..there };
    lab.enqueue(there).await;
    let keyed = lab.enqueue(Task { idempotency_key: Some(key("k")), ..lab.task(7) }).await.0;
    let unknown = id(777);
    let refused = |task, state, obstacle| BulkRefusal { task, state, obstacle };
    for dry_run in [true, false] {
        let outcome = give(&lab, &new, dry_run, &[ended, running, talk, resident, keyed, unknown]).await;
        let expected = [
            refused(ended, TaskState::Succeeded, Obstacle::State),
            refused(running, TaskState::Running, Obstacle::State),
            refused(talk, TaskState::Queued, Obstacle::Context),
            refused(resident, TaskState::Queued, Obstacle::SamePool),
            refused(keyed, TaskState::Queued, Obstacle::Key),
        ];
        assert_eq!(outcome.refused, expected);
        assert_eq!((outcome.pools.len(), outcome.gone), (0, vec![unknown]));
    }
    assert_eq!((counts(&lab, &pool("coder")).await, counts(&lab, &new).await), ((0, 2, 2), (0, 1, 1)));
}

/// A key moves with its task: it is free in the old pool, and known in the new one.
pub async fn a_key_goes_to_another_pool_with_its_task<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let new = pool("writer");
    let keyed = Task { idempotency_key: Some(key("k")), ..lab.task(1) };
    let moved = lab.enqueue(keyed.clone()).await.0;
    let outcome = give(&lab, &new, false, &[moved]).await;
    assert_eq!(outcome.pools[&new].arrived, [moved]);
    let again = Task { id: id(600), pool: new.clone(), ..keyed.clone() };
    let answer = lab.store.enqueue(vec![submission(again)]).await.unwrap().remove(0);
    assert!(matches!(answer, Ok(EnqueueOutcome::Known(task)) if task.id == moved));
    let fresh = Task { id: id(601), ..keyed };
    assert!(matches!(lab.try_enqueue(fresh).await, Ok(EnqueueOutcome::New { .. })), "the key is free");
    let back = give(&lab, &pool("coder"), false, &[moved]).await;
    assert_eq!(back.refused[0].obstacle, Obstacle::Key, "it is taken by then");
}
