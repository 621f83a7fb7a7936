//! Life-cycles a second: enqueue, claim and settle of tasks with 512 bytes in and 256 bytes out.
//!
//! ```text
//! cargo bench -p forerunner-store --bench lifecycle [-- DIRECTORY]
//! ```
//!
//! The microseconds are processor time of all threads for one life. SQLite runs in a new directory below DIRECTORY, else below the one for temporary files. Beside it runs a bare loop
//! that commits groups of single inserts to one table: what the disk and the engine allow.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use forerunner_core::{NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState, Timestamp};
use forerunner_store::{Claim, MemoryStore, Settlement, SqliteOptions, SqliteStore, Store, Submission};
use futures_util::future::join_all;
use rusqlite::Connection;
use tokio::time::Instant;

/// How long each line is measured.
const TIME: Duration = Duration::from_secs(3);

struct Bench {
    store: Arc<dyn Store>,
    pool: PoolName,
    input: Payload,
    output: Payload,
    count: Cell<u64>,
}

impl Bench {
    fn new(store: Arc<dyn Store>) -> Self {
        let text = |bytes: usize| Payload::trusted(format!("\"{}\"", "x".repeat(bytes - 2)));
        let pool = PoolName::new("bench").expect("the name is valid");
        Self { store, pool, input: text(512), output: text(256), count: Cell::new(0) }
    }

    async fn life(&self) {
        let number = self.count.get() + 1;
        self.count.set(number);
        let now = Timestamp::from_micros(1_700_000_000_000_000 + number as i64);
        let task = Task::accepted(
            TaskId::from_parts(now, u128::from(number) << 64),
            NewTask::new(self.pool.clone(), self.input.clone()),
            now,
            Duration::from_secs(60),
            RetryPolicy::default(),
        );
        self.store.enqueue(vec![Submission::new(task, None)]).await.expect("the store works");
        let node = NodeId::from_parts(Timestamp::from_micros(0), 0);
        let claim = Claim { pool: self.pool.clone(), node, limit: 1, starts: usize::MAX, now, lease_until: now };
        for task in self.store.claim(claim).await.expect("the store works") {
            let next = Next::Finish { state: TaskState::Succeeded, output: Some(self.output.clone()), error: None };
            let settlement = Settlement::new(task.id, task.epoch, now, next);
            let settled = self.store.settle(vec![settlement]).await.expect("the store works");
            assert!(settled[0].is_ok());
        }
    }

    /// Runs lives, `in_flight` at a time; answers how many a second, and microseconds of processor time for each.
    async fn rate(&self, in_flight: usize) -> (f64, f64) {
        let (start, processor) = (Instant::now(), processor_time());
        let before = self.count.get();
        join_all((0..in_flight).map(|_| async {
            while start.elapsed() < TIME {
                self.life().await;
            }
        }))
        .await;
        let lives = (self.count.get() - before) as f64;
        let processor = processor_time().saturating_sub(processor);
        (lives / start.elapsed().as_secs_f64(), processor.as_secs_f64() * 1e6 / lives)
    }
}

/// What all threads have used so far, to a hundredth of a second. It is better evidence than wall time on a busy
/// machine.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in brackets, may contain anything; the fields wanted are the 12th and 13th after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Commits groups of `group` inserts; answers inserts a second, and commits a second.
fn bare(path: &Path, group: usize) -> rusqlite::Result<(f64, f64)> {
    let connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS bare (task INTEGER PRIMARY KEY, input TEXT) STRICT;",
    )?;
    let input = "x".repeat(512);
    let (start, mut commits) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for _ in 0..group {
            connection.prepare_cached("INSERT INTO bare (input) VALUES (?1)")?.execute([&input])?;
        }
        connection.execute_batch("COMMIT")?;
        commits += 1;
    }
    let commits = f64::from(commits) / start.elapsed().as_secs_f64();
    Ok((commits * group as f64, commits))
}

fn main() {
    let place = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let place = place.map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");

    let memory = Bench::new(Arc::new(MemoryStore::default()));
    let (rate, cost) = runtime.block_on(memory.rate(1));
    println!("memory               1 in flight  {rate:>9.0} lives/s  {cost:>6.2} µs each");
    for in_flight in [1, 64, 512, 1_024] {
        let directory = tempfile::tempdir_in(&place).expect("the directory can be written");
        let store = SqliteStore::open(directory.path().join("tasks.db"), SqliteOptions::default());
        let bench = Bench::new(Arc::new(store.expect("the store opens")));
        let (rate, cost) = runtime.block_on(bench.rate(in_flight));
        drop(bench);
        let (inserts, commits) = bare(&directory.path().join("bare.db"), in_flight).expect("the disk works");
        println!(
            "sqlite           {in_flight:>5} in flight  {rate:>9.0} lives/s  {cost:>6.2} µs each   \
             (bare: {inserts:>9.0} inserts/s in {commits:>6.0} commits/s)"
        );
    }
}
