use std::{future::Future, sync::Arc};

use forerunner_core::{ErrorKind, Priority, Task, TaskState};

use super::lab::{Lab, at, pool, retry, submission, succeeded};
use crate::{Claim, Settlement, Store};

/// The order of claims among tasks without a context.
pub async fn priorities_come_first_and_then_the_first_due<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let with = |now, priority, run_at| Task {
        priority: Priority::new(priority).unwrap(),
        run_at: at(run_at),
        ..lab.task(now)
    };
    let (low, _) = lab.enqueue(with(1, 0, 1)).await;
    let (delayed, _) = lab.enqueue(with(1, 4, 5)).await;
    let (early, _) = lab.enqueue(with(2, 4, 2)).await;
    let (late, _) = lab.enqueue(with(9, 4, 9)).await;
    let (tie, _) = lab.enqueue(with(9, 4, 9)).await;
    let (backdated, _) = lab.enqueue(with(10, 4, 0)).await;
    let (urgent, _) = lab.enqueue(with(11, 9, 11)).await;
    lab.sweep(12).await;
    assert_eq!(lab.counts().await.claimable, 7);
    assert_eq!(lab.claim_ids(2, 13).await, [urgent, early]);
    assert_eq!(lab.claim_ids(9, 13).await, [delayed, late, tie, backdated, low]);
}

/// Limits and pools.
pub async fn a_claim_takes_no_more_than_it_may_and_only_from_its_pool<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    assert!(lab.claim(5, 1).await.is_empty());
    assert_eq!(lab.counts().await, Default::default());
    let tasks: Vec<_> = (0..5).map(|_| lab.task(1)).collect();
    let other = Task { pool: pool("other"), ..lab.task(1) };
    let mut batch: Vec<_> = tasks.iter().cloned().map(submission).collect();
    batch.insert(2, submission(other.clone()));
    assert_eq!(lab.store.enqueue(batch).await.unwrap().len(), 6);
    assert!(lab.claim(0, 2).await.is_empty());
    assert_eq!(lab.claim_ids(3, 2).await, [tasks[0].id, tasks[1].id, tasks[2].id]);
    assert_eq!(lab.claim_ids(usize::MAX, 2).await, [tasks[3].id, tasks[4].id]);
    assert_eq!(lab.store.counts(pool("other")).await.unwrap().claimable, 1);
    assert!(lab.store.enqueue(vec![]).await.unwrap().is_empty());
    assert!(lab.store.settle(vec![]).await.unwrap().is_empty());
}

/// Waiting, delayed and running tasks make a pool one with tasks; ended ones do not.
pub async fn pools_with_tasks_are_those_with_unfinished_ones<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let names = async || {
        let names = lab.store.pools_with_tasks().await.unwrap();
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(names().await.is_empty());
    let (first, _) = lab.enqueue(lab.task(1)).await;
    lab.enqueue(Task { pool: pool("other"), run_at: at(50), ..lab.task(1) }).await;
    let own = lab.task(1).pool.to_string();
    let mut both = vec![own.clone(), "other".to_owned()];
    both.sort();
    assert_eq!(names().await, both);
    assert_eq!(lab.claim_ids(1, 2).await, [first]);
    assert_eq!(names().await, both, "one that runs has not ended");
    lab.store
        .rescue(crate::Rescue::AllBut { node: forerunner_core::NodeId::from_parts(at(1), 99), now: at(3) })
        .await
        .unwrap();
    lab.store.cancel(first, at(4)).await.unwrap().unwrap();
    assert_eq!(names().await, ["other"]);
}

/// `run_at`, and the sweep that checks it.
pub async fn a_delayed_task_waits_for_its_time<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let delayed = |run_at| Task { run_at: at(run_at), ..lab.task(1) };
    let (second, _) = lab.enqueue(delayed(20)).await;
    let (first, claimable) = lab.enqueue(delayed(10)).await;
    let (third, _) = lab.enqueue(delayed(30)).await;
    assert!(!claimable);
    let counts = lab.counts().await;
    assert_eq!((counts.of(TaskState::Scheduled), counts.claimable, counts.next_due), (3, 0, Some(at(10))));
    assert_eq!(counts.waiting(), 3);
    assert!(lab.claim(5, 15).await.is_empty());
    let swept = lab.sweep(20).await;
    assert_eq!((swept.promoted, swept.claimable), (vec![first, second], 2));
    assert_eq!((swept.expired, swept.next_due), (vec![], Some(at(30))));
    assert_eq!(lab.get(first).await.state, TaskState::Queued);
    assert_eq!(lab.claim_ids(5, 21).await, [first, second]);
    assert_eq!(lab.sweep(30).await.promoted, [third]);
    assert_eq!(lab.sweep(31).await, Default::default());
}

/// What is known to come: by the second, tasks of one context once, and only what still waits for its time.
pub async fn delayed_tasks_are_counted_by_the_second_they_are_due_in<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    const SECOND: i64 = 1_000_000;
    let lab = Lab::new(open().await);
    let due_by = async |until: i64| -> Vec<(i64, u64)> {
        let found = lab.store.due_by(pool("coder"), at(until)).await.unwrap();
        found.into_iter().map(|due| (due.at.as_micros() - at(0).as_micros(), due.tasks)).collect()
    };
    assert!(due_by(90 * SECOND).await.is_empty(), "nobody knows the pool");
    let delayed = |run_at| Task { run_at: at(run_at), ..lab.task(1) };
    let of_one_context = |run_at| Task { run_at: at(run_at), ..lab.task_of(1, "a") };
    lab.enqueue(lab.task(1)).await;
    let (first, _) = lab.enqueue(delayed(50 * SECOND + 300)).await;
    for task in [delayed(50 * SECOND + 900_000), of_one_context(50 * SECOND + 200), of_one_context(50 * SECOND + 400)] {
        lab.enqueue(task).await;
    }
    lab.enqueue(of_one_context(51 * SECOND)).await;
    lab.enqueue(Task { pool: pool("writer"), ..delayed(50 * SECOND) }).await;
    assert_eq!(due_by(50 * SECOND + 250).await, [(50 * SECOND + 200, 1)]);
    assert_eq!(due_by(51 * SECOND).await, [(50 * SECOND + 200, 3), (51 * SECOND, 1)]);
    lab.store.cancel(first, at(2)).await.unwrap().unwrap();
    assert_eq!(due_by(51 * SECOND).await, [(50 * SECOND + 200, 2), (51 * SECOND, 1)], "one was cancelled");
    lab.sweep(50 * SECOND + 900_000).await;
    assert_eq!(due_by(51 * SECOND).await, [(51 * SECOND, 1)], "their time has come");
    let claimed = lab.claim(1, 50 * SECOND + 900_001).await.remove(0);
    lab.settle(&claimed, 50 * SECOND + 900_002, retry(at(55 * SECOND))).await.unwrap();
    assert_eq!(due_by(60 * SECOND).await, [(51 * SECOND, 1), (55 * SECOND, 1)], "a retry is known to come as well");
}

/// Deadlines of tasks that wait.
pub async fn a_deadline_ends_queued_and_scheduled_tasks<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let with = |deadline, run_at| Task { deadline: Some(at(deadline)), run_at: at(run_at), ..lab.task(1) };
    let (queued, _) = lab.enqueue(with(10, 1)).await;
    let (scheduled, _) = lab.enqueue(with(20, 15)).await;
    let (patient, _) = lab.enqueue(with(100, 1)).await;
    let (free, _) = lab.enqueue(lab.task(1)).await;
    assert_eq!(lab.sweep(9).await.next_due, Some(at(10)));
    assert_eq!(lab.counts().await.claimable, 3);
    assert_eq!(lab.claim_ids(1, 10).await, [patient], "what is past its deadline is not handed out");
    assert_eq!(lab.get(queued).await.state, TaskState::Queued);

    let swept = lab.sweep(30).await;
    assert_eq!(swept.expired, [(queued, true), (scheduled, false)]);
    assert_eq!((swept.promoted, swept.claimable, swept.next_due), (vec![], 0, None));
    for id in [queued, scheduled] {
        let expired = lab.get(id).await;
        assert_eq!((expired.state, expired.finished_at), (TaskState::Expired, Some(at(30))));
        assert_eq!(expired.error.unwrap().kind, ErrorKind::DeadlineExceeded);
    }
    assert_eq!((lab.counts().await.claimable, lab.counts().await.of(TaskState::Expired)), (1, 2));
    assert_eq!(lab.claim_ids(5, 31).await, [free]);
    assert_eq!(lab.sweep(200).await.expired, [], "a running task's deadline is its holder's affair");
}

/// Calls are begun when made, in order, even if nobody awaits them in between.
pub async fn calls_take_effect_in_the_order_they_were_made<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    for round in 0..20 {
        let task = lab.task(round);
        let claim = Claim {
            pool: pool("coder"),
            node: super::lab::node(1),
            limit: 1,
            starts: usize::MAX,
            now: at(round),
            lease_until: at(round),
        };
        let enqueued = lab.store.enqueue(vec![submission(task.clone())]);
        let claimed = lab.store.claim(claim);
        let read = lab.store.task(task.id);
        let counted = lab.store.counts(pool("coder"));
        drop(enqueued);
        let claimed = claimed.await.unwrap();
        assert_eq!(claimed.len(), 1, "round {round}");
        assert_eq!(read.await.unwrap().unwrap().state, TaskState::Running);
        assert_eq!(counted.await.unwrap().of(TaskState::Running), 1);
        let (epoch, now) = (claimed[0].epoch, at(round));
        let settlement = Settlement::new(task.id, epoch, now, succeeded());
        let settled = lab.store.settle(vec![settlement]);
        let read = lab.store.task(task.id);
        drop(settled);
        assert_eq!(read.await.unwrap().unwrap().state, TaskState::Succeeded);
    }
}
