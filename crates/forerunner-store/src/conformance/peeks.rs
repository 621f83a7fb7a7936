use std::{future::Future, sync::Arc};

use forerunner_core::{Next, Priority, Task, TaskId, TaskState};

use super::lab::{Lab, at, context, node, pool, succeeded};
use crate::{Candidate, Claim, ContextCommit, Peek, Settlement, Store, born_of};

async fn look(lab: &Lab, limit: usize, now: i64) -> Vec<Candidate> {
    lab.store.peek(Peek { pool: pool("coder"), node: node(1), limit, now: at(now) }).await.unwrap()
}

async fn take(lab: &Lab, tasks: &[TaskId], now: i64) -> Vec<Task> {
    let claim = Claim {
        pool: pool("coder"),
        node: node(1),
        limit: 0,
        starts: usize::MAX,
        now: at(now),
        lease_until: at(now + 100),
    };
    lab.store.claim_ids(claim, tasks.to_vec()).await.unwrap()
}

fn ids(candidates: &[Candidate]) -> Vec<TaskId> {
    candidates.iter().map(|candidate| candidate.task).collect()
}

/// A peek has the order of claims, and claims nothing.
pub async fn a_look_shows_what_would_be_claimed_and_hands_nothing_out<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    assert!(look(&lab, 5, 1).await.is_empty());
    let (plain, _) = lab.enqueue(lab.task(1)).await;
    let (urgent, _) = lab.enqueue(Task { priority: Priority::MAX, ..lab.task(2) }).await;
    let (gone, _) = lab.enqueue(Task { deadline: Some(at(4)), ..lab.task(3) }).await;
    let (first, _) = lab.enqueue(lab.task_of(3, "red")).await;
    let (behind, _) = lab.enqueue(lab.task_of(3, "red")).await;
    assert_eq!(ids(&look(&lab, 9, 3).await), [urgent, plain, gone, first]);
    let seen = look(&lab, 9, 4).await;
    assert_eq!((ids(&seen), seen[0].priority, seen[1].due), (vec![urgent, plain, first], Priority::MAX, at(1)));
    assert_eq!(seen[2].context.as_ref().map(|context| context.as_str()), Some("red"));
    assert_eq!(ids(&look(&lab, 2, 4).await), [urgent, plain]);
    assert!(look(&lab, 0, 4).await.is_empty());
    assert_eq!(lab.counts().await.of(TaskState::Queued), 5);
    assert_eq!(lab.claim_ids(9, 4).await, [urgent, plain, first]);
    assert!(look(&lab, 9, 4).await.is_empty(), "{behind} waits for its turn");
}

/// Taking tasks from the middle, and twice.
pub async fn a_take_leases_what_it_names_and_what_is_still_there<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(lab.enqueue(lab.task(1)).await.0);
    }
    let (first, _) = lab.enqueue(lab.task_of(1, "red")).await;
    let (behind, _) = lab.enqueue(lab.task_of(1, "red")).await;
    lab.cancel(tasks[1], 2).await;
    let none = TaskId::from_parts(at(99), 7);
    let mut taken = take(&lab, &[tasks[2], tasks[1], none, behind, first], 3).await;
    taken.sort_by_key(|task| task.id);
    assert_eq!(taken.iter().map(|task| task.id).collect::<Vec<_>>(), [tasks[2], first]);
    assert!(taken.iter().all(|task| task.state == TaskState::Running && task.attempt == 1));
    assert!(take(&lab, &[tasks[2]], 4).await.is_empty(), "it is leased");
    assert_eq!(lab.counts().await.claimable, 2);
    assert_eq!(ids(&look(&lab, 9, 4).await), [tasks[0], tasks[3]]);
    lab.settle(&taken[0], 5, Next::Release).await.unwrap();
    assert_eq!(look(&lab, 9, 5).await.len(), 3, "handed back, and once");
    assert_eq!(take(&lab, &[tasks[2]], 6).await.len(), 1);
    assert_eq!(lab.settle(&taken[1], 6, succeeded()).await.unwrap().claimable, 1);
    assert_eq!(lab.claim_ids(9, 7).await, [tasks[0], tasks[3], behind]);
    assert_eq!(lab.counts().await.claimable, 0);
}

/// What a peek returns of a context.
pub async fn a_look_knows_version_and_size_of_a_context<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    lab.enqueue(lab.task_of(1, "red")).await;
    let [seen] = &look(&lab, 9, 2).await[..] else { panic!("one task") };
    assert_eq!((seen.context_version, seen.context_bytes), (0, 0));
    let task = lab.claim(1, 2).await.remove(0);
    let commit = ContextCommit {
        context: context("red"),
        born: born_of(task.id),
        parent_version: 0,
        frame: vec![7],
        full: true,
        size_bytes: 9,
        items: 1,
        pieces: Vec::new(),
    };
    let next = succeeded();
    let (task, epoch, context) = (task.id, task.epoch, Some(commit));
    lab.settle_with(Settlement {
        task,
        epoch,
        now: at(3),
        next,
        context,
        context_cost: None,
        report: None,
        started: None,
    })
    .await
    .unwrap();
    lab.enqueue(lab.task_of(4, "red")).await;
    let [seen] = &look(&lab, 9, 5).await[..] else { panic!("one task") };
    assert_eq!((seen.context_version, seen.context_bytes), (1, 9));
}
