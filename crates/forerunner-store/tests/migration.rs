//! A file that an older program has written: it opens, and its contexts continue.

use forerunner_store::roles::*;
use std::path::Path;

use forerunner_context::{Chain, Frame, Limits};
use forerunner_core::{
    Answered, ContextId, LeaseEpoch, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState,
    Timestamp,
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
    let settlement = Settlement {
        task: task.id,
        epoch,
        now,
        next: finish,
        context,
        context_cost: None,
        report: None,
        started: None,
    };
    store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    let stored = read(&store).await;
    assert_eq!((stored.version, texts(&stored).len(), texts(&stored)[6].as_str()), (4, 7, "\"turn 4\""));
}

/// The migrations up to version 5, which is the last one with the old names of tables.
const UP_TO_5: [&str; 5] = [
    include_str!("../migrations/sqlite/0001_tasks.sql"),
    include_str!("../migrations/sqlite/0002_contexts.sql"),
    include_str!("../migrations/sqlite/0003_damaged.sql"),
    include_str!("../migrations/sqlite/0004_attempts.sql"),
    include_str!("../migrations/sqlite/0005_parents.sql"),
];

/// A task each that waits in a conversation, has ended with a key, and is due later; a setting.
const ROWS_OF_5: &str = "
    INSERT INTO pools VALUES (1, 'coder');
    INSERT INTO tasks (task, id, pool, state, context, priority, due, run_at, attempt, crashes, epoch, finished_at) VALUES
        (1, x'0190000000007000800000000000000a', 1, 1, 'chat', 4, 10, 10, 0, 0, 0, NULL),
        (2, x'0190000000007000800000000000000b', 1, 3, NULL, 4, 11, 11, 1, 0, 1, 20),
        (3, x'0190000000007000800000000000000c', 1, 0, NULL, 4, 12, 9000000, 0, 0, 0, NULL);
    INSERT INTO inputs VALUES (1, 10, 60000000, 5, 3, 1, 1, '1', NULL, NULL), (2, 11, 60000000, 5, 3, 1, 1, '2', NULL, 'k'),
        (3, 12, 60000000, 5, 3, 1, 1, '3', NULL, NULL);
    INSERT INTO outputs VALUES (2, '22');
    INSERT INTO keys VALUES (1, 'k', 2, NULL);
    INSERT INTO line VALUES (1, 'chat', 1, 10, 1);
    INSERT INTO ready VALUES (1, 5, 10, 1, NULL);
    INSERT INTO notes VALUES ('settings/pool', 'on');
";

/// Whatever step a kill leaves undone, the next start does it.
#[tokio::test]
async fn a_file_of_version_5_goes_on_under_the_new_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tasks.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(&UP_TO_5.concat()).unwrap();
    connection.execute_batch(ROWS_OF_5).unwrap();
    connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    connection.pragma_update(None, "user_version", 5).unwrap();
    drop(connection);

    let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    assert_eq!(store.setting("settings/pool".to_owned()).await.unwrap().as_deref(), Some("on"));
    let key = forerunner_core::IdempotencyKey::new("k").unwrap();
    let keyed = store.keyed(pool(), key).await.unwrap().unwrap().task;
    assert_eq!((keyed.state, keyed.output.as_ref().map(Payload::as_str)), (TaskState::Succeeded, Some("22")));
    assert_eq!((keyed.tenant.as_str(), keyed.spec, keyed.requests), ("default", None, None));
    let now = Timestamp::from_micros(30);
    let claim =
        Claim { pool: pool(), node: NodeId::from_parts(now, 2), limit: 9, starts: usize::MAX, now, lease_until: now };
    let tasks = store.claim(claim.clone()).await.unwrap();
    assert_eq!(tasks.iter().map(|task| task.context.clone()).collect::<Vec<_>>(), [Some(chat())]);
    let wait = Next::Wait { requests: Payload::trusted("[]"), until: None };
    store.settle(vec![Settlement::new(tasks[0].id, tasks[0].epoch, now, wait)]).await.unwrap().remove(0).unwrap();
    let (asked, requests) = (Payload::trusted("[]"), Payload::trusted("[1]"));
    let answered = Answered { task: tasks[0].id, asked, requests, deadline: None };
    store.answer(answered, now).await.unwrap().unwrap();
    assert_eq!(store.claim(claim).await.unwrap().len(), 1);
    assert_eq!(store.sweep(pool(), Timestamp::from_micros(9_000_000)).await.unwrap().promoted.len(), 1);
    store.close().await.unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name IN ('line', 'notes', 'keys', 'pieces', 'piece_uses')";
    assert_eq!(connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}
