//! Another session holds a snapshot on the database, so that what was claimed cannot be vacuumed away.

#[expect(dead_code, reason = "other tests need more of it")]
#[path = "pg/mod.rs"]
mod pg;

use forerunner_store::roles::*;
use std::time::Duration;

use forerunner_core::{NewTask, Next, NodeId, Payload, PoolName, Priority, RetryPolicy, Task, TaskId, TaskState};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{Claim, LEASE, OldestTransaction, Settled, Settlement, Submission, VacuumStatus};
use pg::PgServer;
use tokio::time::{Instant, sleep};

const DATABASE: &str = "case0";
/// Enough for claims to begin elsewhere than at the start.
const DEAD: u64 = 12_000;
/// Longest time that anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn pool() -> PoolName {
    PoolName::new("coder").unwrap()
}

fn open(url: &str) -> PostgresStore {
    let options = PostgresOptions {
        vacuum_every: Duration::from_millis(500),
        call_timeout: Duration::from_secs(30),
        ..PostgresOptions::default()
    };
    PostgresStore::open(url, options).unwrap()
}

/// A store with whom it claims for, and the number of the next task.
struct Node {
    store: PostgresStore,
    node: NodeId,
    next: u128,
}

impl Node {
    async fn open(url: &str, number: u128) -> Self {
        let store = open(url);
        let now = store.time().await.unwrap().expect("it has a clock");
        Self { store, node: NodeId::from_parts(now, number << 64), next: number << 64 }
    }

    async fn submit(&mut self, count: usize, priority: u64) -> Vec<TaskId> {
        let now = self.store.time().await.unwrap().expect("it has a clock");
        let batch: Vec<_> = (0..count)
            .map(|_| {
                self.next += 1;
                let new = NewTask::new(pool(), Payload::trusted("1"));
                let new = NewTask { priority: Priority::new(priority).unwrap(), ..new };
                let id = TaskId::from_parts(now, self.next);
                let task = Task::accepted(id, new, now, Duration::from_secs(60), RetryPolicy::default());
                Submission::new(task, None)
            })
            .collect();
        let ids = batch.iter().map(|submission| submission.task.id).collect();
        assert!(self.store.enqueue(batch).await.unwrap().iter().all(Result::is_ok));
        ids
    }

    async fn claim(&self, limit: usize) -> Vec<Task> {
        let now = self.store.time().await.unwrap().expect("it has a clock");
        let (pool, node) = (pool(), self.node);
        let claim = Claim { pool, node, limit, starts: usize::MAX, now, lease_until: now + LEASE };
        self.store.claim(claim).await.unwrap()
    }

    async fn settle(&self, tasks: &[Task], next: &Next) -> Vec<Settled> {
        let now = self.store.time().await.unwrap().expect("it has a clock");
        let batch = tasks.iter().map(|task| Settlement::new(task.id, task.epoch, now, next.clone()));
        self.store.settle(batch.collect()).await.unwrap().into_iter().map(|settled| settled.unwrap()).collect()
    }

    /// Lets so many tasks come and go.
    async fn work(&mut self, count: usize, at_once: usize) {
        for _ in 0..count / at_once {
            let ids = self.submit(at_once, 5).await;
            let claimed = self.claim(at_once).await;
            assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), ids);
            self.settle(&claimed, &succeeded()).await;
        }
    }

    /// Works on until it claims from where it has seen the first task, by what the server was asked.
    async fn work_until_claims_skip(&mut self, server: &PgServer) {
        server.sql(DATABASE, "ALTER SYSTEM SET log_statement = 'all'");
        server.sql(DATABASE, "SELECT pg_reload_conf()");
        let begun = Instant::now();
        while !server.said().contains("FOR UPDATE SKIP LOCKED) r LIMIT $3") {
            assert!(begun.elapsed() < PATIENCE, "every claim begins at the start");
            self.work(10, 10).await;
            sleep(Duration::from_millis(50)).await;
        }
        server.sql(DATABASE, "ALTER SYSTEM RESET log_statement");
        server.sql(DATABASE, "SELECT pg_reload_conf()");
    }

    /// What the store sees, once it is what is waited for.
    async fn upkeep(&self, is_it: impl Fn(&VacuumStatus) -> bool) -> VacuumStatus {
        let begun = Instant::now();
        loop {
            let upkeep = self.store.vacuum_status();
            match upkeep {
                Some(upkeep) if is_it(&upkeep) => return upkeep,
                seen => assert!(begun.elapsed() < PATIENCE, "{seen:?}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn succeeded() -> Next {
    Next::Finish { state: TaskState::Succeeded, output: Some(Payload::trusted("1")), error: None }
}

/// A session with a snapshot, and its process.
async fn hold(url: &str) -> (tokio_postgres::Client, i32) {
    let url = format!("{url}?application_name=nightly-report");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    (client, pid)
}

fn dead(upkeep: &VacuumStatus, table: &str) -> u64 {
    upkeep.dead_rows.iter().find(|(name, _)| *name == table).map_or(0, |(_, rows)| *rows)
}

#[tokio::test]
async fn a_held_snapshot_is_named_and_what_it_keeps_is_not_read_again_and_again() {
    const CLAIMS: usize = 300;
    let server = PgServer::start(false);
    let url = server.database();
    let mut node = Node::open(&url, 1).await;
    assert_eq!(node.upkeep(|_| true).await.holder, None, "nobody holds anything");

    let (holder, pid) = hold(&url).await;
    node.work(DEAD as usize, 1_000).await;
    let seen = node.upkeep(|seen| seen.holder.is_some() && dead(seen, "live") >= DEAD).await;
    let OldestTransaction { name, program, role, state, seconds, remedy } = seen.holder.clone().expect("it is there");
    assert_eq!((name, remedy.clone()), (format!("session {pid}"), format!("SELECT pg_terminate_backend({pid})")));
    assert_eq!((&*program, &*role, &*state), ("nightly-report", "forerunner", "idle in transaction"));
    assert!(seconds > 0.0, "{seconds}");

    node.work_until_claims_skip(&server).await;
    node.work(CLAIMS, 1).await;
    let counts = node.store.counts(pool()).await.unwrap();
    assert_eq!((counts.waiting(), counts.of(TaskState::Running)), (0, 0));
    let ended = counts.of(TaskState::Succeeded);
    assert_eq!(node.store.backlog(pool()).await.unwrap().claimable, 0);

    server.sql(DATABASE, &remedy);
    node.upkeep(|seen| seen.holder.is_none() && dead(seen, "live") < DEAD).await;
    drop(holder);
    node.work(10, 1).await;
    assert_eq!(node.store.counts(pool()).await.unwrap().of(TaskState::Succeeded), ended + 10);

    // What a connection did is counted once it is closed.
    drop(node);
    let begun = Instant::now();
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while server.sql(DATABASE, others) != "0" {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    let read =
        server.sql(DATABASE, "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'live_in_order'");
    let (read, from_the_start) = (read.parse::<u64>().unwrap(), CLAIMS as u64 * DEAD);
    println!("{read} entries of the index were read; {CLAIMS} claims from its start would have read {from_the_start}");
    assert!(read < from_the_start / 2, "{read} of {from_the_start}");
}

#[tokio::test]
async fn what_comes_below_where_claims_begin_is_claimed_too() {
    let server = PgServer::start(false);
    let url = server.database();
    let (mut one, mut two) = (Node::open(&url, 1).await, Node::open(&url, 2).await);
    let _held = hold(&url).await;
    // Each node has a task that is older than what follows.
    one.submit(2, 5).await;
    let (of_one, of_two) = (one.claim(1).await, two.claim(1).await);
    one.work(DEAD as usize, 1_000).await;
    one.work_until_claims_skip(&server).await;

    // What the node itself puts back is the first at once, and what is more urgent comes before.
    one.submit(1, 5).await;
    one.settle(&of_one, &Next::Release).await;
    let urgent = two.submit(1, 9).await;
    let claimed = one.claim(3).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>()[..2], [urgent[0], of_one[0].id]);
    assert_eq!(claimed.len(), 3);
    one.settle(&claimed, &succeeded()).await;

    // A scan finds a task that another node re-queued.
    two.settle(&of_two, &Next::Release).await;
    let begun = Instant::now();
    let found = loop {
        let found = one.claim(1).await;
        if !found.is_empty() {
            break found;
        }
        assert!(begun.elapsed() < PATIENCE, "what another node put back is skipped for ever");
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(found[0].id, of_two[0].id);
    one.settle(&found, &succeeded()).await;
    let counts = one.store.counts(pool()).await.unwrap();
    assert_eq!((counts.waiting(), counts.of(TaskState::Running)), (0, 0));
}

#[tokio::test]
async fn what_may_not_be_seen_of_a_holder_is_left_out() {
    let server = PgServer::start(false);
    let url = server.database();
    server.sql(DATABASE, "CREATE ROLE worker LOGIN");
    server.sql(DATABASE, "ALTER DATABASE case0 OWNER TO worker");
    let node = Node::open(&url.replace("forerunner@", "worker@"), 1).await;
    let (_holder, pid) = hold(&url).await;
    let held = node.upkeep(|seen| seen.holder.is_some()).await.holder.expect("it is there");
    assert_eq!((held.name, &*held.state), (format!("session {pid}"), ""));
    assert!((0.0..PATIENCE.as_secs_f64()).contains(&held.seconds), "{}", held.seconds);
}
