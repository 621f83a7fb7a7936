use std::{future::Future, sync::Arc};

use forerunner_core::{Task, TaskId, TaskState};

use super::lab::{Lab, at, context, pool, submission, succeeded};
use crate::{Store, TaskFilter};

async fn list(lab: &Lab, filter: TaskFilter) -> Vec<TaskId> {
    let page = lab.store.tasks(TaskFilter { limit: 100, ..filter }).await.unwrap();
    assert!(!page.more);
    page.tasks.into_iter().map(|task| task.id).collect()
}

/// Each filter alone, and some together; newest first.
pub async fn listings_filter_by_everything<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let label = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
    let all = TaskFilter::default();
    assert_eq!(list(&lab, all.clone()).await, []);
    let one = lab.task_of(1, "x");
    let mut two = lab.task(2);
    two.labels.insert("team".to_owned(), "red".to_owned());
    let mut three = lab.task_of(3, "x");
    three.labels = [("team", "blue"), ("size", "red")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let four = Task { pool: pool("other"), labels: two.labels.clone(), ..lab.task_of(4, "x") };
    let five = Task { run_at: at(100), ..lab.task(5) };
    let [a, b, c, d, e] = [one.id, two.id, three.id, four.id, five.id];
    // Ids say who is newer, not the order of arrival.
    lab.store.enqueue([four, one, five, three, two].map(submission).to_vec()).await.unwrap();
    for task in lab.claim(2, 6).await {
        lab.settle(&task, 7, succeeded()).await.unwrap();
    }
    assert_eq!(list(&lab, all.clone()).await, [e, d, c, b, a]);
    assert_eq!(list(&lab, TaskFilter { pool: Some(pool("coder")), ..all.clone() }).await, [e, c, b, a]);
    assert_eq!(list(&lab, TaskFilter { pool: Some(pool("none")), ..all.clone() }).await, []);
    assert_eq!(list(&lab, TaskFilter { state: Some(TaskState::Succeeded), ..all.clone() }).await, [b, a]);
    assert_eq!(list(&lab, TaskFilter { state: Some(TaskState::Queued), ..all.clone() }).await, [d, c]);
    let queued_here = TaskFilter { pool: Some(pool("coder")), state: Some(TaskState::Queued), ..all.clone() };
    assert_eq!(list(&lab, queued_here).await, [c]);
    assert_eq!(list(&lab, TaskFilter { context: Some(context("x")), ..all.clone() }).await, [d, c, a]);
    let context_here = TaskFilter { pool: Some(pool("coder")), context: Some(context("x")), ..all.clone() };
    assert_eq!(list(&lab, context_here).await, [c, a]);
    assert_eq!(list(&lab, TaskFilter { label: label("team", "red"), ..all.clone() }).await, [d, b]);
    assert_eq!(list(&lab, TaskFilter { label: label("team", "green"), ..all.clone() }).await, []);
    let label_here = TaskFilter { pool: Some(pool("other")), label: label("team", "red"), ..all.clone() };
    assert_eq!(list(&lab, label_here).await, [d]);
    let both = TaskFilter { context: Some(context("x")), label: label("team", "red"), ..all.clone() };
    assert_eq!(list(&lab, both).await, [d]);
    assert_eq!(list(&lab, TaskFilter { before: Some(c), ..all.clone() }).await, [b, a]);
    let labelled_before = TaskFilter { before: Some(d), label: label("team", "red"), ..all };
    assert_eq!(list(&lab, labelled_before).await, [b]);
    let page = lab.store.tasks(TaskFilter { limit: 5, ..TaskFilter::default() }).await.unwrap();
    assert_eq!(page.tasks[3], lab.get(b).await);
}

/// Paging through, while new tasks arrive and the last one of a page is purged.
pub async fn pages_neither_skip_nor_repeat<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let tasks: Vec<_> = (0..50).map(|_| lab.task(1)).collect();
    let mut expected: Vec<_> = tasks.iter().map(|task| task.id).collect();
    expected.reverse();
    lab.store.enqueue(tasks.into_iter().map(submission).collect()).await.unwrap();
    for filter in [TaskFilter::default(), TaskFilter { pool: Some(pool("coder")), ..TaskFilter::default() }] {
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = lab.store.tasks(TaskFilter { before, limit: 7, ..filter.clone() }).await.unwrap();
            seen.extend(page.tasks.iter().map(|task| task.id));
            lab.enqueue(lab.task(2)).await;
            if let Some(last) = seen.last().filter(|id| **id == expected[27]) {
                lab.cancel(*last, 3).await;
                lab.store.purge(at(4), 100).await.unwrap();
            }
            before = seen.last().copied();
            if !page.more {
                break;
            }
        }
        let first = seen.iter().position(|id| *id == expected[0]).unwrap();
        assert_eq!(seen[first..], expected);
        expected.retain(|id| *id != expected_purged(&seen, first));
    }
    let page = lab.store.tasks(TaskFilter { limit: 0, ..TaskFilter::default() }).await.unwrap();
    assert_eq!((page.tasks.len(), page.more), (1, true), "a page has at least one");
}

/// The task that the first round purged.
fn expected_purged(seen: &[TaskId], first: usize) -> TaskId {
    seen[first + 27]
}
