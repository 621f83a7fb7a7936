//! Contexts on every store: random histories of edits, on two nodes, with random crashes, restarts and deletions.
//!
//! `FORERUNNER_HISTORIES=10000 cargo test --release -p forerunner-runtime --test histories` runs the full count, on
//! PostgreSQL a fiftieth of it.

use std::{path::Path, sync::Arc};

use forerunner_runtime::testkit::{Happened, Reopen, live_through};
use forerunner_store::{MemoryStore, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, Store};
use tempfile::TempDir;

#[path = "../../forerunner-store/tests/pg/mod.rs"]
#[allow(dead_code, reason = "the suites of the store use the rest")]
mod pg;

/// Histories unless the environment says.
const CASES: u64 = 60;
/// Of so many, one is tried on PostgreSQL, where each statement is a round trip.
const PER_POSTGRES_CASE: u64 = 50;

fn cases() -> u64 {
    std::env::var("FORERUNNER_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(CASES)
}

async fn live(mut store: Arc<dyn Store>, reopen: &Reopen, cases: u64) {
    let mut sum = Happened::default();
    for seed in 0..cases {
        let (next, happened) = live_through(store, reopen, seed).await;
        store = next;
        sum.commits += happened.commits;
        sum.crashes += happened.crashes;
        sum.restarts += happened.restarts;
        sum.restores += happened.restores;
        sum.tended += happened.tended;
        sum.rebases += happened.rebases;
        sum.deletions += happened.deletions;
    }
    println!("{cases} histories: {sum:?}");
    let Happened { commits, crashes, restarts, restores, tended, rebases, deletions } = sum;
    assert!(
        [commits, crashes, restarts, restores, tended, rebases, deletions].iter().all(|count| *count > 0),
        "{sum:?}"
    );
}

#[tokio::test]
async fn what_is_restored_from_memory_is_what_was_committed() {
    live(Arc::new(MemoryStore::default()), &|store| store, cases()).await;
}

#[tokio::test]
async fn what_is_restored_from_sqlite_is_what_was_committed() {
    let shared = Path::new("/dev/shm");
    let directory = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.unwrap();
    let path = directory.path().join("tasks.db");
    let options = SqliteOptions { quick_check: false, ..SqliteOptions::default() };
    let open = move || Arc::new(SqliteStore::open(&path, options).unwrap()) as Arc<dyn Store>;
    let reopen = {
        let open = open.clone();
        move |store: Arc<dyn Store>| {
            // The last one to hold it: the file is closed when it is gone.
            drop(store);
            open()
        }
    };
    live(open(), &reopen, cases()).await;
}

#[tokio::test]
async fn what_is_restored_from_postgres_is_what_was_committed() {
    let server = pg::PgServer::start(false);
    let url = server.database();
    let open = move || {
        let options = PostgresOptions { database_time: false, ..PostgresOptions::default() };
        Arc::new(PostgresStore::open(&url, options).unwrap()) as Arc<dyn Store>
    };
    let reopen = {
        let open = open.clone();
        move |store: Arc<dyn Store>| {
            drop(store);
            open()
        }
    };
    live(open(), &reopen, (cases() / PER_POSTGRES_CASE).max(8)).await;
}
