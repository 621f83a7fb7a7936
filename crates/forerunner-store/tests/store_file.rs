//! One SQLite file, one process, whatever the file is called and whatever happens to it.

use forerunner_store::roles::*;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use forerunner_core::{NewTask, Payload, PoolName, RetryPolicy, Task, TaskId, Timestamp};
use forerunner_store::{SqliteOptions, SqliteStore, Store, StoreError, Submission, TaskFilter};
use rusqlite::Connection;
use tempfile::TempDir;

/// Something that another program does to the files.
type Spoil<'a> = &'a dyn Fn(&Place);

struct Place {
    directory: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join("tasks.db");
        Self { directory, path }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.path.display()))
    }

    /// A place with what a kill would leave of this one just now.
    fn after_a_kill(&self) -> Self {
        let copy = Self::new();
        for suffix in ["", "-wal", "-reserve", "-lock"] {
            fs::copy(self.beside(suffix), copy.beside(suffix)).unwrap();
        }
        copy
    }

    fn open(&self) -> SqliteStore {
        open(&self.path).unwrap()
    }

    fn refusal(&self) -> String {
        open(&self.path).unwrap_err().to_string()
    }
}

fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(path, SqliteOptions::default())
}

fn id(number: i64) -> TaskId {
    TaskId::from_parts(Timestamp::from_micros(number * 1_000), 0)
}

fn task(number: i64) -> Submission {
    let now = Timestamp::from_micros(number * 1_000);
    let new = NewTask::new(PoolName::new("coder").unwrap(), Payload::null());
    let task = Task::accepted(id(number), new, now, Duration::from_secs(60), RetryPolicy::default());
    Submission::new(task, None)
}

async fn submit(store: &SqliteStore, number: i64) -> Result<(), StoreError> {
    store.enqueue(vec![task(number)]).await.map(drop)
}

async fn has(store: &SqliteStore, number: i64) -> bool {
    store.task(id(number)).await.unwrap().is_some()
}

#[tokio::test]
async fn a_symbolic_link_leads_to_the_file_and_to_its_lock() {
    let place = Place::new();
    let link = place.directory.path().join("link.db");
    symlink(&place.path, &link).unwrap();
    let dangling = open(&link).unwrap_err().to_string();
    assert!(dangling.contains("symbolic link") && dangling.contains("real name"), "{dangling}");
    let store = place.open();
    let refused = open(&link).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    submit(&store, 1).await.unwrap();
    drop(store);
    let store = open(&link).unwrap();
    assert!(has(&store, 1).await);
    assert!(place.beside("-wal").exists() && !place.directory.path().join("link.db-wal").exists());
    fs::remove_file(&link).unwrap();
    let refused = submit(&store, 2).await.unwrap_err().to_string();
    assert!(refused.contains("link.db led to") && refused.contains("point the link there again"), "{refused}");
    symlink(&place.path, &link).unwrap();
    submit(&store, 3).await.unwrap();
}

/// As with `current/tasks.db`, where `current` is switched from one release to the next while the node runs.
#[tokio::test]
async fn a_link_that_is_switched_to_another_directory_is_noticed() {
    let outer = tempfile::tempdir().unwrap();
    let (current, next) = (outer.path().join("current"), outer.path().join("next"));
    for directory in ["one", "two"] {
        fs::create_dir(outer.path().join(directory)).unwrap();
    }
    let switch = |to: &str| {
        symlink(to, &next).unwrap();
        fs::rename(&next, &current).unwrap();
    };
    switch("one");
    let store = open(&current.join("tasks.db")).unwrap();
    submit(&store, 1).await.unwrap();
    switch("two");
    assert!(submit(&store, 2).await.is_err() && store.check().await.is_err());
    let other = open(&current.join("tasks.db")).unwrap();
    submit(&other, 3).await.unwrap();
    assert!(submit(&store, 4).await.is_err(), "there is another store now");
    switch("one");
    submit(&store, 5).await.unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_file_with_two_names_is_refused_by_either() {
    let place = Place::new();
    drop(place.open());
    let other = place.directory.path().join("other.db");
    fs::hard_link(&place.path, &other).unwrap();
    for path in [&place.path, &other] {
        let refused = open(path).unwrap_err().to_string();
        assert!(refused.contains("2 names (hard links)") && refused.contains("remove the others"), "{refused}");
    }
    assert!(!place.directory.path().join("other.db-lock").exists(), "nothing was changed");
    fs::remove_file(&other).unwrap();
    drop(place.open());
}

#[tokio::test]
async fn a_lock_that_is_deleted_lets_no_second_process_in() {
    let place = Place::new();
    let store = place.open();
    fs::remove_file(place.beside("-lock")).unwrap();
    let refused = open(&place.path).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    submit(&store, 1).await.unwrap();
    // A name that is made while it runs leads to the same inode.
    let other = place.directory.path().join("other.db");
    fs::hard_link(&place.path, &other).unwrap();
    fs::remove_file(&place.path).unwrap();
    assert!(
        matches!(open(&other).unwrap_err(), StoreError::InUse { .. }),
        "it has one name again, but not the one in use"
    );
}

#[tokio::test]
async fn nothing_is_acknowledged_into_a_file_without_its_name() {
    let place = Place::new();
    let store = place.open();
    submit(&store, 1).await.unwrap();
    let away = place.directory.path().join("away.db");
    fs::rename(&place.path, &away).unwrap();
    let refused = submit(&store, 2).await.unwrap_err();
    assert!(refused.is_retryable() && refused.to_string().contains("removed or renamed"), "{refused}");
    let unready = store.check().await.unwrap_err().to_string();
    assert!(unready.contains("tasks.db") && unready.contains("put the same file back"), "{unready}");
    fs::write(&place.path, "something else").unwrap();
    let refused = submit(&store, 3).await.unwrap_err().to_string();
    assert!(refused.contains("another file was put in the place"), "{refused}");
    fs::rename(&away, &place.path).unwrap();
    store.check().await.unwrap();
    submit(&store, 4).await.unwrap();
    drop(store);
    let store = place.open();
    assert!(has(&store, 1).await && has(&store, 4).await);
    assert!(!has(&store, 2).await && !has(&store, 3).await, "refused and not done");
}

#[tokio::test]
async fn a_directory_that_is_renamed_or_put_in_the_place_of_another_is_noticed() {
    let outer = tempfile::tempdir().unwrap();
    let directory = outer.path().join("data");
    fs::create_dir(&directory).unwrap();
    let store = open(&directory.join("tasks.db")).unwrap();
    fs::rename(&directory, outer.path().join("moved")).unwrap();
    assert!(submit(&store, 1).await.is_err());
    fs::create_dir(&directory).unwrap();
    let second = open(&directory.join("tasks.db")).unwrap();
    submit(&second, 1).await.unwrap();
    assert!(submit(&store, 2).await.is_err());
    drop(store);
    submit(&second, 3).await.unwrap();
    drop(second);
    assert!(has(&open(&directory.join("tasks.db")).unwrap(), 3).await, "the first one left the second one's log alone");
}

#[tokio::test]
async fn a_file_that_is_renamed_while_it_is_used_is_whole_when_the_store_is_closed() {
    let place = Place::new();
    let store = place.open();
    submit(&store, 1).await.unwrap();
    let away = place.directory.path().join("away.db");
    fs::rename(&place.path, &away).unwrap();
    assert!(store.check().await.is_err());
    store.close().await.unwrap();
    drop(store);
    assert!(has(&open(&away).unwrap(), 1).await);
}

#[tokio::test]
async fn a_database_that_is_cut_or_overwritten_in_place_is_noticed_and_left_alone() {
    let cut = |place: &Place| fs::write(&place.path, "").unwrap();
    let shorten = |place: &Place| fs::OpenOptions::new().write(true).open(&place.path).unwrap().set_len(8_192).unwrap();
    let overwrite = |place: &Place| {
        let backup = place.directory.path().join("backup.db");
        Connection::open(&place.path).unwrap().execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
        fs::copy(&backup, &place.path).unwrap();
    };
    let cases: [(&str, Spoil<'_>); 3] = [("cut", &cut), ("shortened", &shorten), ("overwritten", &overwrite)];
    for (what, spoil) in cases {
        let place = Place::new();
        let store = place.open();
        submit(&store, 1).await.unwrap();
        spoil(&place);
        let found = fs::read(&place.path).unwrap();
        let refused = submit(&store, 2).await.unwrap_err().to_string();
        assert!(refused.contains("cut or overwritten"), "{what}: {refused}");
        assert!(store.check().await.is_err(), "{what}");
        drop(store);
        assert!(fs::read(&place.path).unwrap() == found, "{what}: it was written to");
        let refused = place.refusal();
        assert!(refused.contains("-wal"), "{what}: {refused}");
    }
}

/// SQLite removes a log beside an empty database when it opens the two, and all that was accepted would go with it.
#[tokio::test]
async fn the_log_of_a_database_that_was_cut_to_nothing_is_left_alone_by_whoever_reads() {
    let place = Place::new();
    let store = place.open();
    submit(&store, 1).await.unwrap();
    let log = fs::read(place.beside("-wal")).unwrap();
    assert!(!log.is_empty());
    fs::write(&place.path, "").unwrap();
    let reads = (0..32).map(|_| store.tasks(TaskFilter::default()));
    let answers = futures_util::future::join_all(reads).await;
    assert!(submit(&store, 2).await.is_err());
    drop((answers, store));
    assert!(fs::read(place.beside("-wal")).unwrap() == log, "it holds the task");
}

/// A process that ends while it writes the first pages leaves a journal, which a connection that only reads cannot undo.
#[tokio::test]
async fn a_database_whose_first_transaction_was_cut_off_is_opened() {
    let (begun, place) = (Place::new(), Place::new());
    let connection = Connection::open(&begun.path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = DELETE; CREATE TABLE t (x); DROP TABLE t; VACUUM").unwrap();
    connection
        .execute_batch(
            "PRAGMA cache_size = 1; BEGIN; CREATE TABLE t (x); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 \
             FROM n WHERE i < 500) INSERT INTO t SELECT zeroblob(4000) FROM n",
        )
        .unwrap();
    for suffix in ["", "-journal"] {
        fs::copy(begun.beside(suffix), place.beside(suffix)).unwrap();
    }
    let store = place.open();
    submit(&store, 1).await.unwrap();
    drop(store);
    assert!(has(&place.open(), 1).await);
}

/// A start, or a stop, that is cut off while the database is marked leaves a mark and no log.
#[tokio::test]
async fn a_mark_that_was_half_made_keeps_no_later_start_from_the_store() {
    let place = Place::new();
    drop(place.open());
    let set_mark = || {
        let connection = Connection::open(&place.path).unwrap();
        connection.execute("UPDATE meta SET beat = -(7 << 24), clean = 0", []).unwrap();
    };
    set_mark();
    // As a kill leaves it between the two steps of writing the note.
    fs::write(place.beside("-lock"), "marking\n3456789\n").unwrap();
    let store = place.open();
    submit(&store, 1).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    fs::write(place.beside("-lock"), "").unwrap();
    let store = place.open();
    assert!(has(&store, 1).await, "the mark was made anew, so nothing hangs on the note");
    drop(store);
    set_mark();
    fs::write(place.beside("-lock"), "log 7\n").unwrap();
    let refused = place.refusal();
    assert!(refused.contains("is missing or cannot be read"), "{refused}");
}

#[tokio::test]
async fn a_log_that_goes_while_it_is_used_is_noticed_and_nothing_is_lost() {
    for suffix in ["-wal", "-shm"] {
        let place = Place::new();
        let store = place.open();
        submit(&store, 1).await.unwrap();
        fs::remove_file(place.beside(suffix)).unwrap();
        let refused = submit(&store, 2).await.unwrap_err().to_string();
        assert!(refused.contains(suffix) && refused.contains("removed or replaced"), "{refused}");
        fs::write(place.beside(suffix), "garbage").unwrap();
        assert!(submit(&store, 3).await.is_err());
        drop(store);
        let store = place.open();
        assert!(has(&store, 1).await, "written into the database at the end");
    }
}

#[tokio::test]
async fn a_log_that_is_cut_while_it_is_used_is_noticed() {
    let place = Place::new();
    let store = place.open();
    submit(&store, 1).await.unwrap();
    fs::write(place.beside("-wal"), "").unwrap();
    let refused = submit(&store, 2).await.unwrap_err().to_string();
    assert!(refused.contains("-wal was cut"), "{refused}");
    drop(store);
    assert!(place.refusal().contains("is missing or cannot be read"));
}

#[tokio::test]
async fn other_programs_may_checkpoint_vacuum_and_cut_the_log() {
    let place = Place::new();
    let store = place.open();
    for (number, sql) in
        (1..).zip(["PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "ANALYZE", "PRAGMA wal_checkpoint(FULL)"])
    {
        submit(&store, number).await.unwrap();
        let shell = Connection::open(&place.path).unwrap();
        shell.execute_batch(sql).unwrap();
        drop(shell);
        store.check().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    submit(&store, 9).await.unwrap();
    drop(store);
    let store = place.open();
    for number in [1, 2, 3, 4, 9] {
        assert!(has(&store, number).await);
    }
}

#[tokio::test]
async fn a_log_that_is_missing_or_spoilt_after_an_unclean_end_is_refused() {
    let first = Place::new();
    let store = first.open();
    submit(&store, 1).await.unwrap();
    let sound = first.after_a_kill();
    let remove = |place: &Place| fs::remove_file(place.beside("-wal")).unwrap();
    let empty = |place: &Place| fs::write(place.beside("-wal"), "").unwrap();
    let garble = |place: &Place| fs::write(place.beside("-wal"), [0x5a; 40_000]).unwrap();
    let garble_frames = |place: &Place| {
        let mut bytes = fs::read(place.beside("-wal")).unwrap();
        bytes[32..].fill(0x5a);
        fs::write(place.beside("-wal"), bytes).unwrap();
    };
    let cases: [Spoil<'_>; 4] = [&remove, &empty, &garble, &garble_frames];
    for (number, spoil) in cases.iter().enumerate() {
        let place = first.after_a_kill();
        spoil(&place);
        let before = fs::read(&place.path).unwrap();
        let refused = place.refusal();
        assert!(refused.contains("tasks.db-wal is missing or cannot be read"), "{number}: {refused}");
        assert!(fs::read(&place.path).unwrap() == before, "{number}: nothing was changed");
        // The remedy that it names.
        Connection::open(&place.path).unwrap().execute("UPDATE meta SET beat = 0", []).unwrap();
        drop(place.open());
    }
    drop(store);
    assert!(has(&sound.open(), 1).await);
}

#[tokio::test]
async fn a_database_without_a_log_that_is_whole_is_opened() {
    let first = Place::new();
    let store = first.open();
    submit(&store, 1).await.unwrap();
    // Somebody opens it after a kill; SQLite copies the log into it and removes the log.
    let looked_at = first.after_a_kill();
    let shell = Connection::open(&looked_at.path).unwrap();
    shell.query_row("SELECT count(*) FROM tasks", [], |_| Ok(())).unwrap();
    drop(shell);
    assert!(!looked_at.beside("-wal").exists());
    assert!(has(&looked_at.open(), 1).await);
    // Backups of a store that runs, by both ways.
    let vacuumed = Place::new();
    let shell = Connection::open(&first.path).unwrap();
    shell.execute("VACUUM INTO ?1", [vacuumed.path.to_str().unwrap()]).unwrap();
    drop(shell);
    assert!(has(&vacuumed.open(), 1).await);
    drop(store);
    let stopped = Place::new();
    fs::copy(&first.path, &stopped.path).unwrap();
    assert!(has(&stopped.open(), 1).await);
}

#[tokio::test]
async fn a_log_of_what_was_there_before_a_restore_is_refused_with_what_to_remove() {
    let place = Place::new();
    let store = place.open();
    submit(&store, 1).await.unwrap();
    drop(store);
    let backup = fs::read(&place.path).unwrap();
    let store = place.open();
    submit(&store, 2).await.unwrap();
    let killed = place.after_a_kill();
    fs::write(&killed.path, &backup).unwrap();
    let refused = killed.refusal();
    assert!(refused.contains("log of another database") && refused.contains("-shm"), "{refused}");
    fs::remove_file(killed.beside("-wal")).unwrap();
    let restored = killed.open();
    assert!(has(&restored, 1).await && !has(&restored, 2).await);
    // A backup of the very run that was killed, by `VACUUM INTO`.
    let killed = place.after_a_kill();
    let vacuumed = place.directory.path().join("vacuumed.db");
    let shell = Connection::open(&place.path).unwrap();
    shell.execute("VACUUM INTO ?1", [vacuumed.to_str().unwrap()]).unwrap();
    fs::copy(&vacuumed, &killed.path).unwrap();
    assert!(killed.refusal().contains("log of another database"));
}

#[tokio::test]
async fn a_database_that_was_emptied_is_not_taken_for_a_new_one() {
    let place = Place::new();
    let store = place.open();
    submit(&store, 1).await.unwrap();
    let killed = place.after_a_kill();
    drop(store);
    for place in [&killed, &place] {
        fs::write(&place.path, "").unwrap();
        let refused = place.refusal();
        assert!(refused.contains("cut to nothing") && refused.contains("for a new store"), "{refused}");
        assert_eq!(fs::metadata(&place.path).unwrap().len(), 0);
    }
    fs::remove_file(&killed.path).unwrap();
    let refused = killed.refusal();
    assert!(refused.contains("the database is gone") && !killed.path.exists(), "{refused}");
}

#[tokio::test]
async fn links_beside_the_database_lead_nowhere() {
    let place = Place::new();
    let (target, other) = (place.directory.path().join("target"), place.directory.path().join("other"));
    for path in [&target, &other] {
        fs::write(path, "precious").unwrap();
    }
    symlink(&target, place.beside("-reserve")).unwrap();
    symlink(&target, place.beside("-lock")).unwrap();
    let refused = place.refusal();
    assert!(refused.contains("tasks.db-lock is a symbolic link; remove it"), "{refused}");
    fs::remove_file(place.beside("-lock")).unwrap();
    let store = place.open();
    submit(&store, 1).await.unwrap();
    assert_eq!(fs::symlink_metadata(place.beside("-reserve")).unwrap().len(), 1 << 20);
    drop(store);
    fs::remove_file(place.beside("-reserve")).unwrap();
    fs::hard_link(&other, place.beside("-reserve")).unwrap();
    drop(place.open());
    for path in [&target, &other] {
        assert_eq!(fs::read(path).unwrap(), b"precious");
    }
}

#[tokio::test]
async fn a_log_that_a_reader_keeps_from_starting_over_is_measured() {
    let place = Place::new();
    let store = place.open();
    submit(&store, 1).await.unwrap();
    let reader = Connection::open(&place.path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM tasks").unwrap();
    let body = format!("\"{}\"", "x".repeat(1 << 20));
    let large = |number| {
        let mut submission = task(number);
        submission.task.input = Payload::trusted(body.clone());
        submission
    };
    for number in 2..=80 {
        store.enqueue(vec![large(number)]).await.unwrap();
    }
    let log_bytes = store.vacuum_status().and_then(|status| status.log_bytes).expect("SQLite has a log");
    assert!(log_bytes > 64 << 20, "{log_bytes}");
    drop(reader);
    store.close().await.unwrap();
}

#[tokio::test]
async fn copies_that_are_made_while_tasks_come_in_can_be_opened() {
    let (place, backup, vacuumed) = (Place::new(), Place::new(), Place::new());
    let store = place.open();
    for number in 1..=20 {
        submit(&store, number).await.unwrap();
    }
    let other = Connection::open(&place.path).unwrap();
    other.execute("VACUUM INTO ?1", [vacuumed.path.to_str().unwrap()]).unwrap();
    let copy = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).backup(sqlite3.connect(sys.argv[2]))";
    let copying = std::process::Command::new("python3").args(["-c", copy]).args([&place.path, &backup.path]).spawn();
    let mut copying = copying.expect("python3 is installed");
    let mut number = 20;
    while copying.try_wait().unwrap().is_none() && number < 100_000 {
        number += 1;
        submit(&store, number).await.unwrap();
    }
    assert!(copying.wait().unwrap().success());
    store.close().await.unwrap();
    for copy in [backup, vacuumed] {
        let store = copy.open();
        assert!(has(&store, 1).await && has(&store, 20).await);
        submit(&store, 200_000).await.unwrap();
        store.check().await.unwrap();
        store.close().await.unwrap();
    }
}
