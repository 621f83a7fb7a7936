//! A file that an older program has written: it opens, and its contexts go on.

use forerunner_store::roles::*;
use std::path::Path;

use forerunner_context::{Chain, Frame, Limits};
use forerunner_core::{
    ContextId, LeaseEpoch, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState, Timestamp,
};
use forerunner_store::{
    Claim, ContextCommit, ContextRead, Settlement, SqliteOptions, SqliteStore, StoredContext, Submission, TaskFilter,
};

/// Version 1, as SQL: two contexts of four tasks that a pool of echoing agents ran.
const VERSION_1: &str = include_str!("../testdata/sqlite-1.sql");
/// "FrRn", by which a file is known as ours.
const APPLICATION_ID: i32 = 0x4672_526e;

fn write_old(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(VERSION_1).unwrap();
    connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
}

fn pool() -> PoolName {
    PoolName::new("coder").unwrap()
}

fn chat() -> ContextId {
    ContextId::new("chat").unwrap()
}

async fn read(store: &SqliteStore) -> StoredContext {
    store.context(ContextRead::whole(pool(), chat())).await.unwrap().unwrap()
}

fn texts(stored: &StoredContext) -> Vec<String> {
    let frames = stored.frames.iter().map(Vec::as_slice);
    let snapshot = Chain::restore(frames, &Limits::default()).unwrap();
    snapshot.items().iter().map(|item| String::from_utf8(item.bytes().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_file_of_version_1_opens_and_its_contexts_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tasks.db");
    write_old(&path);
    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    let stored = read(&store).await;
    assert_eq!((stored.born, stored.version, stored.items), (0, 3, 6));
    assert_eq!(texts(&stored)[4], r#"{"role": "user", "text": "turn 3"}"#);
    let all = TaskFilter { limit: 9, ..TaskFilter::default() };
    let tasks = store.tasks(all).await.unwrap().tasks;
    assert!(tasks.iter().all(|task| task.state == TaskState::Succeeded && task.context_cost.is_none()));
    assert_eq!(tasks.len(), 4);

    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let new = NewTask { context: Some(chat()), ..NewTask::new(pool(), Payload::null()) };
    let task =
        Task::accepted(TaskId::from_parts(now, 1), new, now, std::time::Duration::from_secs(9), RetryPolicy::default());
    store.enqueue(vec![Submission::new(task, None)]).await.unwrap();
    let claim =
        Claim { pool: pool(), node: NodeId::from_parts(now, 2), limit: 1, starts: usize::MAX, now, lease_until: now };
    let task = store.claim(claim).await.unwrap().remove(0);
    assert_eq!((task.context_version, task.context_born), (3, 0));

    let parent = Chain::restore(stored.frames.iter().map(Vec::as_slice), &Limits::default()).unwrap();
    let mut next = parent.clone();
    next.push("\"turn 4\"").unwrap();
    let commit = ContextCommit {
        context: chat(),
        born: task.context_born,
        parent_version: 3,
        frame: Frame::delta(&parent, &next).unwrap().into_bytes(),
        full: false,
        size_bytes: next.size_bytes() as u64,
        items: next.len() as u64,
        pieces: Vec::new(),
    };
    let finish = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::null()), error: None };
    let (context, epoch) = (Some(commit), LeaseEpoch(task.epoch.0));
    let settlement = Settlement { task: task.id, epoch, now, next: finish, context, context_cost: None, started: None };
    store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    let stored = read(&store).await;
    assert_eq!((stored.version, texts(&stored).len(), texts(&stored)[6].as_str()), (4, 7, "\"turn 4\""));
}
