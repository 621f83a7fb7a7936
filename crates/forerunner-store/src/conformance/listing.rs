use std::{future::Future, sync::Arc};

use forerunner_core::{Task, TaskId, TaskState};

use super::lab::{Lab, at, context, pool, submission, succeeded};
use crate::{Store, TaskFilter, TimeWindow};

async fn list(lab: &Lab, filter: TaskFilter) -> Vec<TaskId> {
    let page = lab.store.tasks(TaskFilter { limit: 100, ..filter }).await.unwrap();
    assert!(!page.more);
    page.tasks.into_iter().map(|task| task.id).collect()
}

/// Each filter alone, and some together; newest first.
pub async fn listings_filter_by_everything<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let label = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
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
    // The order of a listing is that of ids, not of arrival.
    lab.store.enqueue([four, one, five, three, two].map(submission).to_vec()).await.unwrap();
    for task in lab.claim(2, 6).await {
        lab.settle(&task, 7, succeeded()).await.unwrap();
    }
    assert_eq!(list(&lab, all.clone()).await, [e, d, c, b, a]);
    assert_eq!(list(&lab, TaskFilter { pool: Some(pool("coder")), ..all.clone() }).await, [e, c, b, a]);
    assert_eq!(list(&lab, TaskFilter { pool: Some(pool("none")), ..all.clone() }).await, []);
    assert_eq!(list(&lab, TaskFilter { states: vec![TaskState::Succeeded], ..all.clone() }).await, [b, a]);
    assert_eq!(list(&lab, TaskFilter { states: vec![TaskState::Queued], ..all.clone() }).await, [d, c]);
    let queued_here = TaskFilter { pool: Some(pool("coder")), states: vec![TaskState::Queued], ..all.clone() };
    assert_eq!(list(&lab, queued_here).await, [c]);
    assert_eq!(list(&lab, TaskFilter { context: Some(context("x")), ..all.clone() }).await, [d, c, a]);
    let context_here = TaskFilter { pool: Some(pool("coder")), context: Some(context("x")), ..all.clone() };
    assert_eq!(list(&lab, context_here).await, [c, a]);
    assert_eq!(list(&lab, TaskFilter { labels: label("team", "red"), ..all.clone() }).await, [d, b]);
    assert_eq!(list(&lab, TaskFilter { labels: label("team", "green"), ..all.clone() }).await, []);
    let label_here = TaskFilter { pool: Some(pool("other")), labels: label("team", "red"), ..all.clone() };
    assert_eq!(list(&lab, label_here).await, [d]);
    let both = TaskFilter { context: Some(context("x")), labels: label("team", "red"), ..all.clone() };
    assert_eq!(list(&lab, both).await, [d]);
    assert_eq!(list(&lab, TaskFilter { before: Some(c), ..all.clone() }).await, [b, a]);
    let labelled_before = TaskFilter { before: Some(d), labels: label("team", "red"), ..all };
    assert_eq!(list(&lab, labelled_before).await, [b]);
    let page = lab.store.tasks(TaskFilter { limit: 5, ..TaskFilter::default() }).await.unwrap();
    assert_eq!(page.tasks[3], lab.get(b).await);
    let several = vec![TaskState::Succeeded, TaskState::Scheduled];
    assert_eq!(list(&lab, TaskFilter { states: several, ..TaskFilter::default() }).await, [e, b, a]);
    let both_labels = [label("team", "blue"), label("size", "red")].concat();
    assert_eq!(list(&lab, TaskFilter { labels: both_labels, ..TaskFilter::default() }).await, [c]);
    let no_such_pair = [label("team", "red"), label("size", "red")].concat();
    assert_eq!(list(&lab, TaskFilter { labels: no_such_pair, ..TaskFilter::default() }).await, []);
}

/// Windows of creation, of ends and of due times, alone and with others, in both directions.
pub async fn listings_filter_by_time<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let tasks = [lab.task(10), lab.task(20), lab.task(30), Task { run_at: at(90), ..lab.task(40) }];
    let [a, b, c, d] = [&tasks[0], &tasks[1], &tasks[2], &tasks[3]].map(|task| task.id);
    lab.store.enqueue(tasks.map(submission).to_vec()).await.unwrap();
    for task in lab.claim(2, 50).await {
        lab.settle(&task, if task.id == a { 60 } else { 70 }, succeeded()).await.unwrap();
    }
    let window = |after: i64, before: i64| TimeWindow { after: Some(at(after)), before: Some(at(before)) };
    let since = |after: i64| TimeWindow { after: Some(at(after)), before: None };
    let until = |before: i64| TimeWindow { after: None, before: Some(at(before)) };
    let created = |created| TaskFilter { created, ..TaskFilter::default() };
    assert_eq!(list(&lab, created(window(20, 40))).await, [c, b]);
    assert_eq!(list(&lab, created(since(30))).await, [d, c]);
    assert_eq!(list(&lab, created(until(20))).await, [a]);
    let ended = |ended| TaskFilter { ended, ..TaskFilter::default() };
    assert_eq!(list(&lab, ended(since(0))).await, [b, a], "what has not ended is in no window of ends");
    assert_eq!(list(&lab, ended(window(60, 70))).await, [a]);
    assert_eq!(list(&lab, ended(until(60))).await, []);
    let due = |due| TaskFilter { due, ..TaskFilter::default() };
    assert_eq!(list(&lab, due(window(30, 91))).await, [d, c]);
    assert_eq!(list(&lab, due(until(90))).await, [c, b, a]);
    let queued = vec![TaskState::Queued, TaskState::Succeeded];
    let together =
        TaskFilter { pool: Some(pool("coder")), states: queued, created: since(20), ..TaskFilter::default() };
    assert_eq!(list(&lab, TaskFilter { ended: until(100), ..together.clone() }).await, [b]);
    assert_eq!(list(&lab, TaskFilter { oldest_first: true, ..together.clone() }).await, [b, c]);
    assert_eq!(list(&lab, TaskFilter { oldest_first: true, after: Some(b), ..together.clone() }).await, [c]);
    assert_eq!(list(&lab, TaskFilter { oldest_first: true, ..TaskFilter::default() }).await, [a, b, c, d]);
    let all = lab.store.select(TaskFilter { limit: 10_000, ..TaskFilter::default() }).await.unwrap();
    let succeeded = TaskState::Succeeded;
    assert_eq!(all, [(d, TaskState::Scheduled), (c, TaskState::Queued), (b, succeeded), (a, succeeded)]);
    let two = lab.store.select(TaskFilter { limit: 2, oldest_first: true, after: Some(a), ..together }).await.unwrap();
    assert_eq!(two, [(b, succeeded), (c, TaskState::Queued)]);
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

/// A label that half of the tasks have and one that a single task has, paged through in both directions, while more tasks
/// with these labels arrive and the last task of a page is purged.
pub async fn pages_of_a_label_neither_skip_nor_repeat<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    for oldest_first in [false, true] {
        let lab = Lab::new(open().await);
        let tasks: Vec<Task> = (0..60).map(|number| labelled(&lab, number)).collect();
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
        let mut blue: Vec<TaskId> = ids.iter().copied().step_by(2).collect();
        lab.store.enqueue(tasks.into_iter().map(submission).collect()).await.unwrap();
        if !oldest_first {
            blue.reverse();
        }
        let mut pages = Pages { lab: &lab, oldest_first, last: None, purged: blue[13] };
        let seen = pages.through(TaskFilter { labels: team("blue"), limit: 7, ..TaskFilter::default() }).await;
        let known: Vec<TaskId> = seen.iter().copied().filter(|id| ids.contains(id)).collect();
        assert_eq!(known, blue, "oldest first: {oldest_first}");
        let late = seen.len() - known.len();
        // Tasks that come while somebody reads are newer than all: they are read only at the end that is still ahead.
        assert_eq!(late > 0, oldest_first, "{late} of those that came meanwhile");

        let one = TaskFilter { labels: rare(), limit: 1, oldest_first, ..TaskFilter::default() };
        let page = lab.store.tasks(one.clone()).await.unwrap();
        assert_eq!((page.tasks[0].id, page.tasks.len(), page.more), (ids[37], 1, false));
        let none = TaskFilter { states: vec![TaskState::Failed], labels: team("blue"), ..one };
        assert_eq!(lab.store.tasks(none.clone()).await.unwrap().tasks, []);
        assert_eq!(lab.store.select(none).await.unwrap(), []);
    }
}

/// Reads page after page; with each of the first few a task with the label and one without it arrive.
struct Pages<'a> {
    lab: &'a Lab,
    oldest_first: bool,
    last: Option<TaskId>,
    /// Is cancelled and purged as soon as it is the last task of a page.
    purged: TaskId,
}

impl Pages<'_> {
    async fn through(&mut self, filter: TaskFilter) -> Vec<TaskId> {
        let mut seen = Vec::new();
        for page in 0.. {
            let (before, after) = if self.oldest_first { (None, self.last) } else { (self.last, None) };
            let filter = TaskFilter { before, after, oldest_first: self.oldest_first, ..filter.clone() };
            let selected = self.lab.store.select(filter.clone()).await.unwrap();
            let read = self.lab.store.tasks(filter).await.unwrap();
            let ids: Vec<TaskId> = read.tasks.iter().map(|task| task.id).collect();
            assert_eq!(selected.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), ids, "both read the same page");
            seen.extend(&ids);
            self.last = ids.last().copied();
            if !read.more {
                break;
            }
            if page < 4 {
                self.lab.enqueue(labelled(self.lab, 0)).await;
                self.lab.enqueue(labelled(self.lab, 1)).await;
            }
            if self.last == Some(self.purged) {
                self.lab.cancel(self.purged, 3).await;
                self.lab.store.purge(at(4), 100).await.unwrap();
            }
        }
        assert!(self.lab.store.task(self.purged).await.unwrap().is_none(), "it was the last task of a page");
        seen
    }
}

/// A task of team blue if `number` is even, of team red otherwise; the task 37 has a label of its own as well.
fn labelled(lab: &Lab, number: u64) -> Task {
    let mut labels = team(if number.is_multiple_of(2) { "blue" } else { "red" });
    if number == 37 {
        labels.extend(rare());
    }
    Task { labels: labels.into_iter().collect(), ..lab.task(1) }
}

fn team(name: &str) -> Vec<(String, String)> {
    vec![("team".to_owned(), name.to_owned())]
}

fn rare() -> Vec<(String, String)> {
    vec![("rare".to_owned(), "yes".to_owned())]
}
