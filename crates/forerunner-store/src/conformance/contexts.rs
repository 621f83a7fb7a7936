use std::{future::Future, sync::Arc};

use forerunner_core::{ContextCost, ContextSource, Next, Task, TaskState};

use super::lab::{Lab, at, context, pool, succeeded};
use crate::{
    ContextBase, ContextCommit, ContextFilter, ContextRead, ContextVersion, LeaseLost, Settled, Settlement,
    SharedObject, SharedObjectKind, StateConflict, Store, StoredContext,
};

/// The birth of the contexts here.
const BORN: u64 = 7;

fn commit(parent_version: u64, frame: &[u8], full: bool) -> ContextCommit {
    commit_of("a", parent_version, frame, full, &[])
}

fn commit_of(name: &str, parent_version: u64, frame: &[u8], full: bool, pieces: &[SharedObject]) -> ContextCommit {
    let (size_bytes, items) = (100 + parent_version, 1 + parent_version);
    ContextCommit {
        context: context(name),
        born: BORN,
        parent_version,
        frame: frame.to_vec(),
        full,
        size_bytes,
        items,
        pieces: pieces.to_vec(),
    }
}

fn piece(kind: SharedObjectKind, name: u8, bytes: &[u8]) -> SharedObject {
    SharedObject { kind, name: [name; 32], bytes: bytes.into() }
}

fn item(name: u8, bytes: &[u8]) -> SharedObject {
    piece(SharedObjectKind::Item, name, bytes)
}

async fn settle(lab: &Lab, task: &Task, now: i64, next: Next, commit: ContextCommit) -> Result<Settled, LeaseLost> {
    let settlement = Settlement {
        task: task.id,
        epoch: task.epoch,
        now: at(now),
        next,
        context: Some(commit),
        context_cost: None,
        report: None,
        started: None,
    };
    lab.settle_with(settlement).await
}

async fn read(lab: &Lab, name: &str) -> Option<StoredContext> {
    lab.store.context(ContextRead::whole(pool(name), context("a"))).await.unwrap()
}

async fn read_after(lab: &Lab, name: &str, born: u64, version: u64) -> StoredContext {
    let held = Some(ContextVersion { born, version });
    let read = ContextRead { pool: pool("coder"), context: context(name), held };
    lab.store.context(read).await.unwrap().unwrap()
}

/// Runs a task of a context that ends with this commit.
async fn turn(lab: &Lab, name: &str, now: i64, commit: ContextCommit) {
    lab.enqueue(lab.task_of(now, name)).await;
    let task = lab.claim(1, now + 1).await.remove(0);
    settle(lab, &task, now + 2, succeeded(), commit).await.unwrap();
}

/// Frames add up, until one is a whole snapshot.
pub async fn a_context_grows_by_frames_and_is_replaced_by_a_full_one<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    assert_eq!(read(&lab, "coder").await, None);
    let frames: [(&[u8], bool); 4] = [(b"base", true), (b"", false), (b"\x00\xff", false), (b"new base", true)];
    let expected: [&[&[u8]]; 4] = [&[b"base"], &[b"base", b""], &[b"base", b"", b"\x00\xff"], &[b"new base"]];
    for (turn, ((frame, full), expected)) in frames.into_iter().zip(expected).enumerate() {
        let (turn, now) = (turn as u64, 10 * turn as i64);
        lab.enqueue(lab.task_of(now, "a")).await;
        let task = lab.claim(1, now + 1).await.remove(0);
        assert_eq!((task.context_version, task.context_born), (turn, if turn == 0 { 0 } else { BORN }));
        settle(&lab, &task, now + 2, succeeded(), commit(turn, frame, full)).await.unwrap();
        let stored = read(&lab, "coder").await.unwrap();
        let expected = StoredContext {
            context: context("a"),
            born: BORN,
            version: turn + 1,
            size_bytes: 100 + turn,
            items: 1 + turn,
            updated_at: at(now + 2),
            after: 0,
            frames: expected.iter().map(|frame| frame.to_vec()).collect(),
            pieces: Vec::new(),
        };
        assert_eq!(stored, expected);
    }
    assert_eq!(read(&lab, "other").await, None);
}

/// A node that has a version gets the frames after it, if they are still there.
pub async fn who_holds_a_version_reads_only_what_follows<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let [first, second] = [item(1, b"first"), piece(SharedObjectKind::Dictionary, 1, b"second")];
    turn(&lab, "a", 0, commit_of("a", 0, b"0", true, std::slice::from_ref(&first))).await;
    turn(&lab, "a", 10, commit_of("a", 1, b"1", false, std::slice::from_ref(&second))).await;
    turn(&lab, "a", 20, commit_of("a", 2, b"2", false, &[])).await;
    let told = async |born: u64, version: u64| {
        let stored = read_after(&lab, "a", born, version).await;
        assert_eq!((stored.born, stored.version), (BORN, 3));
        (stored.after, stored.frames.concat(), stored.pieces)
    };
    let both = vec![first.clone(), second.clone()];
    assert_eq!(told(BORN, 3).await, (3, b"".to_vec(), vec![]));
    assert_eq!(told(BORN, 2).await, (2, b"2".to_vec(), vec![]));
    assert_eq!(told(BORN, 1).await, (1, b"12".to_vec(), vec![second.clone()]));
    for (born, version, why) in [(BORN, 0, "nothing"), (BORN, 4, "no such version"), (BORN + 1, 2, "another context")] {
        assert_eq!(told(born, version).await, (0, b"012".to_vec(), both.clone()), "{why}");
    }
    turn(&lab, "a", 30, commit_of("a", 3, b"base", true, &[second])).await;
    assert_eq!(read_after(&lab, "a", BORN, 3).await.after, 0, "its frames are gone");
    assert_eq!(read_after(&lab, "a", BORN, 4).await.after, 4);
}

/// A shared object is stored once, and removed with the last context that needs it.
pub async fn a_piece_lives_as_long_as_a_context_names_it<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let pieces_of = async |name: &str| read_after(&lab, name, 0, 0).await.pieces;
    // Bytes under a name never change. That these do shows here whether an object stayed or was stored anew.
    let [old, new] = [item(1, b"old"), item(1, b"new")];
    turn(&lab, "a", 0, commit_of("a", 0, b"a", true, std::slice::from_ref(&old))).await;
    turn(&lab, "b", 10, commit_of("b", 0, b"b", true, std::slice::from_ref(&new))).await;
    assert_eq!((pieces_of("a").await, pieces_of("b").await), (vec![old.clone()], vec![old.clone()]));

    lab.store.delete_context(pool("coder"), context("a")).await.unwrap().unwrap();
    assert_eq!(pieces_of("b").await, std::slice::from_ref(&old), "still needed");
    turn(&lab, "b", 20, commit_of("b", 1, b"c", true, &[])).await;
    assert_eq!(pieces_of("b").await, []);
    turn(&lab, "b", 30, commit_of("b", 2, b"d", false, std::slice::from_ref(&new))).await;
    assert_eq!(pieces_of("b").await, std::slice::from_ref(&new), "the old one was gone");
    // Named again, and by a base that follows.
    turn(&lab, "b", 40, commit_of("b", 3, b"e", false, std::slice::from_ref(&old))).await;
    turn(&lab, "b", 50, commit_of("b", 4, b"f", true, &[old.clone(), item(2, b"more")])).await;
    assert_eq!(pieces_of("b").await, [new, item(2, b"more")]);

    lab.store.delete_context(pool("coder"), context("b")).await.unwrap().unwrap();
    turn(&lab, "c", 60, commit_of("c", 0, b"c", true, std::slice::from_ref(&old))).await;
    assert_eq!(pieces_of("c").await, [old], "gone with its last context");
}

/// A base replaces the frames before it, whatever came since.
pub async fn a_fresh_base_replaces_what_led_to_it<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let [one, two, three] = [1, 2, 3].map(|name| item(name, &[name]));
    let base = |version: u64, pieces: &[SharedObject]| ContextBase {
        pool: pool("coder"),
        context: context("a"),
        born: BORN,
        version,
        frame: format!("base {version}").into_bytes(),
        pieces: pieces.to_vec(),
    };
    let rebase = |base: ContextBase| lab.store.rebase(base);
    assert!(!rebase(base(1, &[])).await.unwrap(), "there is nothing");
    turn(&lab, "a", 0, commit_of("a", 0, b"0", true, &[one.clone(), two.clone()])).await;
    turn(&lab, "a", 10, commit(1, b"1", false)).await;
    turn(&lab, "a", 20, commit_of("a", 2, b"2", false, std::slice::from_ref(&two))).await;
    turn(&lab, "a", 30, commit_of("a", 3, b"3", false, std::slice::from_ref(&three))).await;
    assert!(!rebase(ContextBase { born: BORN + 1, ..base(2, &[]) }).await.unwrap(), "another context");
    assert!(!rebase(base(5, &[])).await.unwrap(), "not so far yet");
    assert!(rebase(base(2, std::slice::from_ref(&three))).await.unwrap());
    let stored = read(&lab, "coder").await.unwrap();
    assert_eq!((stored.version, stored.size_bytes, stored.updated_at), (4, 103, at(32)), "the context is the same");
    assert_eq!(stored.frames, [b"base 2".to_vec(), b"2".to_vec(), b"3".to_vec()]);
    assert_eq!(stored.pieces, [two.clone(), three.clone()], "what later frames name stays");
    assert!(!rebase(base(1, &[])).await.unwrap(), "replaced meanwhile");
    assert_eq!(read_after(&lab, "a", BORN, 3).await.pieces, std::slice::from_ref(&three), "newest frame that names it");
    assert_eq!(read_after(&lab, "a", BORN, 1).await.after, 0);
    assert!(rebase(base(4, &[])).await.unwrap());
    assert_eq!(read(&lab, "coder").await.unwrap().pieces, []);
    turn(&lab, "a", 40, commit(4, b"4", false)).await;
    assert_eq!(read(&lab, "coder").await.unwrap().frames, [b"base 4".to_vec(), b"4".to_vec()]);
}

/// A context that was deleted and begun anew is another one: what was meant for the old one is refused.
pub async fn a_context_begun_anew_is_another_one<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    turn(&lab, "a", 0, commit(0, b"old", true)).await;
    lab.store.delete_context(pool("coder"), context("a")).await.unwrap().unwrap();
    turn(&lab, "a", 10, ContextCommit { born: 8, ..commit(0, b"new", true) }).await;
    lab.enqueue(lab.task_of(20, "a")).await;
    let task = lab.claim(1, 21).await.remove(0);
    assert_eq!((task.context_version, task.context_born), (1, 8));
    settle(&lab, &task, 22, succeeded(), commit(1, b"x", false)).await.unwrap_err();
    assert_eq!(read_after(&lab, "a", BORN, 1).await.after, 0);
    settle(&lab, &task, 23, succeeded(), ContextCommit { born: 8, ..commit(1, b"y", false) }).await.unwrap();
    assert_eq!(read(&lab, "coder").await.unwrap().frames, [b"new".to_vec(), b"y".to_vec()]);
}

/// A listing has sizes, by pages.
pub async fn contexts_are_listed_by_pages<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    for (at, name) in ["b", "Z", "a-1", "a"].into_iter().enumerate() {
        let pieces = [item(1, b"piece"), item(2, b"another")];
        turn(&lab, name, 100 * at as i64, commit_of(name, 0, b"base", true, &pieces[..at % 3])).await;
        turn(&lab, name, 100 * at as i64 + 10, commit_of(name, 1, b"more", false, &[])).await;
    }
    let filter = |after: Option<&str>, limit: usize| ContextFilter {
        pool: pool("coder"),
        tenant: None,
        context: None,
        after: after.map(context),
        limit,
    };
    let names = async |filter: ContextFilter| {
        let found = lab.store.contexts(filter).await.unwrap();
        found.iter().map(|one| one.context.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(filter(None, 3)).await, ["Z", "a", "a-1"]);
    assert_eq!(names(filter(Some("a-1"), 3)).await, ["b"]);
    assert_eq!(names(ContextFilter { pool: pool("other"), ..filter(None, 3) }).await, [""; 0]);
    let only = ContextFilter { context: Some(context("a-1")), ..filter(None, 1) };
    let found = lab.store.contexts(only).await.unwrap().remove(0);
    assert_eq!((found.version, found.size_bytes, found.items, found.updated_at), (2, 101, 2, at(212)));
    assert_eq!((found.frames, found.frame_bytes, found.piece_bytes), (2, 8, 12));
}

/// Contexts that nobody used for long go, unless a task of theirs waits.
pub async fn old_contexts_expire_unless_in_use<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let shared = [item(1, b"old")];
    for (at, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        turn(&lab, name, 10 * at as i64, commit_of(name, 0, b"base", true, &shared)).await;
    }
    lab.enqueue(Task { run_at: at(1_000), ..lab.task_of(50, "b") }).await;
    let expire = |before: i64, limit: usize| lab.store.expire_contexts(at(before), limit);
    assert_eq!(expire(2, 9).await.unwrap(), 0, "not before its time");
    assert_eq!(expire(30, 1).await.unwrap(), 1);
    assert_eq!(expire(30, 9).await.unwrap(), 1);
    assert_eq!(expire(30, 9).await.unwrap(), 0);
    let left = ContextFilter { pool: pool("coder"), tenant: None, context: None, after: None, limit: 9 };
    let left = lab.store.contexts(left).await.unwrap();
    assert_eq!(left.iter().map(|one| one.context.as_str()).collect::<Vec<_>>(), ["b", "d"]);
    assert_eq!(read_after(&lab, "d", 0, 0).await.pieces, shared);
}

/// The cost of a context is in the record of its task.
pub async fn what_a_context_took_is_on_its_task<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let (id, _) = lab.enqueue(lab.task_of(0, "a")).await;
    let task = lab.claim(1, 1).await.remove(0);
    assert_eq!(task.context_cost, None);
    let cost =
        ContextCost { source: ContextSource::Store, restored_bytes: 9, restore_s: 0.5, ..ContextCost::default() };
    let settlement = Settlement {
        task: task.id,
        epoch: task.epoch,
        now: at(2),
        next: succeeded(),
        context: Some(commit(0, b"x", true)),
        context_cost: Some(Box::new(cost)),
        report: None,
        started: None,
    };
    lab.settle_with(settlement.clone()).await.unwrap();
    lab.settle_with(Settlement { context_cost: None, started: None, ..settlement }).await.unwrap_err();
    assert_eq!(lab.get(id).await.context_cost, Some(Box::new(cost)));
    let page = lab.store.tasks(crate::TaskFilter { limit: 1, ..Default::default() }).await.unwrap();
    assert_eq!(page.tasks[0].context_cost, Some(Box::new(cost)));
    assert_eq!(lab.store.purge(at(10), 9).await.unwrap(), 1);
    let (id, _) = lab.enqueue(lab.task(20)).await;
    assert_eq!(lab.get(id).await.context_cost, None);
}

/// A result whose context does not follow the stored one changes nothing at all.
pub async fn a_context_of_another_version_loses_the_lease<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    lab.enqueue(lab.task_of(1, "a")).await;
    let task = lab.claim(1, 2).await.remove(0);
    let lost = settle(&lab, &task, 3, succeeded(), commit(1, b"x", true)).await.unwrap_err();
    assert_eq!((lost.task, lost.epoch), (task.id, task.epoch));
    assert_eq!(lab.get(task.id).await, task);
    assert_eq!(read(&lab, "coder").await, None);
    let stale = Task { epoch: forerunner_core::LeaseEpoch(task.epoch.0 + 1), ..task.clone() };
    settle(&lab, &stale, 4, succeeded(), commit(0, b"x", true)).await.unwrap_err();
    assert_eq!(read(&lab, "coder").await, None);
    settle(&lab, &task, 5, Next::Release, commit(0, b"x", true)).await.unwrap();
    let task = lab.claim(1, 6).await.remove(0);
    settle(&lab, &task, 7, succeeded(), commit(0, b"y", true)).await.unwrap_err();
    settle(&lab, &task, 8, succeeded(), commit(1, b"y", false)).await.unwrap();
    let stored = read(&lab, "coder").await.unwrap();
    assert_eq!(stored.frames, [b"x".to_vec(), b"y".to_vec()]);
}

/// Deleting, and what prevents it.
pub async fn a_context_in_use_is_not_deleted<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let delete = || lab.store.delete_context(pool("coder"), context("a"));
    let none = Err(StateConflict::NoContext { pool: pool("coder"), context: context("a") });
    assert_eq!(delete().await.unwrap(), none);
    let (id, _) = lab.enqueue(Task { run_at: at(10), ..lab.task_of(1, "a") }).await;
    let in_use = Err(StateConflict::ContextInUse { context: context("a"), task: id });
    assert_eq!(delete().await.unwrap(), in_use, "scheduled");
    lab.sweep(10).await;
    assert_eq!(delete().await.unwrap(), in_use, "queued");
    let task = lab.claim(1, 11).await.remove(0);
    assert_eq!(delete().await.unwrap(), in_use, "running");
    settle(&lab, &task, 12, succeeded(), commit(0, b"x", true)).await.unwrap();
    assert_eq!(delete().await.unwrap(), Ok(()));
    assert_eq!(read(&lab, "coder").await, None);
    assert_eq!(delete().await.unwrap(), none);
    assert_eq!(lab.get(id).await.state, TaskState::Succeeded);

    lab.enqueue(lab.task_of(20, "a")).await;
    let task = lab.claim(1, 21).await.remove(0);
    settle(&lab, &task, 22, succeeded(), commit(0, b"z", true)).await.unwrap();
    let stored = read(&lab, "coder").await.unwrap();
    assert_eq!((stored.version, stored.frames), (1, vec![b"z".to_vec()]));
}

/// Small texts.
pub async fn notes_are_kept_replaced_and_removed<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let store = open().await;
    let put = |key: &str, text: Option<&str>| store.put_setting(key.to_owned(), text.map(str::to_owned));
    let note = |key: &str| store.setting(key.to_owned());
    assert_eq!(note("a").await.unwrap(), None);
    put("a", Some("1")).await.unwrap();
    put("b", Some("")).await.unwrap();
    put("a", Some("2 ü")).await.unwrap();
    assert_eq!((note("a").await.unwrap().as_deref(), note("b").await.unwrap().as_deref()), (Some("2 ü"), Some("")));
    put("a", None).await.unwrap();
    put("c", None).await.unwrap();
    assert_eq!((note("a").await.unwrap(), note("c").await.unwrap()), (None, None));
}
