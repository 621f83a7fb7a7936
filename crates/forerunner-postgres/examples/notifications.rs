//! What telling other nodes costs: tasks accepted a second by 24 nodes on one PostgreSQL server, each over a connection of its
//! own and one task at a time, with notifications and without; and what it would cost to notify inside the transaction.
//!
//! ```console
//! $ cargo run --release -p forerunner-postgres --example notifications -- [SECONDS] [ROUNDS]
//! ```
//!
//! It starts a server of its own that waits for the disk. The rounds alternate, so that a slow moment of the machine meets
//! both.

#[path = "../tests/pg/mod.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod pg;

use forerunner_store::roles::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use forerunner_core::{NewTask, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, Timestamp};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{Heartbeat, LEASE, Notification, StoreError, Submission};
use futures_util::future::{join_all, try_join_all};
use pg::PgServer;
use tokio::time::Instant;

const NODES: usize = 24;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let rounds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(Duration::from_secs(seconds), rounds))
}

async fn measure(span: Duration, rounds: usize) -> Outcome<()> {
    let server = PgServer::start(true);
    let nodes = Nodes::open(&server).await?;
    let plain = Plain::connect(&server.database()).await?;
    let mut rates = [const { Vec::new() }; 4];
    for round in 0..=rounds {
        let measured = [
            nodes.rate(span, false).await?,
            nodes.rate(span, true).await?,
            plain.rate(span, false).await?,
            plain.rate(span, true).await?,
        ];
        // The first round warms up.
        if round > 0 {
            rates.iter_mut().zip(measured).for_each(|(rates, rate)| rates.push(rate));
        }
    }
    let [of_telling, of_inside] = [(0, 1), (2, 3)].map(|(without, with)| Spread::of(&rates[without], &rates[with]));
    let [silent, telling, bare, inside] = rates.map(median);
    let told = nodes.heard.load(Ordering::Relaxed);
    println!("{NODES} connections, median of {rounds} rounds of {span:?}, tasks or rows committed a second:");
    println!("  tasks, nobody is told                    {silent:>8.0}");
    println!("  tasks, every other node is told          {telling:>8.0}   {of_telling}");
    println!("  rows of a bare table                     {bare:>8.0}");
    println!("  the same with NOTIFY in the transaction  {inside:>8.0}   {of_inside}");
    println!("  news that arrived                        {told:>8}");
    Ok(())
}

/// What is left of a rate, in per cent: round by round, since what a machine does changes from one to the next.
struct Spread([f64; 3]);

impl Spread {
    fn of(without: &[f64], with: &[f64]) -> Self {
        let shares: Vec<f64> = without.iter().zip(with).map(|(without, with)| 100.0 * with / without).collect();
        let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
        let most = shares.iter().copied().fold(0.0, f64::max);
        Self([median(shares), least, most])
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([middle, least, most]) = self;
        write!(f, "{middle:>6.1} % ({least:.1} to {most:.1} %)")
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Stores that know of each other.
struct Nodes {
    stores: Vec<Arc<PostgresStore>>,
    heard: Arc<AtomicU64>,
    next: AtomicU64,
}

impl Nodes {
    async fn open(server: &PgServer) -> Outcome<Self> {
        let (url, heard) = (server.database(), Arc::new(AtomicU64::new(0)));
        let mut stores = Vec::with_capacity(NODES);
        for _ in 0..NODES {
            let url = url.clone();
            let options = PostgresOptions { connections: 1, ..PostgresOptions::default() };
            stores.push(Arc::new(tokio::task::spawn_blocking(move || PostgresStore::open(&url, options)).await??));
        }
        for store in &stores {
            let (mut news, heard) = (store.subscribe().ok_or("it is shared")?, heard.clone());
            tokio::spawn(async move {
                while news.recv().await.is_ok() {
                    heard.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while !stores.iter().all(|store| store.is_listening()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let nodes = Self { stores, heard, next: AtomicU64::new(0) };
        nodes.beat().await?;
        Ok(nodes)
    }

    /// Lets each learn how many there are.
    async fn beat(&self) -> Result<(), StoreError> {
        for _ in 0..2 {
            let beats = self.stores.iter().enumerate().map(|(number, store)| {
                let node = NodeId::from_parts(now(), (number as u128 + 1) << 64);
                store.heartbeat(Heartbeat { node, now: now(), lease: LEASE * 100, report: "{}".to_owned(), plan: None })
            });
            try_join_all(beats).await?;
        }
        Ok(())
    }

    async fn rate(&self, span: Duration, tell: bool) -> Result<f64, StoreError> {
        let begun = Instant::now();
        let count = AtomicU64::new(0);
        let load = self.stores.iter().map(async |store| {
            while begun.elapsed() < span {
                store.enqueue(vec![submission(self.next.fetch_add(1, Ordering::Relaxed))]).await?;
                if tell {
                    store.notify(Notification::work(pool()));
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, StoreError>(())
        });
        try_join_all(load).await?;
        Ok(count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
    }
}

/// Bare connections to a table of their own.
struct Plain(Vec<tokio_postgres::Client>);

impl Plain {
    async fn connect(url: &str) -> Result<Self, tokio_postgres::Error> {
        let mut clients = Vec::with_capacity(NODES);
        for _ in 0..NODES {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            clients.push(client);
        }
        clients[0].batch_execute("CREATE TABLE bare (id bigserial PRIMARY KEY, body text)").await?;
        join_all(clients.iter().map(|client| client.batch_execute("LISTEN bare"))).await;
        Ok(Self(clients))
    }

    async fn rate(&self, span: Duration, tell: bool) -> Result<f64, tokio_postgres::Error> {
        let notify = if tell { "NOTIFY bare;" } else { "" };
        let sql = format!("BEGIN; INSERT INTO bare (body) VALUES ('{}'); {notify} COMMIT", "x".repeat(64));
        let (begun, count) = (Instant::now(), AtomicU64::new(0));
        let load = self.0.iter().map(async |client| {
            while begun.elapsed() < span {
                client.batch_execute(&sql).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, tokio_postgres::Error>(())
        });
        try_join_all(load).await?;
        Ok(count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
    }
}

fn pool() -> PoolName {
    PoolName::new("bench").expect("a pool name")
}

const fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

fn submission(number: u64) -> Submission {
    let new = NewTask::new(pool(), Payload::trusted("\"a short input\""));
    let id = TaskId::from_parts(now(), u128::from(number));
    let task = Task::accepted(id, new, now(), Duration::from_secs(60), RetryPolicy::default());
    Submission::new(task, None)
}
