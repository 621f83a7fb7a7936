use std::{future::Future, sync::Arc};

use forerunner_core::{AgentId, AttemptOutcome, AttemptRecord, ErrorKind, Next, Priority, Task, TaskId, TaskState};

use super::lab::{Lab, at, context, failed, id, key, node, pool, submission, succeeded, trouble};
use crate::{
    BulkAction, BulkOutcome, BulkRefusal, EnqueueOutcome, PoolOutcome, Settlement, Start, StateConflict, Store,
    TaskChange, TaskCounts, TaskFilter,
};

async fn bulk(lab: &Lab, action: BulkAction, tasks: &[TaskId], now: i64) -> BulkOutcome {
    let mut outcome = lab.store.bulk(action, tasks.to_vec(), at(now)).await.unwrap();
    for changed in outcome.pools.values_mut() {
        changed.done.sort_unstable();
        // Another case checks bytes.
        changed.done_bytes = 0;
    }
    outcome
}

/// Waiting tasks end, running ones are to be stopped, ended ones stay, and the next task of a conversation becomes
/// claimable.
pub async fn many_tasks_are_cancelled_at_once<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let ended = lab.enqueue(lab.task(1)).await.0;
    let task = lab.claim(1, 2).await.remove(0);
    lab.settle(&task, 3, succeeded()).await.unwrap();
    let running = lab.enqueue(lab.task(4)).await.0;
    let run = lab.claim(1, 5).await.remove(0);
    let plain = lab.enqueue(lab.task(6)).await.0;
    let delayed = lab.enqueue(Task { run_at: at(50), ..lab.task(6) }).await.0;
    let [first, second, third] = [lab.task_of(7, "c"), lab.task_of(7, "c"), lab.task_of(7, "c")];
    let [one, two, three] = [first.id, second.id, third.id];
    let elsewhere = Task { pool: pool("other"), ..lab.task(7) };
    let other = elsewhere.id;
    lab.store.enqueue([first, second, third, elsewhere].map(submission).to_vec()).await.unwrap();
    let unknown = id(777);
    let all = [ended, running, plain, delayed, one, two, other, unknown, plain];
    let outcome = bulk(&lab, BulkAction::Cancel, &all, 8).await;
    let here = PoolOutcome {
        done: vec![plain, delayed, one, two],
        stopping: vec![running],
        claimable: -1,
        ..PoolOutcome::default()
    };
    let there = PoolOutcome { done: vec![other], claimable: -1, ..PoolOutcome::default() };
    let pools = [(pool("coder"), here), (pool("other"), there)].into();
    assert_eq!(
        outcome,
        BulkOutcome { pools, refused: vec![BulkRefusal::of_state(ended, TaskState::Succeeded)], gone: vec![unknown] }
    );
    for id in [plain, delayed, one, two, other] {
        let task = lab.get(id).await;
        assert_eq!((task.state, task.finished_at), (TaskState::Cancelled, Some(at(8))));
        assert_eq!(task.error.unwrap().kind, forerunner_core::ErrorKind::Cancelled);
    }
    assert_eq!(lab.claim_ids(9, 9).await, [three], "the next of the conversation, and nothing else");
    lab.settle(&run, 10, super::lab::retry(at(11))).await.unwrap();
    assert_eq!(lab.get(running).await.state, TaskState::Cancelled, "nobody runs it again");
    assert_eq!(bulk(&lab, BulkAction::Cancel, &[], 12).await, BulkOutcome::default());
}

/// Tasks of a context that are sent back together run in the order in which they were submitted.
pub async fn many_tasks_are_sent_back_in_the_order_of_their_conversation<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(lab.enqueue(lab.task_of(1, "c")).await.0);
        let task = lab.claim(1, 2).await.remove(0);
        lab.settle(&task, 3, failed()).await.unwrap();
    }
    let plain = lab.enqueue(Task { deadline: Some(at(5)), ..lab.task(1) }).await.0;
    assert_eq!(lab.sweep(6).await.expired, [(plain, true)]);
    let waits = lab.enqueue(lab.task_of(7, "c")).await.0;
    let all = [sent[2], plain, waits, sent[0], sent[1]];
    let outcome = bulk(&lab, BulkAction::Retry, &all, 8).await;
    let mut done = [plain, sent[0], sent[1], sent[2]];
    done.sort_unstable();
    let changed = PoolOutcome { done: done.to_vec(), claimable: 1, ..PoolOutcome::default() };
    let pools = [(pool("coder"), changed)].into();
    assert_eq!(
        outcome,
        BulkOutcome { pools, refused: vec![BulkRefusal::of_state(waits, TaskState::Queued)], gone: vec![] }
    );
    let back = lab.get(sent[0]).await;
    assert_eq!((back.state, back.attempt, back.error.is_none()), (TaskState::Queued, 0, true));
    assert_eq!(lab.get(plain).await.deadline, None, "a deadline that has passed would end it again");
    let mut order = Vec::new();
    for step in 9..14 {
        for task in lab.claim(9, step).await {
            order.extend(task.context.is_some().then_some(task.id));
            lab.settle(&task, step, succeeded()).await.unwrap();
        }
    }
    assert_eq!(order, [waits, sent[0], sent[1], sent[2]]);
}

/// Deleting removes the key, the labels and the payloads too; unfinished tasks are left alone.
pub async fn a_deleted_task_leaves_nothing_behind<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let labels = vec![("team".to_owned(), "red".to_owned())];
    let keyed = Task {
        idempotency_key: Some(key("k")),
        labels: labels.iter().cloned().collect(),
        context: Some(context("c")),
        ..lab.task(1)
    };
    let gone = lab.enqueue(keyed.clone()).await.0;
    let task = lab.claim(1, 2).await.remove(0);
    lab.settle(&task, 3, succeeded()).await.unwrap();
    let kept = lab.enqueue(lab.task(4)).await.0;
    let running = lab.claim(1, 5).await.remove(0);
    let outcome = bulk(&lab, BulkAction::Delete, &[gone, kept], 6).await;
    let pools = [(pool("coder"), PoolOutcome { done: vec![gone], ..PoolOutcome::default() })].into();
    assert_eq!(
        outcome,
        BulkOutcome { pools, refused: vec![BulkRefusal::of_state(kept, TaskState::Running)], gone: vec![] }
    );
    assert_eq!(lab.store.task(gone).await.unwrap(), None);
    let labelled = TaskFilter { labels, limit: 9, ..TaskFilter::default() };
    assert_eq!(lab.store.tasks(labelled).await.unwrap().tasks, []);
    let running_only = TaskCounts { by_state: [(TaskState::Running, 1)].into(), ..TaskCounts::default() };
    assert_eq!(lab.counts().await, running_only);
    assert_eq!(bulk(&lab, BulkAction::Delete, &[gone], 7).await.gone, [gone]);
    let again = Task { id: id(500), ..keyed };
    assert!(matches!(lab.try_enqueue(again).await, Ok(EnqueueOutcome::New { .. })), "the key is free");
    lab.settle(&running, 8, succeeded()).await.unwrap();
}

/// A new priority or time takes effect at once; in a conversation a due task keeps its place.
pub async fn a_task_that_waits_is_moved_and_a_conversation_keeps_its_order<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let update = async |id, change| lab.store.update(id, change, at(10)).await.unwrap();
    let urgent = TaskChange { priority: Some(Priority::MAX), run_at: None };
    let (later, now) =
        (TaskChange { priority: None, run_at: Some(at(20)) }, TaskChange { priority: None, run_at: Some(at(10)) });
    let a = lab.enqueue(lab.task(1)).await.0;
    let b = lab.enqueue(lab.task(2)).await.0;
    let c = lab.enqueue(Task { run_at: at(90), ..lab.task(3) }).await.0;
    let done = update(b, urgent).await.unwrap();
    assert_eq!((done.claimable, done.task.priority), (0, Priority::MAX));
    let done = update(a, later).await.unwrap();
    assert_eq!((done.claimable, done.task.state, done.task.run_at), (-1, TaskState::Scheduled, at(20)));
    let done = update(c, now).await.unwrap();
    assert_eq!((done.claimable, done.task.state, done.task.run_at), (1, TaskState::Queued, at(10)));
    assert_eq!(lab.sweep(11).await.next_due, Some(at(20)));
    assert_eq!(lab.claim_ids(9, 12).await, [b, c]);
    assert_eq!(lab.sweep(20).await.promoted, [a]);
    assert_eq!(lab.claim_ids(9, 21).await, [a]);
    assert!(matches!(update(a, urgent).await, Err(StateConflict::WrongState { state: TaskState::Running, .. })));
    assert!(matches!(update(id(999), urgent).await, Err(StateConflict::NoTask { .. })));

    let x = lab.enqueue(lab.task_of(4, "talk")).await.0;
    let y = lab.enqueue(lab.task_of(5, "talk")).await.0;
    let z = lab.enqueue(Task { run_at: at(95), ..lab.task_of(6, "talk") }).await.0;
    assert_eq!(update(x, later).await.unwrap().claimable, -1, "those behind it wait for it");
    assert_eq!(update(y, urgent).await.unwrap().claimable, 0);
    assert_eq!(update(z, now).await.unwrap().task.state, TaskState::Queued);
    assert_eq!(lab.claim_ids(9, 11).await, []);
    let mut order = Vec::new();
    for step in 20..24 {
        lab.sweep(step).await;
        for task in lab.claim(9, step).await {
            order.push(task.id);
            lab.settle(&task, step, succeeded()).await.unwrap();
        }
    }
    assert_eq!(order, [x, y, z]);
}

/// A failed attempt is stored with its error and the agent's last lines, the newest ten of them; a successful one
/// writes nothing.
pub async fn attempts_that_did_not_succeed_are_kept_with_their_task<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    use AttemptOutcome::{Dead, Retried};
    let lab = Lab::new(open().await);
    let kept = async |id| lab.store.attempts(id).await.unwrap();
    let agent = AgentId::from_parts(at(0), 7 << 64);
    assert_eq!(kept(id(888)).await, None);
    let easy = lab.enqueue(lab.task(1)).await.0;
    let task = lab.claim(1, 2).await.remove(0);
    lab.settle(&task, 3, succeeded()).await.unwrap();
    assert_eq!(kept(easy).await, Some(vec![]));

    let hard = lab.enqueue(lab.task_of(4, "c")).await.0;
    let task = lab.claim(1, 5).await.remove(0);
    let error = trouble().with_log(Some("line 1\nline 2".to_owned()));
    let next = Next::Retry { run_at: at(7), error, crash: false, counts: true };
    let started = Some(Start { agent, at: at(5) });
    lab.settle_with(Settlement { started, ..lab.settlement(&task, 6, next) }).await.unwrap();
    assert_eq!(lab.get(hard).await.error, Some(trouble()), "the lines are no part of the error");
    let first = AttemptRecord {
        attempt: 1,
        outcome: Retried,
        started_at: at(5),
        ended_at: Some(at(6)),
        agent: Some(agent),
        node: Some(node(1)),
        error: Some(trouble()),
        log: Some("line 1\nline 2".to_owned()),
    };
    assert_eq!(kept(hard).await, Some(vec![first.clone()]));
    lab.sweep(8).await;
    assert_eq!(lab.claim_for(node(2), 1, 9).await.len(), 1);
    lab.rescue_all_but(node(1), 10).await;
    let records = kept(hard).await.unwrap();
    assert_eq!((records.len(), &records[0]), (2, &first));
    let lost = &records[1];
    assert_eq!((lost.attempt, lost.outcome, lost.node, lost.ended_at), (2, Retried, Some(node(2)), Some(at(10))));
    assert_eq!(lost.error.as_ref().unwrap().kind, ErrorKind::NodeLost);
    for step in 11..19 {
        let task = lab.claim(1, step).await.remove(0);
        lab.settle(&task, step, super::lab::retry(at(step))).await.unwrap();
    }
    let task = lab.claim(1, 19).await.remove(0);
    let dead = Next::Finish { state: TaskState::Dead, output: None, error: Some(trouble()) };
    lab.settle(&task, 20, dead).await.unwrap();
    let numbers = async || kept(hard).await.unwrap().iter().map(|one| one.attempt).collect::<Vec<_>>();
    assert_eq!(numbers().await, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(kept(hard).await.unwrap()[9].outcome, Dead);
    lab.store.retry(hard, at(21)).await.unwrap().unwrap();
    assert_eq!(numbers().await.len(), 10, "a task that is sent back keeps them");
    let task = lab.claim(1, 22).await.remove(0);
    lab.settle(&task, 23, failed()).await.unwrap();
    assert_eq!(numbers().await, [3, 4, 5, 6, 7, 8, 9, 10, 11, 1]);
    bulk(&lab, BulkAction::Retry, &[hard], 24).await;
    assert_eq!(numbers().await.len(), 10);
    bulk(&lab, BulkAction::Cancel, &[hard], 25).await;
    assert_eq!(numbers().await.len(), 10, "what never began is no attempt");
    bulk(&lab, BulkAction::Delete, &[hard], 26).await;
    assert_eq!(kept(hard).await, None);
}
