//! Contexts on every store: random histories of edits on two nodes, with random crashes, restarts and deletions.
//!
//! `FORERUNNER_HISTORIES=10000 cargo test --release -p forerunner-runtime --test histories` runs the full number, and a
//! fiftieth of it on PostgreSQL. A history mostly waits for its store, so several run at the same time, each group with
//! its own database.

use std::{path::Path, sync::Arc, thread};

use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_runtime::testkit::{HistoryCounts, Reopen, run_history};
use forerunner_store::{MemoryStore, SqliteOptions, SqliteStore, Store};
use tempfile::TempDir;

#[path = "../../forerunner-postgres/tests/pg/mod.rs"]
#[allow(dead_code, reason = "the suites of the store use the rest")]
mod pg;

/// Number of histories, unless the environment sets it.
const CASES: u64 = 60;
/// One of this many histories runs on PostgreSQL, where each statement is a round trip.
const PER_POSTGRES_CASE: u64 = 50;
/// Concurrent databases.
const DATABASES: u64 = 8;

fn cases() -> u64 {
    std::env::var("FORERUNNER_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(CASES)
}

/// An open database, and how to open it again.
type Opened = (Arc<dyn Store>, Box<Reopen>);

/// Runs this many histories on databases that `open` creates, and checks that every kind of event counts.
fn live(open: impl Fn() -> Opened + Sync, cases: u64) {
    let groups: Vec<HistoryCounts> = thread::scope(|scope| {
        let group = |first: u64| {
            let open = &open;
            scope.spawn(move || live_in_turn(open(), (first..cases).step_by(DATABASES as usize)))
        };
        let groups: Vec<_> = (0..DATABASES.min(cases)).map(group).collect();
        groups.into_iter().map(|group| group.join().expect("a history failed, as told above")).collect()
    });
    let mut sum = HistoryCounts::default();
    groups.into_iter().for_each(|counts| sum += counts);
    println!("{cases} histories: {sum:?}");
    let HistoryCounts { commits, crashes, restarts, restores, compactions, fresh_bases, deletions } = sum;
    assert!(
        [commits, crashes, restarts, restores, compactions, fresh_bases, deletions].iter().all(|count| *count > 0),
        "{sum:?}"
    );
}

fn live_in_turn((mut store, reopen): Opened, seeds: impl Iterator<Item = u64>) -> HistoryCounts {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut sum = HistoryCounts::default();
    for seed in seeds {
        let (next, counts) = runtime.block_on(run_history(store, &*reopen, seed));
        store = next;
        sum += counts;
    }
    sum
}

/// Opens a store again after the last reference was dropped, which closes the file.
fn reopening(open: impl Fn() -> Arc<dyn Store> + 'static) -> Opened {
    let store = open();
    let reopen = move |store: Arc<dyn Store>| {
        drop(store);
        open()
    };
    (store, Box::new(reopen))
}

#[test]
fn what_is_restored_from_memory_is_what_was_committed() {
    live(|| (Arc::new(MemoryStore::default()), Box::new(|store| store)), cases());
}

#[test]
fn what_is_restored_from_sqlite_is_what_was_committed() {
    let shared = Path::new("/dev/shm");
    let open = || {
        let directory = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
        let options = SqliteOptions { quick_check: false, ..SqliteOptions::default() };
        reopening(move || Arc::new(SqliteStore::open(directory.path().join("tasks.db"), options).unwrap()))
    };
    live(open, cases());
}

#[test]
fn what_is_restored_from_postgres_is_what_was_committed() {
    let server = pg::PgServer::start(false);
    let open = || {
        let url = server.database();
        let options = PostgresOptions { database_time: false, ..PostgresOptions::default() };
        reopening(move || Arc::new(PostgresStore::open(&url, options).unwrap()))
    };
    live(open, (cases() / PER_POSTGRES_CASE).max(8));
}
