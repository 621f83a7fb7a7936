//! What tasks cost that cannot be claimed, in front of those that can: tasks claimed and ended a second from a backlog, alone
//! and behind twice as many that are blocked: a third of them due later, a third behind a running task of their context, and
//! a third of a pool that nobody claims from.
//!
//! ```console
//! $ cargo run --release -p forerunner-postgres --example blocked -- [READY] [ROUNDS]
//! ```
//!
//! It starts a server of its own that waits for the disk. The rounds alternate, so that a slow moment of the machine meets
//! both.

#[path = "../tests/pg/mod.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod pg;

use forerunner_store::roles::*;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use forerunner_core::{
    ContextId, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState, Timestamp,
};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{Claim, Settlement, StoreError, Submission};
use futures_util::future::try_join_all;
use pg::PgServer;
use tokio::time::Instant;

/// Who claims at the same time, and how many tasks each gets at once.
const CLAIMERS: u128 = 2;
const SLOTS: usize = 128;
/// How many tasks are submitted at once.
const GROUP: usize = 500;
/// Contexts of which one task runs and the others wait for it.
const CONTEXTS: u64 = 100;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let ready = arguments.next().map_or(Ok(50_000), |text| text.parse())?;
    let rounds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(ready, rounds))
}

async fn measure(ready: u64, rounds: usize) -> Outcome<()> {
    let server = PgServer::start(true);
    let [clean, behind] = [Queue::open(&server).await?, Queue::open(&server).await?];
    let blocked = 2 * ready;
    behind.block(blocked).await?;
    let mut rates = [const { Vec::new() }; 2];
    for round in 0..=rounds {
        // In turns, and each first every other time.
        let mut measured = [0.0; 2];
        for turn in 0..2 {
            let which = (turn + round) % 2;
            measured[which] = [&clean, &behind][which].rate(ready).await?;
        }
        eprintln!("round {round} of {rounds}: {:.0} and {:.0} tasks a second", measured[0], measured[1]);
        // The first round warms up.
        if round > 0 {
            rates.iter_mut().zip(measured).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    let shares: Vec<f64> = rates[0].iter().zip(&rates[1]).map(|(clean, behind)| 100.0 * behind / clean).collect();
    let [least, most] = [f64::min, f64::max].map(|of| shares.iter().copied().reduce(of).unwrap_or(f64::NAN));
    let [clean, behind] = rates.map(median);
    println!("median of {rounds} rounds of {ready} tasks, claimed and ended a second:");
    println!("  alone                    {clean:>8.0}");
    println!("  behind {blocked:>7} blocked  {behind:>8.0}   {:>6.1} % ({least:.1} to {most:.1} %)", median(shares));
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Queue {
    store: PostgresStore,
    /// The number of the next task; tasks with a smaller one are in front of it.
    next: AtomicU64,
}

impl Queue {
    async fn open(server: &PgServer) -> Outcome<Self> {
        let url = server.database();
        let open = move || PostgresStore::open(&url, PostgresOptions::default());
        Ok(Self { store: tokio::task::spawn_blocking(open).await??, next: AtomicU64::new(0) })
    }

    fn task(&self, pool: &str) -> Result<Task, Box<dyn std::error::Error>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let submitted = now() + Duration::from_micros(number);
        let new = NewTask::new(PoolName::new(pool)?, Payload::trusted("\"a short input\""));
        let id = TaskId::from_parts(submitted, number.into());
        Ok(Task::accepted(id, new, submitted, Duration::from_secs(60), RetryPolicy::default()))
    }

    async fn enqueue(&self, tasks: Vec<Task>) -> Result<(), StoreError> {
        for group in tasks.chunks(GROUP) {
            let group = group.iter().map(|task| Submission::new(task.clone(), None)).collect();
            self.store.enqueue(group).await?;
        }
        Ok(())
    }

    /// Puts so many tasks into the store that no claim of `coder` gets.
    async fn block(&self, count: u64) -> Outcome<()> {
        let mut tasks = Vec::new();
        for number in 0..count {
            tasks.push(match number % 3 {
                0 => Task { run_at: now() + Duration::from_secs(1_000_000), ..self.task("coder")? },
                1 => {
                    let context = ContextId::new(format!("talk-{}", number / 3 % CONTEXTS))?;
                    Task { context: Some(context), ..self.task("coder")? }
                }
                _ => self.task("paused")?,
            });
        }
        self.enqueue(tasks).await?;
        // One task of each context runs from here on.
        let mut running = 0;
        loop {
            match self.store.claim(claim(NodeId::from_parts(now(), 1 << 100))).await?.len() {
                0 => break,
                some => running += some,
            }
        }
        if running as u64 != CONTEXTS.min(count / 3) {
            return Err(format!("{running} tasks could be claimed that were to be blocked").into());
        }
        Ok(())
    }

    /// How many tasks a second are claimed and ended of so many that were submitted before.
    async fn rate(&self, count: u64) -> Outcome<f64> {
        let tasks: Result<Vec<_>, _> = (0..count).map(|_| self.task("coder")).collect();
        self.enqueue(tasks?).await?;
        let begun = Instant::now();
        let ended =
            try_join_all((1..=CLAIMERS).map(|number| self.work(NodeId::from_parts(now(), number << 64)))).await?;
        let took = begun.elapsed();
        let ended: usize = ended.into_iter().sum();
        if ended as u64 != count {
            return Err(format!("{ended} tasks were claimed of {count}").into());
        }
        Ok(count as f64 / took.as_secs_f64())
    }

    /// Claims and ends tasks until there are none.
    async fn work(&self, node: NodeId) -> Result<usize, StoreError> {
        let mut ended = 0;
        loop {
            let claimed = self.store.claim(claim(node)).await?;
            if claimed.is_empty() {
                return Ok(ended);
            }
            ended += claimed.len();
            self.store.settle(claimed.iter().map(done).collect()).await?;
        }
    }
}

const fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

/// When claims are made: after all submissions, before what is due later.
fn later() -> Timestamp {
    now() + Duration::from_secs(1_000)
}

fn claim(node: NodeId) -> Claim {
    let pool = PoolName::new("coder").expect("a pool name");
    let lease_until = later() + Duration::from_secs(1_000);
    Claim { pool, node, limit: SLOTS, starts: usize::MAX, now: later(), lease_until }
}

fn done(task: &Task) -> Settlement {
    let next = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::trusted("1")), error: None };
    let (now, epoch) = (later(), task.epoch);
    Settlement::new(task.id, epoch, now, next)
}
