//! What a SQLite file must survive: reopening, kills, a full disk, other versions, other processes.

use forerunner_store::roles::*;
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use forerunner_core::{
    ContextId, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState, Timestamp,
};
use forerunner_store::{
    Claim, ContextCommit, ContextRead, EnqueueOutcome, Rescue, Settlement, SharedObject, SharedObjectKind,
    SqliteOptions, SqliteStore, Store, StoreError, Submission,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use rusqlite::Connection;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

fn pool() -> PoolName {
    PoolName::new("coder").unwrap()
}

fn node(number: u128) -> NodeId {
    NodeId::from_parts(at(0), number << 64)
}

fn id(number: i64) -> TaskId {
    TaskId::from_parts(at(number * 1_000), 0)
}

fn task(number: i64, input: &str) -> Submission {
    let mut new = NewTask::new(pool(), Payload::trusted(format!("{input:?}")));
    new.labels = [("n".to_owned(), number.to_string())].into();
    let task = Task::accepted(id(number), new, at(number), Duration::from_secs(60), RetryPolicy::default());
    Submission::new(task, None)
}

fn claim(limit: usize) -> Claim {
    Claim { pool: pool(), node: node(1), limit, starts: usize::MAX, now: at(1), lease_until: at(100) }
}

fn success(task: &Task) -> Settlement {
    let output = Some(Payload::trusted("\"done\""));
    let next = Next::Finish { state: TaskState::Succeeded, output, error: None };
    Settlement::new(task.id, task.epoch, at(2), next)
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).unwrap()
}

fn quick_check(path: &Path) {
    let verdict: String =
        Connection::open(path).unwrap().query_row("PRAGMA quick_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// The bytes of every file in a directory, lock and shared memory aside.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let data =
        files.filter(|path| !path.to_string_lossy().ends_with("-lock") && !path.to_string_lossy().ends_with("-shm"));
    let mut found: Vec<_> = data.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect();
    found.retain(|(_, bytes)| !bytes.is_empty());
    found.sort();
    found
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tasks.db");
    let store = open(&path);
    let mut with_context = task(2, "b");
    with_context.task.context = Some(ContextId::new("c").unwrap());
    let mut delayed = task(4, "d");
    delayed.task.run_at = at(1_000);
    delayed.task.state = TaskState::Scheduled;
    store.enqueue(vec![task(1, "a"), with_context, task(3, "c"), delayed]).await.unwrap();
    let claimed = store.claim(claim(2)).await.unwrap();
    let mut settlement = success(&claimed[1]);
    settlement.context = Some(ContextCommit {
        context: ContextId::new("c").unwrap(),
        born: 1,
        parent_version: 0,
        frame: vec![1, 2, 3],
        full: true,
        size_bytes: 3,
        items: 1,
        pieces: vec![SharedObject { kind: SharedObjectKind::Item, name: [7; 32], bytes: vec![4, 5].into() }],
    });
    settlement.context_cost = Some(Box::default());
    store.settle(vec![settlement]).await.unwrap()[0].as_ref().unwrap();
    store.put_setting("note".to_owned(), Some("text".to_owned())).await.unwrap();
    let mut before = Vec::new();
    for number in 1..=4 {
        before.push(store.task(id(number)).await.unwrap().unwrap());
    }
    let counts = store.counts(pool()).await.unwrap();
    let context = store.context(ContextRead::whole(pool(), ContextId::new("c").unwrap())).await.unwrap();
    assert!(context.is_some());
    store.close().await.unwrap();

    let store = open(&path);
    for (number, task) in (1..).zip(&before) {
        assert_eq!(store.task(id(number)).await.unwrap().as_ref(), Some(task));
    }
    assert_eq!(store.counts(pool()).await.unwrap(), counts);
    assert_eq!(store.context(ContextRead::whole(pool(), ContextId::new("c").unwrap())).await.unwrap(), context);
    assert_eq!(store.setting("note".to_owned()).await.unwrap().as_deref(), Some("text"));
    assert_eq!(store.claim(claim(9)).await.unwrap()[0].id, id(3));
    assert_eq!(store.rescue(Rescue::AllBut { node: node(2), now: at(5) }).await.unwrap().requeued, [id(1), id(3)]);
    assert_eq!(store.sweep(pool(), at(1_000)).await.unwrap().promoted, [id(4)]);
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("tasks.db"));
    store.check().await.unwrap();
    let mut seen = 0;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        seen += 1;
    }
    assert!(seen >= 4, "database, log, lock and reserve: {seen}");
}

#[tokio::test]
async fn a_place_that_takes_no_file_is_named_and_not_asked_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = SqliteStore::open(file.join("tasks.db"), SqliteOptions::default()).unwrap_err();
    assert!(matches!(&refused, StoreError::Place { place, .. } if place.ends_with("file/tasks.db")), "{refused}");
    assert!(!refused.is_retryable());
}

#[tokio::test]
async fn a_file_in_use_is_refused_until_it_is_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tasks.db");
    let store = open(&path);
    let refused = SqliteStore::open(&path, SqliteOptions::default()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    store.close().await.unwrap();
    drop(open(&path));
    drop(open(&path));
}

#[tokio::test]
async fn what_cannot_be_opened_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tasks.db");
    let store = open(&path);
    store.enqueue(vec![task(1, "a")]).await.unwrap();
    store.close().await.unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = contents(directory.path());
    let refused = SqliteStore::open(&path, SqliteOptions::default()).unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { found: 99, .. }), "{refused}");
    assert_eq!(contents(directory.path()), before);

    let foreign = tempfile::tempdir().unwrap();
    let path = foreign.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    let before = contents(foreign.path());
    let refused = SqliteStore::open(&path, SqliteOptions::default()).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert_eq!(contents(foreign.path()), before);
}

#[tokio::test]
async fn damage_is_found_when_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tasks.db");
    let store = open(&path);
    store.enqueue((1..500).map(|number| task(number, &"x".repeat(300))).collect()).await.unwrap();
    store.close().await.unwrap();
    let sound = std::fs::read(&path).unwrap();
    for place in [0, 30_000, sound.len() / 2] {
        let mut damaged = sound.clone();
        damaged[place..place + 600].fill(0xa5);
        std::fs::write(&path, &damaged).unwrap();
        match SqliteStore::open(&path, SqliteOptions::default()) {
            Err(StoreError::Damaged { .. }) => assert_eq!(std::fs::read(&path).unwrap(), damaged),
            // A payload is no part of the file's structure.
            other => drop(other.unwrap()),
        }
    }
    std::fs::write(&path, "this is not a database, and long enough to be read as one ".repeat(20)).unwrap();
    let refused = SqliteStore::open(&path, SqliteOptions::default()).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

/// A largest size acts like a full disk, and uses the same code.
#[tokio::test]
async fn a_full_store_refuses_new_tasks_finishes_old_ones_and_heals() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tasks.db");
    let options = SqliteOptions { max_size_bytes: Some(6 << 20), ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    let body = "x".repeat(20_000);
    let mut accepted = 0;
    let full = loop {
        match store.enqueue(vec![task(accepted + 1, &body)]).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1_000);
    };
    assert!(matches!(full, StoreError::Full { .. }) && full.is_retryable(), "{full}");
    assert!(accepted > 50);
    assert!(matches!(store.check().await.unwrap_err(), StoreError::Full { .. }));
    assert!(store.enqueue(vec![task(9_999, "small")]).await.is_err(), "refused while the reserve is in use");

    let claimed = store.claim(claim(50)).await.unwrap();
    assert_eq!(claimed.len(), 50);
    for answer in store.settle(claimed.iter().map(success).collect()).await.unwrap() {
        assert_eq!(answer.unwrap().state, TaskState::Succeeded);
    }
    assert_eq!(store.counts(pool()).await.unwrap().waiting(), accepted as u64 - 50);

    store.set_max_size(Some(20 << 20));
    store.check().await.unwrap();
    store.enqueue(vec![task(accepted + 1, &body)]).await.unwrap();
    store.set_max_size(Some(6 << 20));
    while store.enqueue(vec![task(accepted + 2, &body)]).await.is_ok() {
        accepted += 1;
    }
    assert_eq!(store.purge(at(1_000), usize::MAX).await.unwrap(), 50);
    assert!(store.claim(claim(usize::MAX)).await.is_ok());
    store.close().await.unwrap();
    quick_check(&path);
}

/// Not a test of its own: the process that the next one kills.
#[tokio::test]
async fn child_writer() {
    let Ok(path) = std::env::var("FORERUNNER_STORE_CHILD") else { return };
    let (path, first) = path.split_once('|').unwrap();
    let store = Arc::new(open(Path::new(path)));
    let first: i64 = first.parse().unwrap();
    store.rescue(Rescue::AllBut { node: node(2), now: at(first) }).await.unwrap();
    let mut next = first;
    let life = |number: i64| {
        let store = Arc::clone(&store);
        async move {
            store.enqueue(vec![task(number, "work")]).await.unwrap();
            say(&format!("accepted {number}"));
            for task in store.claim(claim(1)).await.unwrap() {
                let settled = store.settle(vec![success(&task)]).await.unwrap().remove(0);
                if settled.is_ok() {
                    say(&format!("settled {}", task.id));
                }
            }
        }
    };
    let mut lives = FuturesUnordered::new();
    loop {
        while lives.len() < 32 {
            lives.push(life(next));
            next += 1;
        }
        lives.next().await;
    }
}

/// One write a line, so that a line is there whole or not at all.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn a_kill_at_any_time_loses_nothing_that_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tasks.db");
    let mut acked: Vec<(TaskId, bool)> = Vec::new();
    let mut first = 1;
    for round in 0..20_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writer", "--nocapture"])
            .env("FORERUNNER_STORE_CHILD", format!("{}|{first}", path.display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Spread over the first tenth of a second after the start, the opening included.
        std::thread::sleep(Duration::from_millis(5 + round * 37 % 120));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("accepted ") {
                acked.push((id(number.parse().unwrap()), false));
            } else if let Some(id) = line.strip_prefix("settled ") {
                acked.push((id.parse().unwrap(), true));
            }
        }
        first += 100_000;
        quick_check(&path);
    }
    assert!(acked.len() > 20, "{} answers", acked.len());
    let store = open(&path);
    for (id, is_settled) in acked {
        let task = store.task(id).await.unwrap().unwrap_or_else(|| panic!("task {id} is lost"));
        assert!(!is_settled || task.state == TaskState::Succeeded, "the result of {id} is lost: {task:?}");
    }
}

#[tokio::test]
async fn leases_from_before_a_crash_are_never_accepted_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tasks.db");
    let store = open(&path);
    store.enqueue(vec![task(1, "a"), task(2, "b")]).await.unwrap();
    let committed = store.claim(claim(1)).await.unwrap().remove(0);
    store.check().await.unwrap();
    // What a kill would leave on disk, taken while the store is open.
    let copy = tempfile::tempdir().unwrap();
    for (path, bytes) in contents(directory.path()) {
        std::fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    let forgotten = store.claim(claim(1)).await.unwrap().remove(0);
    drop(store);

    let store = open(&copy.path().join("tasks.db"));
    assert_eq!(store.task(committed.id).await.unwrap().unwrap().state, TaskState::Running);
    assert_eq!(store.task(forgotten.id).await.unwrap().unwrap().state, TaskState::Queued);
    for stale in [&committed, &forgotten] {
        assert!(store.settle(vec![success(stale)]).await.unwrap()[0].is_err());
    }
    assert_eq!(store.rescue(Rescue::AllBut { node: node(9), now: at(9) }).await.unwrap().requeued, [committed.id]);
    let again = store.claim(claim(9)).await.unwrap();
    assert_eq!(again.len(), 2);
    for stale in [&committed, &forgotten] {
        assert!(store.settle(vec![success(stale)]).await.unwrap()[0].is_err());
    }
    assert!(again.iter().all(|task| task.epoch > committed.epoch && task.epoch > forgotten.epoch));
    let settled = store.settle(again.iter().map(success).collect()).await.unwrap();
    assert!(settled.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_dropped_future_still_does_its_work() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("tasks.db"));
    for number in 1..=100 {
        drop(store.enqueue(vec![task(number, "a")]));
    }
    let counts = store.counts(pool()).await.unwrap();
    assert_eq!(counts.claimable, 100);
    let again = store.enqueue(vec![task(1, "a")]).await.unwrap().remove(0).unwrap();
    assert!(matches!(again, EnqueueOutcome::Known(_)));
}
