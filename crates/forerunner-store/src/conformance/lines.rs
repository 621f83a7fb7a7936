use std::{future::Future, sync::Arc};

use forerunner_core::{Next, Task, TaskState};

use super::lab::{Lab, at, node, retry, submission, succeeded};
use crate::Store;

/// The promise itself, across success, retry, release and rescue.
pub async fn a_context_runs_one_task_at_a_time_in_order<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let line: Vec<_> = (1..=3).map(|now| lab.task_of(now, "a")).collect();
    let (first, second, third) = (line[0].id, line[1].id, line[2].id);
    let (other, free) = (lab.task_of(4, "b"), lab.task(5));
    let batch = line.into_iter().chain([other.clone(), free.clone()]).map(submission).collect();
    lab.store.enqueue(batch).await.unwrap();
    let counts = lab.counts().await;
    assert_eq!((counts.of(TaskState::Queued), counts.claimable), (5, 3));

    let claimed = lab.claim(9, 10).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [first, other.id, free.id]);
    assert!(lab.claim(9, 11).await.is_empty());
    assert_eq!(lab.settle(&claimed[0], 12, retry(at(12))).await.unwrap().claimable, 1);
    let again = lab.claim(9, 13).await;
    assert_eq!(again.iter().map(|task| task.id).collect::<Vec<_>>(), [first]);
    assert_eq!(lab.settle(&again[0], 14, Next::Release).await.unwrap().claimable, 1);
    let again = lab.claim_for(node(7), 9, 15).await;
    assert_eq!(again[0].id, first);
    assert!(lab.rescue_all_but(node(1), 16).await.requeued.contains(&first));
    let again = lab.claim(9, 17).await;
    assert_eq!(again.iter().map(|task| task.id).collect::<Vec<_>>(), [first]);
    assert_eq!(lab.settle(&again[0], 18, succeeded()).await.unwrap().claimable, 1);
    assert_eq!(lab.counts().await.claimable, 1);
    let next = lab.claim(9, 19).await;
    assert_eq!(next.iter().map(|task| task.id).collect::<Vec<_>>(), [second]);
    lab.settle(&next[0], 20, succeeded()).await.unwrap();
    let last = lab.claim(9, 21).await;
    assert_eq!(last[0].id, third);
    assert_eq!(lab.settle(&last[0], 22, succeeded()).await.unwrap().claimable, 0);
    assert!(lab.enqueue(lab.task_of(23, "a")).await.1, "an empty line holds nobody up");
}

/// A retry keeps its place, so the others wait out its backoff.
pub async fn a_context_waits_while_its_first_task_waits_for_a_retry<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let (first, claimable) = lab.enqueue(lab.task_of(1, "a")).await;
    assert!(claimable);
    let (second, claimable) = lab.enqueue(lab.task_of(2, "a")).await;
    assert!(!claimable);
    let claimed = lab.claim(9, 3).await.remove(0);
    let settled = lab.settle(&claimed, 4, retry(at(50))).await.unwrap();
    assert_eq!((settled.state, settled.claimable), (TaskState::Scheduled, 0));
    assert!(lab.claim(9, 5).await.is_empty());
    assert!(!lab.enqueue(lab.task_of(6, "a")).await.1);
    let swept = lab.sweep(50).await;
    assert_eq!((swept.promoted, swept.claimable), (vec![first], 1));
    assert_eq!(lab.claim_ids(9, 51).await, [first]);

    let running = lab.get(first).await;
    lab.settle(&running, 52, retry(at(99))).await.unwrap();
    assert_eq!(lab.cancel(first, 53).await, (false, 1), "it waited for its retry; the next comes");
    assert_eq!(lab.claim_ids(9, 54).await, [second]);
}

/// Cancelling the head, the middle and the tail.
pub async fn cancelling_in_a_line_lets_only_the_next_come<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let mut ids = Vec::new();
    for now in 1..=5 {
        ids.push(lab.enqueue(lab.task_of(now, "a")).await.0);
    }
    assert_eq!(lab.cancel(ids[2], 10).await, (false, 0));
    assert_eq!(lab.cancel(ids[4], 10).await, (false, 0));
    assert_eq!(lab.cancel(ids[0], 10).await, (true, 1));
    assert_eq!(lab.counts().await.claimable, 1);
    let claimed = lab.claim(9, 11).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[1]]);
    assert_eq!(lab.settle(&claimed[0], 12, succeeded()).await.unwrap().claimable, 1);
    assert_eq!(lab.claim_ids(9, 13).await, [ids[3]]);
    assert_eq!(lab.store.retry(ids[0], at(14)).await.unwrap().unwrap().state, TaskState::Queued);
    assert!(lab.claim(9, 15).await.is_empty(), "a retried task waits behind the one that runs");
}

/// A deadline in a line.
pub async fn an_expired_head_lets_the_next_come<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let with = |deadline| Task { deadline: Some(at(deadline)), ..lab.task_of(1, "a") };
    let (head, _) = lab.enqueue(with(10)).await;
    let (next, _) = lab.enqueue(with(20)).await;
    let (last, _) = lab.enqueue(lab.task_of(2, "a")).await;
    assert!(lab.claim(9, 15).await.is_empty(), "the head is too late, and still the head");
    let swept = lab.sweep(15).await;
    assert_eq!((swept.expired, swept.claimable, swept.next_due), (vec![(head, true)], 1, Some(at(20))));
    let swept = lab.sweep(20).await;
    assert_eq!((swept.expired, swept.claimable), (vec![(next, true)], 1));
    assert_eq!(lab.claim_ids(9, 21).await, [last]);

    let lab = Lab::new(open().await);
    let (head, _) = lab.enqueue(Task { deadline: Some(at(10)), ..lab.task_of(1, "a") }).await;
    let (next, _) = lab.enqueue(Task { deadline: Some(at(10)), ..lab.task_of(2, "a") }).await;
    let swept = lab.sweep(15).await;
    assert_eq!((swept.expired, swept.claimable), (vec![(head, true), (next, false)], 0));
    assert_eq!(lab.counts().await.claimable, 0);
}

/// A delayed task delays no other, and then gets the place of its time.
pub async fn a_scheduled_task_joins_its_line_when_due<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let (delayed, claimable) = lab.enqueue(Task { run_at: at(10), ..lab.task_of(1, "a") }).await;
    assert!(!claimable);
    let (first, claimable) = lab.enqueue(lab.task_of(2, "a")).await;
    assert!(claimable);
    let (late, _) = lab.enqueue(lab.task_of(20, "a")).await;
    let claimed = lab.claim(9, 21).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [first]);
    let swept = lab.sweep(22).await;
    assert_eq!((swept.promoted, swept.claimable), (vec![delayed], 0));
    assert_eq!(lab.settle(&claimed[0], 23, succeeded()).await.unwrap().claimable, 1);
    let claimed = lab.claim(9, 24).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [delayed], "it was due at 10, the other at 20");
    lab.settle(&claimed[0], 25, succeeded()).await.unwrap();
    assert_eq!(lab.claim_ids(9, 26).await, [late]);

    let lab = Lab::new(open().await);
    let (delayed, _) = lab.enqueue(Task { run_at: at(10), ..lab.task_of(1, "a") }).await;
    lab.enqueue(lab.task_of(20, "a")).await;
    let swept = lab.sweep(22).await;
    assert_eq!((swept.promoted, swept.claimable), (vec![delayed], 0), "one comes and one goes");
    assert_eq!((lab.counts().await.claimable, lab.claim_ids(9, 23).await), (1, vec![delayed]));

    let lab = Lab::new(open().await);
    let (delayed, _) = lab.enqueue(Task { run_at: at(10), ..lab.task_of(1, "a") }).await;
    lab.enqueue(lab.task_of(20, "a")).await;
    let running = lab.claim(9, 21).await;
    let swept = lab.sweep(22).await;
    assert_eq!(
        (swept.promoted, swept.claimable),
        (vec![delayed], 0),
        "a task of its context runs, though it was due later"
    );
    assert_eq!((lab.counts().await.claimable, lab.claim_ids(9, 23).await), (0, vec![]));
    assert_eq!(lab.settle(&running[0], 24, succeeded()).await.unwrap().claimable, 1);
    assert_eq!(lab.claim_ids(9, 25).await, [delayed]);
}

/// A new task never makes one that is claimable wait.
pub async fn a_clock_that_went_back_lets_nobody_push_in<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let (first, _) = lab.enqueue(lab.task_of(100, "a")).await;
    let (second, claimable) = lab.enqueue(lab.task_of(50, "a")).await;
    assert!(!claimable);
    assert_eq!(lab.counts().await.claimable, 1);
    let claimed = lab.claim(9, 101).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [first]);
    lab.settle(&claimed[0], 102, succeeded()).await.unwrap();
    assert_eq!(lab.claim_ids(9, 103).await, [second]);
}
