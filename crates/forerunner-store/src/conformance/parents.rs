use std::{future::Future, sync::Arc};

use forerunner_core::{Task, TaskId, TaskState};

use super::lab::{Lab, at, failed, id, pool, submission};
use crate::{Bounds, BulkAction, EnqueueOutcome, Refusal, Store, Submission, TaskFilter};

async fn child(lab: &Lab, parent: TaskId, max_depth: u32) -> Result<(TaskId, u32), Refusal> {
    let task = Task { parent: Some(parent), ..lab.task(1) };
    let bounds = Bounds { max_depth: Some(max_depth), ..Bounds::default() };
    match lab.store.enqueue(vec![Submission { bounds, ..submission(task) }]).await.unwrap().remove(0)? {
        EnqueueOutcome::New { task, depth, .. } => Ok((task, depth)),
        EnqueueOutcome::Known(task) => panic!("task {} was known", task.id),
    }
}

/// A child is one deeper than its parent, whatever became of that one; what would be too deep, or has no parent, is refused.
pub async fn a_child_is_one_deeper_than_its_parent<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let root = lab.enqueue(Task { pool: pool("writer"), ..lab.task(1) }).await.0;
    assert_eq!((lab.get(root).await.parent, lab.get(root).await.depth), (None, 0));
    let (first, depth) = child(&lab, root, 2).await.unwrap();
    assert_eq!(depth, 1);
    let run = lab.claim(9, 2).await.remove(0);
    assert_eq!((run.id, run.parent, run.depth), (first, Some(root), 1), "whoever runs it knows");
    lab.settle(&run, 3, failed()).await.unwrap();
    let (second, depth) = child(&lab, first, 2).await.unwrap();
    assert_eq!(depth, 2, "its parent has ended");
    let refusal = child(&lab, second, 2).await.unwrap_err();
    assert_eq!(refusal, Refusal::TooDeep { parent: second, depth: 3, limit: 2 });
    assert_eq!(child(&lab, id(777), 2).await.unwrap_err(), Refusal::NoParent { parent: id(777) });
    assert_eq!(lab.counts().await.of(TaskState::Queued), 1, "what was refused left nothing");

    let line = async |task| (lab.get(task).await.parent, lab.get(task).await.depth);
    assert_eq!((line(first).await, line(second).await), ((Some(root), 1), (Some(first), 2)));
    let page = lab.store.tasks(TaskFilter { limit: 9, ..TaskFilter::default() }).await.unwrap().tasks;
    let depths: Vec<_> = page.iter().map(|task| task.depth).collect();
    assert_eq!(depths, [2, 1, 0], "listings tell");
    lab.store.retry(first, at(5)).await.unwrap().unwrap();
    assert_eq!(line(first).await, (Some(root), 1), "a retry keeps it");
    lab.store.bulk(BulkAction::Cancel, vec![first, second], at(6)).await.unwrap();
    lab.store.bulk(BulkAction::Retry, vec![first, second], at(7)).await.unwrap();
    assert_eq!((line(first).await, line(second).await), ((Some(root), 1), (Some(first), 2)));
    lab.store.bulk(BulkAction::Cancel, vec![first], at(8)).await.unwrap();
    lab.store.bulk(BulkAction::Delete, vec![first], at(8)).await.unwrap();
    assert!(matches!(child(&lab, first, 9).await, Err(Refusal::NoParent { .. })), "it is gone");
}
