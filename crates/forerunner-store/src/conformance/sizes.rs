use std::{future::Future, sync::Arc};

use forerunner_core::{ContextId, Payload, PoolName, Task};

use super::lab::{Lab, at, context, failed, id, pool, submission, succeeded};
use crate::{
    Bounds, BulkAction, ContextCommit, ContextsFull, EnqueueOutcome, Refusal, Settlement, SharedObject,
    SharedObjectKind, Store, Submission, born_of,
};

async fn inputs(lab: &Lab, pool: &PoolName) -> u64 {
    lab.store.input_bytes(pool.clone()).await.unwrap()
}

async fn contexts(lab: &Lab) -> u64 {
    lab.store.context_bytes(pool("coder")).await.unwrap()
}

/// A task whose input has so many bytes, some of them in characters of several bytes.
fn sized(lab: &Lab, now: i64, bytes: usize) -> Task {
    let text = format!("\"\u{e9}{}\"", "x".repeat(bytes - 4));
    Task { input: Payload::trusted(text), ..lab.task(now) }
}

/// Inputs count in bytes from the acceptance to the end of their task, and operations on many tasks return how many
/// bytes they changed.
pub async fn the_inputs_of_tasks_that_have_not_ended_are_summed<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let (here, there) = (pool("coder"), pool("writer"));
    assert_eq!(inputs(&lab, &here).await, 0);
    let first = lab.enqueue(sized(&lab, 1, 100)).await.0;
    let second = lab.enqueue(sized(&lab, 2, 5_000)).await.0;
    lab.enqueue(Task { deadline: Some(at(20)), ..sized(&lab, 3, 70) }).await;
    assert_eq!(inputs(&lab, &here).await, 5_170);
    let sizes = async || {
        let mut sizes = lab.store.input_sizes(vec![second, id(777), first]).await.unwrap();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes().await, [(first, 100), (second, 5_000)], "one that is not there has none");
    let run = lab.claim(1, 4).await.remove(0);
    assert_eq!((run.id, inputs(&lab, &here).await), (first, 5_170), "one that runs counts");
    lab.settle(&run, 5, failed()).await.unwrap();
    assert_eq!(
        (inputs(&lab, &here).await, sizes().await),
        (5_070, vec![(second, 5_000)]),
        "nor has one that has ended"
    );
    assert_eq!(lab.sweep(20).await.expired_bytes, 70);
    let bulk = async |action| lab.store.bulk(action, vec![first, second], at(21)).await.unwrap().pools;
    let back = bulk(BulkAction::Retry).await;
    assert_eq!((back[&here].done_bytes, inputs(&lab, &here).await), (100, 5_100));
    let gone = bulk(BulkAction::Cancel).await;
    assert_eq!((gone[&here].done_bytes, inputs(&lab, &here).await), (5_100, 0));
    bulk(BulkAction::Retry).await;
    let moved = bulk(BulkAction::Move { to: there.clone(), dry_run: false }).await;
    assert_eq!((moved[&here].done_bytes, moved[&there].arrived_bytes), (5_100, 5_100));
    assert_eq!((inputs(&lab, &here).await, inputs(&lab, &there).await), (0, 5_100));
    bulk(BulkAction::Cancel).await;
    assert_eq!(bulk(BulkAction::Delete).await[&there].done_bytes, 0, "those had ended before");
}

fn turn(lab: &Lab, task: &Task, now: i64, frame: usize) -> Settlement {
    let piece = SharedObject { kind: SharedObjectKind::Item, name: [7; 32], bytes: vec![1; 30].into() };
    let context = Some(ContextCommit {
        context: task.context.clone().unwrap(),
        born: if task.context_version == 0 { born_of(task.id) } else { task.context_born },
        parent_version: task.context_version,
        frame: vec![0; frame],
        full: task.context_version == 0,
        size_bytes: 1,
        items: 1,
        pieces: vec![piece],
    });
    Settlement { context, ..lab.settlement(task, now, succeeded()) }
}

/// Frames and pieces are summed, a piece once; where there is no room a new context is refused and others go on.
pub async fn a_pool_without_room_begins_no_context<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    assert_eq!(contexts(&lab).await, 0);
    for (now, name, frame) in [(1, "a", 100), (3, "b", 200), (5, "a", 40)] {
        lab.enqueue(lab.task_of(now, name)).await;
        let run = lab.claim(1, now + 1).await.remove(0);
        lab.settle_with(turn(&lab, &run, now + 1, frame)).await.unwrap();
    }
    assert_eq!(contexts(&lab).await, 370);
    assert_eq!(lab.store.context_bytes(pool("writer")).await.unwrap(), 0);

    let waits = lab.enqueue(lab.task_of(7, "c")).await.0;
    let full = ContextsFull { stored_bytes: 370, limit_bytes: 300 };
    let bounds = Bounds { contexts_full: Some(full), ..Bounds::default() };
    let submit = async |context: Option<ContextId>| {
        let bounded = Submission { bounds, ..submission(Task { context, ..lab.task(8) }) };
        lab.store.enqueue(vec![bounded]).await.unwrap().remove(0)
    };
    for going_on in [None, Some(context("a")), Some(context("c"))] {
        assert!(matches!(submit(going_on.clone()).await, Ok(EnqueueOutcome::New { .. })), "{going_on:?}");
    }
    let refusal = submit(Some(context("d"))).await.unwrap_err();
    let expected =
        Refusal::ContextsFull { pool: pool("coder"), context: context("d"), stored_bytes: 370, limit_bytes: 300 };
    assert_eq!(refusal, expected);
    assert_eq!(lab.get(waits).await.context, Some(context("c")));
    lab.store.delete_context(pool("coder"), context("b")).await.unwrap().unwrap();
    assert_eq!(contexts(&lab).await, 170, "what goes counts no more");
}
