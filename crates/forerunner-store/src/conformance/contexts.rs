use std::{future::Future, sync::Arc};

use forerunner_core::{Next, Task, TaskState};

use super::lab::{Lab, at, context, pool, succeeded};
use crate::{ContextCommit, Mismatch, Settled, Settlement, Store, StoredContext};

fn commit(parent_version: u64, frame: &[u8], full: bool) -> ContextCommit {
    let (size_bytes, items) = (100 + parent_version, 1 + parent_version);
    ContextCommit { context: context("a"), parent_version, frame: frame.to_vec(), full, size_bytes, items }
}

async fn settle(
    lab: &Lab,
    task: &Task,
    now: i64,
    next: Next,
    commit: ContextCommit,
) -> Result<Settled, crate::LeaseLost> {
    let settlement = Settlement { task: task.id, epoch: task.epoch, now: at(now), next, context: Some(commit) };
    lab.settle_with(settlement).await
}

/// Frames add up, until one stands alone.
pub async fn a_context_grows_by_frames_and_is_replaced_by_a_full_one<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    assert_eq!(lab.store.context(pool("coder"), context("a")).await.unwrap(), None);
    let frames: [(&[u8], bool); 4] = [(b"base", true), (b"", false), (b"\x00\xff", false), (b"new base", true)];
    let expected: [&[&[u8]]; 4] = [&[b"base"], &[b"base", b""], &[b"base", b"", b"\x00\xff"], &[b"new base"]];
    for (turn, ((frame, full), expected)) in frames.into_iter().zip(expected).enumerate() {
        let (turn, now) = (turn as u64, 10 * turn as i64);
        lab.enqueue(lab.task_of(now, "a")).await;
        let task = lab.claim(1, now + 1).await.remove(0);
        assert_eq!(task.context_version, turn);
        settle(&lab, &task, now + 2, succeeded(), commit(turn, frame, full)).await.unwrap();
        let stored = lab.store.context(pool("coder"), context("a")).await.unwrap().unwrap();
        let expected = StoredContext {
            context: context("a"),
            version: turn + 1,
            size_bytes: 100 + turn,
            items: 1 + turn,
            updated_at: at(now + 2),
            frames: expected.iter().map(|frame| frame.to_vec()).collect(),
        };
        assert_eq!(stored, expected);
    }
    assert_eq!(lab.store.context(pool("other"), context("a")).await.unwrap(), None);
}

/// A result whose context does not follow the stored one changes nothing at all.
pub async fn a_context_of_another_version_loses_the_lease<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    lab.enqueue(lab.task_of(1, "a")).await;
    let task = lab.claim(1, 2).await.remove(0);
    let lost = settle(&lab, &task, 3, succeeded(), commit(1, b"x", true)).await.unwrap_err();
    assert_eq!((lost.task, lost.epoch), (task.id, task.epoch));
    assert_eq!(lab.get(task.id).await, task);
    assert_eq!(lab.store.context(pool("coder"), context("a")).await.unwrap(), None);
    let stale = Task { epoch: forerunner_core::LeaseEpoch(task.epoch.0 + 1), ..task.clone() };
    settle(&lab, &stale, 4, succeeded(), commit(0, b"x", true)).await.unwrap_err();
    assert_eq!(lab.store.context(pool("coder"), context("a")).await.unwrap(), None);
    settle(&lab, &task, 5, Next::Release, commit(0, b"x", true)).await.unwrap();
    let task = lab.claim(1, 6).await.remove(0);
    settle(&lab, &task, 7, succeeded(), commit(0, b"y", true)).await.unwrap_err();
    settle(&lab, &task, 8, succeeded(), commit(1, b"y", false)).await.unwrap();
    let stored = lab.store.context(pool("coder"), context("a")).await.unwrap().unwrap();
    assert_eq!(stored.frames, [b"x".to_vec(), b"y".to_vec()]);
}

/// Deleting, and what stands in its way.
pub async fn a_context_in_use_is_not_deleted<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let delete = || lab.store.delete_context(pool("coder"), context("a"));
    let none = Err(Mismatch::NoContext { pool: pool("coder"), context: context("a") });
    assert_eq!(delete().await.unwrap(), none);
    let (id, _) = lab.enqueue(Task { run_at: at(10), ..lab.task_of(1, "a") }).await;
    let in_use = Err(Mismatch::ContextInUse { context: context("a"), task: id });
    assert_eq!(delete().await.unwrap(), in_use, "scheduled");
    lab.sweep(10).await;
    assert_eq!(delete().await.unwrap(), in_use, "queued");
    let task = lab.claim(1, 11).await.remove(0);
    assert_eq!(delete().await.unwrap(), in_use, "running");
    settle(&lab, &task, 12, succeeded(), commit(0, b"x", true)).await.unwrap();
    assert_eq!(delete().await.unwrap(), Ok(()));
    assert_eq!(lab.store.context(pool("coder"), context("a")).await.unwrap(), None);
    assert_eq!(delete().await.unwrap(), none);
    assert_eq!(lab.get(id).await.state, TaskState::Succeeded);

    lab.enqueue(lab.task_of(20, "a")).await;
    let task = lab.claim(1, 21).await.remove(0);
    settle(&lab, &task, 22, succeeded(), commit(0, b"z", true)).await.unwrap();
    let stored = lab.store.context(pool("coder"), context("a")).await.unwrap().unwrap();
    assert_eq!((stored.version, stored.frames), (1, vec![b"z".to_vec()]));
}

/// Small texts.
pub async fn notes_are_kept_replaced_and_removed<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let store = open().await;
    let put = |key: &str, text: Option<&str>| store.put_note(key.to_owned(), text.map(str::to_owned));
    let note = |key: &str| store.note(key.to_owned());
    assert_eq!(note("a").await.unwrap(), None);
    put("a", Some("1")).await.unwrap();
    put("b", Some("")).await.unwrap();
    put("a", Some("2 ü")).await.unwrap();
    assert_eq!((note("a").await.unwrap().as_deref(), note("b").await.unwrap().as_deref()), (Some("2 ü"), Some("")));
    put("a", None).await.unwrap();
    put("c", None).await.unwrap();
    assert_eq!((note("a").await.unwrap(), note("c").await.unwrap()), (None, None));
}
