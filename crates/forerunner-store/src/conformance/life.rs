use std::{future::Future, sync::Arc, time::Duration};

use forerunner_core::{ErrorKind, Next, RetryPolicy, TaskError, TaskState};

use super::lab::{Lab, at, failed, id, node, pool, retry, submission, succeeded, trouble};
use crate::{Cancelled, Rescue, StateConflict, Store, StoreError, Submission, TaskFilter};

/// Enqueue, claim and settle, each with everything it answers and everything that is read back.
pub async fn a_task_lives_from_enqueue_to_settle<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let mut task = lab.task(10);
    task.labels.insert("team".to_owned(), "a \"quoted\" ü".to_owned());
    assert_eq!(lab.enqueue(task.clone()).await, (task.id, true));
    assert_eq!(lab.get(task.id).await, task);
    assert_eq!((lab.counts().await.of(TaskState::Queued), lab.counts().await.claimable), (1, 1));

    let claimed = lab.claim(5, 20).await;
    assert_eq!(claimed.len(), 1);
    task.state = TaskState::Running;
    task.epoch = claimed[0].epoch;
    (task.attempt, task.started_at, task.node) = (1, Some(at(20)), Some(node(1)));
    assert!(task.epoch.0 > 0);
    assert_eq!(claimed[0], task);
    assert_eq!(lab.get(task.id).await, task);
    assert_eq!((lab.counts().await.of(TaskState::Running), lab.counts().await.claimable), (1, 0));

    let settled = lab.settle(&task, 30, succeeded()).await.unwrap();
    assert_eq!((settled.state, settled.claimable, settled.run_at), (TaskState::Succeeded, 0, None));
    let Next::Finish { output, .. } = succeeded() else { unreachable!("it finishes") };
    (task.state, task.output, task.finished_at) = (TaskState::Succeeded, output, Some(at(30)));
    assert_eq!(lab.get(task.id).await, task);
    assert_eq!(lab.counts().await.of(TaskState::Succeeded), 1);
    assert!(lab.store.task(id(999)).await.unwrap().is_none());
}

/// A retry waits for its time, and then runs with a higher epoch.
pub async fn a_failed_attempt_is_noted_and_tried_again_later<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    lab.enqueue(lab.task(1)).await;
    let first = lab.claim(1, 2).await.remove(0);
    let again = Next::Retry { run_at: at(50), error: trouble(), crash: true, counts: true };
    let settled = lab.settle(&first, 3, again).await.unwrap();
    assert_eq!((settled.state, settled.claimable, settled.run_at), (TaskState::Scheduled, 0, Some(at(50))));
    let waiting = lab.get(first.id).await;
    assert_eq!((waiting.attempt, waiting.crashes, waiting.error), (1, 1, Some(trouble())));
    assert_eq!((waiting.run_at, waiting.finished_at), (at(50), None));
    assert_eq!(lab.counts().await.next_due, Some(at(50)));
    assert!(lab.claim(1, 60).await.is_empty(), "only a sweep makes it claimable");
    assert_eq!(lab.sweep(49).await.next_due, Some(at(50)));
    let swept = lab.sweep(50).await;
    assert_eq!((swept.promoted, swept.claimable, swept.next_due), (vec![first.id], 1, None));
    let second = lab.claim(1, 51).await.remove(0);
    assert!(second.epoch > first.epoch);
    assert_eq!((second.attempt, second.error.clone()), (2, Some(trouble())));

    let settled = lab.settle(&second, 60, retry(at(60))).await.unwrap();
    assert_eq!((settled.state, settled.claimable, settled.run_at), (TaskState::Queued, 1, None));
}

/// An attempt that does not count leaves the number of attempts as it was and is not stored. The task waits behind those
/// that were due after it.
pub async fn an_attempt_that_does_not_count_sends_its_task_to_the_end_of_the_queue<
    F: Future<Output = Arc<dyn Store>>,
>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let uncounted = |run_at| Next::Retry { run_at: at(run_at), error: trouble(), crash: false, counts: false };
    lab.enqueue(lab.task(1)).await;
    lab.enqueue(lab.task(4)).await;
    let first = lab.claim(1, 6).await.remove(0);
    let settled = lab.settle(&first, 7, uncounted(7)).await.unwrap();
    assert_eq!((settled.state, settled.claimable, settled.run_at), (TaskState::Queued, 1, None));
    let waiting = lab.get(first.id).await;
    assert_eq!((waiting.attempt, waiting.crashes, waiting.error.clone()), (0, 0, Some(trouble())));
    assert_eq!(waiting.run_at, at(7));
    assert!(lab.store.attempts(first.id).await.unwrap().unwrap().is_empty(), "it leaves no record");
    let (second, again) = (lab.claim(1, 8).await.remove(0), lab.claim(1, 9).await.remove(0));
    assert_ne!(second.id, first.id, "the other one is first now");
    assert_eq!((again.id, again.attempt), (first.id, 1));
    assert!(again.epoch > first.epoch);
    let settled = lab.settle(&again, 10, uncounted(50)).await.unwrap();
    assert_eq!((settled.state, settled.run_at), (TaskState::Scheduled, Some(at(50))));
    assert_eq!(lab.sweep(50).await.promoted, [first.id]);
    assert_eq!(lab.claim(1, 51).await.remove(0).attempt, 1);
}

/// Nodes that share a store use the clock of the database.
pub async fn retries_are_due_when_their_delay_is_over_though_the_clock_was_set_back<
    F: Future<Output = Arc<dyn Store>>,
>(
    open: impl Fn() -> F,
) {
    const SECOND: i64 = 1_000_000;
    let lab = Lab::new(open().await);
    let mut delayed = lab.task(2);
    (delayed.run_at, delayed.state) = (at(3_608 * SECOND), TaskState::Scheduled);
    lab.enqueue(lab.task(1)).await;
    lab.enqueue(delayed.clone()).await;
    let first = lab.claim(1, 2).await.remove(0);
    lab.settle(&first, 3, retry(at(3_608 * SECOND))).await.unwrap();
    if lab.store.is_shared() {
        assert_eq!(lab.store.clock_set_back(at(0), Duration::from_secs(3_600)).await.unwrap(), 0);
        return;
    }
    // It was 3600 and is 0; the retry was 8 away, and so it is.
    assert_eq!(lab.store.clock_set_back(at(0), Duration::from_secs(3_600)).await.unwrap(), 1);
    assert_eq!(lab.get(first.id).await.run_at, at(8 * SECOND));
    assert_eq!(lab.get(delayed.id).await.run_at, delayed.run_at, "its submitter gave that time");
    assert!(lab.sweep(7 * SECOND).await.promoted.is_empty());
    assert_eq!(lab.sweep(8 * SECOND).await.promoted, [first.id]);
    // Set back while no node ran: no later than the longest delay allows.
    let second = lab.claim(1, 8 * SECOND).await.remove(0);
    lab.settle(&second, 9 * SECOND, retry(at(90_000 * SECOND))).await.unwrap();
    assert_eq!(lab.store.clock_set_back(at(0), Duration::ZERO).await.unwrap(), 1);
    assert_eq!(lab.get(first.id).await.run_at, at(0) + second.retry.max * 2);
    assert_eq!(lab.store.clock_set_back(at(0), Duration::ZERO).await.unwrap(), 0);
}

/// A released task is next, and its attempt does not count.
pub async fn a_release_is_not_counted_and_goes_to_the_front<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let (first, _) = lab.enqueue(lab.task(1)).await;
    let (second, _) = lab.enqueue(lab.task(2)).await;
    let claimed = lab.claim(1, 3).await.remove(0);
    let settled = lab.settle(&claimed, 4, Next::Release).await.unwrap();
    assert_eq!((settled.state, settled.claimable), (TaskState::Queued, 1));
    let released = lab.get(first).await;
    assert_eq!((released.attempt, released.started_at, released.node), (0, None, None));
    let again = lab.claim(5, 5).await;
    assert_eq!(again.iter().map(|task| task.id).collect::<Vec<_>>(), [first, second]);
    assert_eq!(again[0].attempt, 1);
    assert!(again[0].epoch > claimed.epoch);
}

/// A retried task keeps its place, before those that came later.
pub async fn a_retry_keeps_its_place<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let (first, _) = lab.enqueue(lab.task(1)).await;
    let (second, _) = lab.enqueue(lab.task(2)).await;
    let claimed = lab.claim(1, 3).await.remove(0);
    lab.settle(&claimed, 4, retry(at(10))).await.unwrap();
    let (third, _) = lab.enqueue(lab.task(5)).await;
    lab.sweep(10).await;
    assert_eq!(lab.claim_ids(5, 11).await, [first, second, third]);
}

/// Cancelling, in every state.
pub async fn a_waiting_task_is_cancelled_at_once_and_a_running_one_reported<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let (queued, _) = lab.enqueue(lab.task(1)).await;
    let mut task = lab.task(1);
    task.run_at = at(100);
    let (scheduled, claimable) = lab.enqueue(task).await;
    assert!(!claimable);
    assert_eq!(lab.cancel(queued, 2).await, (true, 0));
    assert_eq!(lab.cancel(scheduled, 2).await, (false, 0));
    assert_eq!(lab.get(queued).await.error.unwrap().kind, ErrorKind::Cancelled);
    let ended = lab.store.cancel(queued, at(3)).await.unwrap().unwrap();
    assert_eq!(ended, Cancelled::Ended(Box::new(lab.get(queued).await)));
    assert!(lab.claim(5, 200).await.is_empty());
    assert_eq!((lab.sweep(200).await.promoted, lab.counts().await.next_due), (vec![], None));

    lab.enqueue(lab.task(5)).await;
    let running = lab.claim(1, 6).await.remove(0);
    let reported = lab.store.cancel(running.id, at(7)).await.unwrap().unwrap();
    assert_eq!(reported, Cancelled::Running(Box::new(running.clone())));
    lab.settle(&running, 8, succeeded()).await.unwrap();
    let missing = lab.store.cancel(id(999), at(9)).await.unwrap();
    assert_eq!(missing, Err(StateConflict::NoTask { task: id(999) }));
}

/// A task that was cancelled while it ran is not run again: whatever ends its attempt without a result ends the task.
pub async fn a_task_cancelled_while_it_runs_is_not_run_again<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    for end in [retry(at(50)), Next::Release] {
        lab.enqueue(lab.task(1)).await;
        let running = lab.claim(1, 2).await.remove(0);
        lab.store.cancel(running.id, at(3)).await.unwrap().unwrap();
        let settled = lab.settle(&running, 4, end).await.unwrap();
        assert_eq!((settled.state, settled.run_at, settled.claimable), (TaskState::Cancelled, None, 0));
        let ended = lab.get(running.id).await;
        assert_eq!((ended.state, ended.finished_at), (TaskState::Cancelled, Some(at(4))));
        assert_eq!(ended.error.unwrap().kind, ErrorKind::Cancelled);
    }
    lab.enqueue(lab.task(5)).await;
    let running = lab.claim(1, 6).await.remove(0);
    lab.store.cancel(running.id, at(7)).await.unwrap().unwrap();
    let rescue = Rescue::Expired { now: at(300) };
    assert_eq!(lab.store.rescue(rescue).await.unwrap().requeued, []);
    assert_eq!(lab.get(running.id).await.state, TaskState::Cancelled);
    // A result counts, whatever was asked for; and so does being sent back by hand.
    lab.enqueue(lab.task(8)).await;
    let running = lab.claim(1, 9).await.remove(0);
    lab.store.cancel(running.id, at(9)).await.unwrap().unwrap();
    assert_eq!(lab.settle(&running, 10, succeeded()).await.unwrap().state, TaskState::Succeeded);
}

/// A retry by hand makes a task new except for its epochs.
pub async fn a_retried_task_starts_afresh<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let mut task = lab.task(1);
    task.deadline = Some(at(50));
    lab.enqueue(task).await;
    let first = lab.claim(1, 2).await.remove(0);
    let wrong = lab.store.retry(first.id, at(3)).await.unwrap();
    assert!(matches!(wrong, Err(StateConflict::WrongState { state: TaskState::Running, .. })), "{wrong:?}");
    lab.settle(&first, 3, failed()).await.unwrap();
    let (other, _) = lab.enqueue(lab.task(4)).await;

    let retried = lab.store.retry(first.id, at(60)).await.unwrap().unwrap();
    assert_eq!((retried.state, retried.attempt, retried.crashes), (TaskState::Queued, 0, 0));
    assert_eq!((retried.run_at, retried.finished_at, retried.error.clone()), (at(60), None, None));
    assert_eq!(retried.deadline, None, "a deadline that has passed would end it at once");
    assert_eq!(lab.get(first.id).await, retried);
    assert_eq!((lab.counts().await.claimable, lab.counts().await.of(TaskState::Failed)), (2, 0));
    let again = lab.claim(5, 61).await;
    assert_eq!(again.iter().map(|task| task.id).collect::<Vec<_>>(), [other, first.id]);
    assert!(again[1].epoch > first.epoch);
    lab.settle(&again[1], 62, succeeded()).await.unwrap();
    let wrong = lab.store.retry(first.id, at(63)).await.unwrap();
    assert!(matches!(wrong, Err(StateConflict::WrongState { state: TaskState::Succeeded, .. })), "{wrong:?}");
    let missing = lab.store.retry(id(999), at(64)).await.unwrap();
    assert_eq!(missing, Err(StateConflict::NoTask { task: id(999) }));
}

/// Tasks of a lost node go to the front.
pub async fn rescue_takes_back_what_other_nodes_ran<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let mut ids = Vec::new();
    for now in 1..=4 {
        ids.push(lab.enqueue(lab.task(now)).await.0);
    }
    let lost = lab.claim_for(node(1), 2, 5).await;
    let kept = lab.claim_for(node(2), 1, 5).await.remove(0);
    let rescued = lab.rescue_all_but(node(2), 6).await;
    assert_eq!((rescued.requeued, rescued.dead), (vec![ids[0], ids[1]], vec![]));
    let waiting = lab.get(ids[0]).await;
    assert_eq!((waiting.state, waiting.crashes, waiting.attempt), (TaskState::Queued, 1, 1));
    assert_eq!(waiting.error.unwrap().kind, ErrorKind::NodeLost);
    assert_eq!(lab.settle(&lost[0], 7, succeeded()).await.unwrap_err().task, ids[0]);
    lab.settle(&kept, 7, succeeded()).await.unwrap();
    assert_eq!(lab.claim_ids(5, 8).await, [ids[0], ids[1], ids[3]]);
    assert_eq!(lab.rescue_all_but(node(1), 9).await.requeued, []);
}

/// A node's leases all live as long as the newest that it was given, or asked for.
pub async fn rescue_takes_back_what_outlived_its_node_s_lease<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    for now in 1..=2 {
        lab.enqueue(lab.task(now)).await;
    }
    let first = lab.claim_for(node(1), 1, 10).await.remove(0);
    let second = lab.claim_for(node(2), 1, 50).await.remove(0);
    let expired = |now| lab.store.rescue(Rescue::Expired { now: at(now) });
    assert_eq!(expired(110).await.unwrap().requeued, [], "a lease lasts to its very end");
    lab.claim_for(node(1), 0, 30).await;
    assert_eq!(expired(120).await.unwrap().requeued, [], "a claim of nothing renews");
    lab.store.renew(node(1), at(140)).await.unwrap();
    assert_eq!(expired(140).await.unwrap().requeued, [], "so does a heartbeat");
    assert_eq!(expired(141).await.unwrap().requeued, [first.id]);
    assert_eq!(expired(151).await.unwrap().requeued, [second.id]);
}

/// A task that crashes its nodes is quarantined.
pub async fn a_task_that_crashed_too_often_dies<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let mut task = lab.task(1);
    task.retry = RetryPolicy { max_crashes: 2, ..task.retry };
    let (id, _) = lab.enqueue(task).await;
    lab.claim(1, 2).await;
    assert_eq!(lab.rescue_all_but(node(9), 3).await.requeued, [id]);
    lab.claim(1, 4).await;
    let rescued = lab.rescue_all_but(node(9), 5).await;
    assert_eq!((rescued.requeued, rescued.dead), (vec![], vec![id]));
    let dead = lab.get(id).await;
    assert_eq!((dead.state, dead.crashes, dead.finished_at), (TaskState::Dead, 2, Some(at(5))));
    assert_eq!(dead.error.unwrap().kind, ErrorKind::NodeLost);
    assert!(lab.claim(1, 6).await.is_empty());
    assert_eq!(lab.store.retry(id, at(7)).await.unwrap().unwrap().crashes, 0);
    // A crash at the end of an attempt counts too, as in the task of the node that ran it.
    let task = lab.claim(1, 8).await.remove(0);
    let error = TaskError::new(ErrorKind::AgentLost, "it is gone");
    let dead = Next::Finish { state: TaskState::Dead, output: None, error: Some(error) };
    lab.settle(&task, 9, dead).await.unwrap();
    assert_eq!(lab.get(id).await.crashes, 1);
}

/// Purging uses the time of the end, and stops at its limit.
pub async fn purge_removes_the_oldest_ends_only<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    for now in 1..=5 {
        let mut task = lab.task(now);
        task.labels.insert("n".to_owned(), now.to_string());
        lab.enqueue(task).await;
    }
    for task in lab.claim(4, 6).await {
        let ends = 10 + task.submitted_at.since(at(0)).as_micros() as i64;
        lab.settle(&task, ends, succeeded()).await.unwrap();
    }
    assert_eq!(lab.store.purge(at(13), 1).await.unwrap(), 1);
    assert_eq!(lab.store.purge(at(13), 100).await.unwrap(), 1);
    assert_eq!(lab.store.purge(at(13), 100).await.unwrap(), 0);
    let counts = lab.counts().await;
    assert_eq!((counts.of(TaskState::Succeeded), counts.of(TaskState::Queued)), (2, 1));
    assert!(lab.store.task(id(1)).await.unwrap().is_none());
    let labels = vec![("n".to_owned(), "1".to_owned())];
    let listed = lab.store.tasks(TaskFilter { labels, limit: 9, ..TaskFilter::default() }).await.unwrap();
    assert!(listed.tasks.is_empty());
}

/// Whatever is called after closing is refused by name.
pub async fn a_closed_store_says_so<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let Submission { task, .. } = submission(lab.task(1));
    lab.store.check().await.unwrap();
    lab.enqueue(task.clone()).await;
    lab.store.close().await.unwrap();
    let is_closed = |error: StoreError| matches!(error, StoreError::Closed { .. }) && !error.is_retryable();
    assert!(is_closed(lab.store.enqueue(vec![submission(task.clone())]).await.unwrap_err()));
    assert!(is_closed(lab.store.task(task.id).await.unwrap_err()));
    assert!(is_closed(lab.store.counts(pool("coder")).await.unwrap_err()));
    assert!(is_closed(lab.store.check().await.unwrap_err()));
    assert!(is_closed(lab.store.close().await.unwrap_err()));
    lab.store.assign(vec![]);
}
