//! What a transaction of others costs that is open all the time: tasks done a second, and how long claims take, at a steady
//! rate of submissions, first without and then with a snapshot held, which keeps the dead rows of all tables.
//!
//! ```console
//! $ cargo run --release -p forerunner-postgres --example held_snapshot -- [SECONDS] [RATE] [SECONDS_BEFORE]
//! ```
//!
//! It starts a server of its own that waits for the disk. Beside tasks, the store is asked what a node asks it every second.

#[path = "../tests/pg/mod.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod pg;

use forerunner_store::roles::*;
use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use forerunner_core::{NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskId, TaskState, Timestamp};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{Claim, Heartbeat, LEASE, Rescue, Settlement, StoreError, Submission};
use pg::PgServer;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Who claims at the same time, and how many tasks each may get at once.
const CLAIMERS: usize = 2;
const SLOTS: usize = 16;
/// Submissions come this often.
const TICK: Duration = Duration::from_millis(10);
/// Claims are reported in windows of this length.
const WINDOW: Duration = Duration::from_secs(30);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    tracing::subscriber::set_global_default(Warnings)?;
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(60), |text| text.parse())?;
    let rate = arguments.next().map_or(Ok(500), |text| text.parse())?;
    let seconds_before = arguments.next().map_or(Ok(seconds), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let [before, span] = [seconds_before, seconds].map(Duration::from_secs);
    runtime.block_on(measure(before, span, rate))
}

async fn measure(before: Duration, span: Duration, rate: u64) -> Outcome<()> {
    let server = PgServer::start(true);
    let url = server.database();
    let store = {
        let url = url.clone();
        tokio::task::spawn_blocking(move || PostgresStore::open(&url, PostgresOptions::default())).await??
    };
    let load = Arc::new(Load::new(store).await?);
    println!(
        "{rate} tasks a second for {before:?} without and {span:?} with, {CLAIMERS} claims of up to {SLOTS} tasks under way:"
    );
    println!("  snapshot  seconds  offered/s   done/s  claim p50 ms      p99     most  other calls most ms  dead rows");
    let clean = load.phase(&server, "none", before, rate).await?;
    let (holder, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await?;
    let held = load.phase(&server, "held", span, rate).await?;
    println!("  what the store sees: {:?}", load.store.vacuum_status());
    holder.batch_execute("COMMIT").await?;
    println!("  done with the snapshot held: {:.1} % of what was done without", 100.0 * held / clean);
    Ok(())
}

/// Prints what the store warns of.
struct Warnings;

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        println!("  warned:{}", fields.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The fields of an event as text.
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

/// One node's work, and what is seen of it.
struct Load {
    store: PostgresStore,
    node: NodeId,
    /// When it began: by the clock of the database, and by one's own.
    begun: (Timestamp, Instant),
    next: AtomicU64,
    done: AtomicU64,
    is_over: AtomicBool,
    work: Notify,
    claims: Mutex<Vec<Duration>>,
    others: Mutex<Duration>,
}

impl Load {
    async fn new(store: PostgresStore) -> Outcome<Self> {
        let time = store.time().await?.ok_or("it has a clock")?;
        Ok(Self {
            store,
            node: NodeId::from_parts(time, 1 << 64),
            begun: (time, Instant::now()),
            next: AtomicU64::new(0),
            done: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            work: Notify::new(),
            claims: Mutex::default(),
            others: Mutex::default(),
        })
    }

    fn now(&self) -> Timestamp {
        self.begun.0 + self.begun.1.elapsed()
    }

    /// Submits at a rate for a while, and works on what comes; answers how many tasks were done a second.
    async fn phase(self: &Arc<Self>, server: &PgServer, name: &str, span: Duration, rate: u64) -> Outcome<f64> {
        self.is_over.store(false, Ordering::Relaxed);
        let (before, begun) = (self.done.load(Ordering::Relaxed), Instant::now());
        let workers = (0..CLAIMERS).map(|_| self.clone().work());
        let workers: Vec<_> = workers.map(tokio::spawn).chain([tokio::spawn(self.clone().ask_as_a_node())]).collect();
        let submitter = tokio::spawn(self.clone().submit(span, rate));
        let mut told = (begun, before);
        let (mut all, mut slowest_of_all) = (Vec::new(), Duration::ZERO);
        while begun.elapsed() < span {
            sleep(WINDOW.min(span.saturating_sub(begun.elapsed()))).await;
            let done = self.done.load(Ordering::Relaxed);
            let done_rate = (done - told.1) as f64 / told.0.elapsed().as_secs_f64();
            told = (Instant::now(), done);
            let claims = std::mem::take(&mut *lock(&self.claims));
            let slowest = std::mem::take(&mut *lock(&self.others));
            self.tell(server, (name, begun.elapsed()), rate as f64, done_rate, &claims, slowest);
            all.extend(claims);
            slowest_of_all = slowest_of_all.max(slowest);
        }
        let took = begun.elapsed().as_secs_f64();
        let done_rate = (self.done.load(Ordering::Relaxed) - before) as f64 / took;
        let offered = submitter.await?? as f64 / took;
        self.tell(server, (&format!("{name}, all"), span), offered, done_rate, &all, slowest_of_all);
        self.is_over.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.await??;
        }
        Ok(done_rate)
    }

    fn tell(
        &self,
        server: &PgServer,
        (name, at): (&str, Duration),
        offered: f64,
        done: f64,
        claims: &[Duration],
        slowest: Duration,
    ) {
        let mut claims: Vec<f64> = claims.iter().map(|took| 1_000.0 * took.as_secs_f64()).collect();
        claims.sort_by(f64::total_cmp);
        let part = |share: f64| claims.get(((claims.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(f64::NAN);
        let dead = "SELECT string_agg(relname || ' ' || n_dead_tup, ', ' ORDER BY n_dead_tup DESC) FROM pg_stat_user_tables \
                    WHERE n_dead_tup > 1000";
        println!(
            "  {name:<9} {:>7.0} {offered:>10.0} {done:>8.0} {:>13.2} {:>8.2} {:>8.2} {:>20.1}  {}",
            at.as_secs_f64(),
            part(0.5),
            part(0.99),
            part(1.0),
            1_000.0 * slowest.as_secs_f64(),
            server.sql("case0", dead),
        );
    }

    async fn submit(self: Arc<Self>, span: Duration, rate: u64) -> Result<u64, StoreError> {
        let begun = Instant::now();
        let mut sent = 0;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while begun.elapsed() < span {
            ticks.tick().await;
            let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
            if due > sent {
                let batch =
                    (sent..due).map(|_| submission(self.next.fetch_add(1, Ordering::Relaxed), self.now())).collect();
                sent = due;
                let load = self.clone();
                drop(tokio::spawn(async move {
                    load.store.enqueue(batch).await?;
                    load.work.notify_waiters();
                    Ok::<_, StoreError>(())
                }));
            }
        }
        Ok(sent)
    }

    /// Claims and settles until it is over and nothing is left.
    async fn work(self: Arc<Self>) -> Result<(), StoreError> {
        loop {
            let asked = Instant::now();
            let (pool, node, now) = (pool(), self.node, self.now());
            let claim = Claim { pool, node, limit: SLOTS, starts: usize::MAX, now, lease_until: now + LEASE };
            let tasks = self.store.claim(claim).await?;
            lock(&self.claims).push(asked.elapsed());
            if tasks.is_empty() {
                if self.is_over.load(Ordering::Relaxed) {
                    return Ok(());
                }
                drop(timeout(Duration::from_millis(50), self.work.notified()).await);
                continue;
            }
            let ended = self.store.settle(tasks.iter().map(|task| done(task, self.now())).collect()).await?;
            assert!(ended.iter().all(Result::is_ok), "no lease was lost");
            self.done.fetch_add(tasks.len() as u64, Ordering::Relaxed);
        }
    }

    /// Asks what a node asks by its clock.
    async fn ask_as_a_node(self: Arc<Self>) -> Result<(), StoreError> {
        let mut seconds = interval(Duration::from_secs(1));
        for second in 0_u64.. {
            seconds.tick().await;
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let (node, now) = (self.node, self.now());
            let begun = Instant::now();
            self.store.heartbeat(Heartbeat { node, now, lease: LEASE, report: "{}".to_owned(), plan: None }).await?;
            let backlog = async { self.store.backlog(pool()).await.map(drop) };
            let rescue = async { self.store.rescue(Rescue::Expired { now }).await.map(drop) };
            let sweep = async { self.store.sweep(pool(), now).await.map(drop) };
            tokio::try_join!(backlog, rescue, sweep)?;
            if second % 5 == 0 {
                self.store.leases(node, pool(), Vec::new()).await?;
            }
            let mut slowest = lock(&self.others);
            *slowest = slowest.max(begun.elapsed());
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> parking_lot::MutexGuard<'_, T> {
    mutex.lock()
}

fn pool() -> PoolName {
    PoolName::new("bench").expect("a pool name")
}

fn submission(number: u64, now: Timestamp) -> Submission {
    let new = NewTask::new(pool(), Payload::trusted("\"a short input\""));
    let id = TaskId::from_parts(now, u128::from(number));
    let task = Task::accepted(id, new, now, Duration::from_secs(60), RetryPolicy::default());
    Submission::new(task, None)
}

fn done(task: &Task, now: Timestamp) -> Settlement {
    let next = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::trusted("1")), error: None };
    Settlement::new(task.id, task.epoch, now, next)
}
