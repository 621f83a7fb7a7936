//! One row a task that has not ended: which indexes it has, what a lease costs, and how the rows of earlier versions get there.

#[expect(dead_code, reason = "other tests need more of it")]
#[path = "pg/mod.rs"]
mod pg;

use forerunner_store::roles::*;
use std::{collections::HashMap, time::Duration};

use forerunner_core::{
    ContextId, NewTask, Next, NodeId, Payload, PoolName, Priority, RetryPolicy, Task, TaskId, TaskState, Timestamp,
};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{Claim, EnqueueOutcome, LEASE, Settlement, StoreError, Submission, TaskFilter};
use pg::PgServer;
use tokio::time::Instant;

const DATABASE: &str = "case0";
const OPTIONS: PostgresOptions = PostgresOptions {
    connections: 4,
    connect_timeout: Duration::from_secs(3),
    call_timeout: Duration::from_secs(20),
    vacuum_every: Duration::from_secs(600),
    database_time: true,
    gone_after: Duration::from_secs(8),
};

fn pool() -> PoolName {
    PoolName::new("coder").unwrap()
}

async fn now(store: &PostgresStore) -> Timestamp {
    store.time().await.unwrap().expect("it has a clock")
}

fn submission(now: Timestamp, number: u128, priority: u64) -> Submission {
    let new = NewTask::new(pool(), Payload::trusted(number.to_string()));
    let new = NewTask { priority: Priority::new(priority).unwrap(), ..new };
    let id = TaskId::from_parts(now, number << 64);
    Submission::new(Task::accepted(id, new, now, Duration::from_secs(60), RetryPolicy::default()), None)
}

async fn claim(store: &PostgresStore, limit: usize) -> Vec<Task> {
    let (node, now) = (NodeId::from_parts(Timestamp::default(), 1), now(store).await);
    let claim = Claim { pool: pool(), node, limit, starts: usize::MAX, now, lease_until: now + LEASE };
    store.claim(claim).await.unwrap()
}

async fn finish(store: &PostgresStore, tasks: &[Task]) {
    let next = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::trusted("1")), error: None };
    let now = now(store).await;
    let batch = tasks.iter().map(|task| Settlement::new(task.id, task.epoch, now, next.clone()));
    assert!(store.settle(batch.collect()).await.unwrap().iter().all(Result::is_ok));
}

/// The columns that a lease changes.
const LEASE_COLUMNS: [&str; 10] = [
    "state",
    "attempt",
    "crashes",
    "epoch",
    "started_at",
    "agent",
    "node",
    "cancel_epoch",
    "preferred_node",
    "preferred_until",
];

#[tokio::test]
async fn no_index_names_a_column_that_a_lease_changes() {
    let server = PgServer::start(false);
    drop(PostgresStore::open(&server.database(), OPTIONS).unwrap());
    let indexes =
        "SELECT string_agg(pg_get_indexdef(indexrelid), E'\\n') FROM pg_index WHERE indrelid = 'live'::regclass";
    let indexes = server.sql(DATABASE, indexes);
    assert!(indexes.lines().count() >= 6 && indexes.contains("(pool, queue_key)"), "{indexes}");
    let columns = "SELECT string_agg(attname, ',') FROM pg_attribute WHERE attrelid = 'live'::regclass AND attnum > 0";
    let columns = server.sql(DATABASE, columns);
    for column in LEASE_COLUMNS {
        assert!(columns.split(',').any(|known| known == column), "{column} is none of {columns}");
        let is_named = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == column);
        assert!(!indexes.lines().any(is_named), "{column}: {indexes}");
    }
}

#[tokio::test]
async fn a_lease_changes_no_index() {
    const TASKS: usize = 2_000;
    let server = PgServer::start(false);
    let store = PostgresStore::open(&server.database(), OPTIONS).unwrap();
    let begun = now(&store).await;
    for batch in 0..TASKS as u128 / 100 {
        let batch = (0..100).map(|number| submission(begun, 1 + batch * 100 + number, 4));
        assert!(store.enqueue(batch.collect()).await.unwrap().iter().all(Result::is_ok));
    }
    let claimed = claim(&store, TASKS).await;
    assert_eq!(claimed.len(), TASKS);
    finish(&store, &claimed).await;
    drop(store);
    // What a connection did is counted once it is closed.
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let begun = Instant::now();
    while server.sql(DATABASE, others) != "0" {
        assert!(begun.elapsed() < Duration::from_secs(60), "the store closes its connections");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sql = "SELECT n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del FROM pg_stat_user_tables WHERE relname = 'live'";
    let counts: Vec<usize> = server.sql(DATABASE, sql).split('|').map(|count| count.parse().unwrap()).collect();
    assert_eq!((counts[0], counts[1], counts[3]), (TASKS, TASKS, TASKS), "one row, one lease, one end");
    assert!(counts[2] * 10 >= TASKS * 8, "{} of {TASKS} leases are HOT updates", counts[2]);
}

#[tokio::test]
async fn a_submission_that_is_repeated_is_recognised_even_after_its_end() {
    let server = PgServer::start(false);
    let url = server.database();
    let store = PostgresStore::open(&url, OPTIONS).unwrap();
    let begun = now(&store).await;
    let batch = |numbers: &[u128]| numbers.iter().map(|number| submission(begun, *number, 4)).collect::<Vec<_>>();
    let are_known = async |store: &PostgresStore, numbers: &[u128]| {
        let answers = store.enqueue(batch(numbers)).await.unwrap();
        answers.into_iter().map(|answer| matches!(answer, Ok(EnqueueOutcome::Known(_)))).collect::<Vec<_>>()
    };
    assert_eq!(are_known(&store, &[1, 2]).await, [false, false]);
    assert_eq!(are_known(&store, &[2, 3]).await, [true, false]);
    finish(&store, &claim(&store, 9).await).await;
    assert_eq!(are_known(&store, &[3, 4]).await, [true, false]);
    // A process that follows has not sent them itself.
    drop(store);
    let store = PostgresStore::open(&url, OPTIONS).unwrap();
    assert_eq!(are_known(&store, &[1, 4, 5]).await, [true, true, false]);
}

#[tokio::test]
async fn new_tasks_of_another_process_are_not_confused_with_those_sent_before() {
    let server = PgServer::start(false);
    let url = server.database();
    let [one, two] = [(); 2].map(|()| PostgresStore::open(&url, OPTIONS).unwrap());
    let begun = now(&one).await;
    // The id is new to the second process, and its row is there.
    assert!(one.enqueue(vec![submission(begun, 7, 4)]).await.unwrap()[0].is_ok());
    let answers = two.enqueue(vec![submission(begun, 7, 4), submission(begun, 8, 4)]).await.unwrap();
    assert!(matches!(answers[..], [Ok(EnqueueOutcome::Known(_)), Ok(EnqueueOutcome::New { .. })]), "{answers:?}");
}

const TASKS: i64 = 4_500;

/// A database as version 10 left it, with tasks in all states.
fn version_10(begun: Timestamp) -> String {
    let migrations = [
        include_str!("../migrations/0001_tasks.sql"),
        include_str!("../migrations/0002_contexts.sql"),
        include_str!("../migrations/0003_nodes.sql"),
        include_str!("../migrations/0004_history.sql"),
        include_str!("../migrations/0005_ids.sql"),
        include_str!("../migrations/0006_damaged.sql"),
        include_str!("../migrations/0007_attempts.sql"),
        include_str!("../migrations/0008_parents.sql"),
        include_str!("../migrations/0009_schedules.sql"),
        include_str!("../migrations/0010_model.sql"),
    ];
    let t = begun.as_micros();
    // Of every ten tasks: five are queued, one is delayed, one runs, one runs and is cancelled, one waits in a context
    // and one ended under version 3.
    format!(
        "{migrations}
         CREATE TABLE meta (only_row int PRIMARY KEY CHECK (only_row = 1), version bigint NOT NULL, beat bigint NOT NULL);
         INSERT INTO meta VALUES (1, 10, 0);
         CREATE TEMP TABLE n AS SELECT n, n % 10 AS kind, (lpad(to_hex({t} / 1000), 12, '0') || '7000a000'
             || lpad(to_hex(n), 12, '0'))::uuid AS id FROM generate_series(1, {TASKS}) n;
         INSERT INTO tasks (task, id, pool, state, context, priority, due, run_at, attempt, crashes, epoch, started_at,
             finished_at, agent, node, cancel_epoch)
             SELECT n, id, 'coder', CASE kind WHEN 5 THEN 0 WHEN 6 THEN 2 WHEN 7 THEN 2 WHEN 9 THEN 3 ELSE 1 END,
             CASE kind WHEN 8 THEN 'chat-' || n END, n % 3, {t} + n, {t} + n, kind / 6, 0, kind / 6, NULL,
             CASE kind WHEN 9 THEN {t} END, NULL, CASE WHEN kind IN (6, 7) THEN id END, CASE kind WHEN 7 THEN 1 END FROM n;
         INSERT INTO inputs (task, submitted_at, timeout, max_attempts, max_crashes, backoff_initial, backoff_max, input)
             SELECT n, {t}, 60000000, 9, 9, 1, 1, n::text FROM n;
         INSERT INTO outputs SELECT n, (n + 1)::text FROM n WHERE kind = 9;
         INSERT INTO ready (pool, urgency, due, task) SELECT 'coder', 9 - n % 3, {t} + n, n FROM n WHERE kind < 5 OR kind = 8;
         INSERT INTO context_queue SELECT 'coder', 'chat-' || n, 1, {t} + n, n FROM n WHERE kind = 8;
         INSERT INTO events (task, seq, at, kind, text) SELECT n, 1 << 21, {t}, 8, 'half' FROM n WHERE kind = 6;
         INSERT INTO history (task, id, pool, state, priority, due, run_at, attempt, crashes, epoch, finished_at,
             submitted_at, timeout, max_attempts, max_crashes, backoff_initial, backoff_max, input)
             SELECT 100000, gen_random_uuid(), 'coder', 4, 4, {t}, {t}, 1, 0, 1, {t}, {t}, 1, 9, 9, 1, 1, '0'",
        migrations = migrations.concat(),
    )
}

fn database_time(server: &PgServer) -> Timestamp {
    let micros = server.sql(DATABASE, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8");
    Timestamp::from_micros(micros.parse().unwrap())
}

/// All tasks by state, and the sum of their inputs.
fn state_of_tables(server: &PgServer) -> (HashMap<String, String>, String) {
    let of = "SELECT state, count(*) FROM (SELECT state FROM live UNION ALL SELECT state FROM ended) t GROUP BY state";
    let counts = server.sql(DATABASE, of);
    let counts = counts.lines().map(|line| line.split_once('|').unwrap()).map(|(state, n)| (state.into(), n.into()));
    let sum = "SELECT sum(input::int8), count(DISTINCT id) FROM (SELECT id, input FROM live UNION ALL \
               SELECT id, input FROM ended) t";
    (counts.collect(), server.sql(DATABASE, sum))
}

#[tokio::test]
async fn a_migration_that_is_killed_again_and_again_is_finished_by_the_next_start() {
    let server = PgServer::start(false);
    let url = server.database();
    let begun = database_time(&server);
    server.sql(DATABASE, &version_10(begun));
    let ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                AND pid <> pg_backend_pid() AND query LIKE '%old_tasks%'";
    let mut killed = 0;
    for round in 0..6 {
        let (url, opening) = (url.clone(), Instant::now());
        let opened = tokio::task::spawn_blocking(move || PostgresStore::open(&url, OPTIONS).map(drop));
        // Each round dies a little later than the one before.
        while !opened.is_finished() && opening.elapsed() < Duration::from_secs(60) {
            if opening.elapsed() > Duration::from_millis(40 * round) && !server.sql(DATABASE, ends).is_empty() {
                break;
            }
        }
        match opened.await.unwrap() {
            Ok(()) => break,
            Err(error) => {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
                killed += 1;
            }
        }
    }
    assert!(killed > 0, "no start was killed while it moved tasks");
    let store = PostgresStore::open(&url, OPTIONS).unwrap();

    let (counts, sum) = state_of_tables(&server);
    let tenth = TASKS / 10;
    let expected = [("0", tenth), ("1", 6 * tenth), ("2", 2 * tenth), ("3", tenth), ("4", 1)];
    assert_eq!(counts, expected.map(|(state, count)| (state.to_owned(), count.to_string())).into());
    assert_eq!(sum, format!("{}|{}", TASKS * (TASKS + 1) / 2, TASKS + 1), "each is there once, with its input");
    assert_eq!(server.sql(DATABASE, "SELECT count(*) FROM pg_class WHERE relname ~ '^old_'"), "0");
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(server.sql(DATABASE, invalid), "0", "each partition has each index");

    // The order is that of urgency, then of due times; contexts and events came along.
    let claimed = claim(&store, 7).await;
    assert!(claimed.windows(2).all(|pair| pair[0].priority >= pair[1].priority), "{claimed:?}");
    assert_eq!(claimed[0].priority.get(), 2);
    let running =
        TaskFilter { states: vec![TaskState::Running], oldest_first: true, limit: 1, ..TaskFilter::default() };
    let first = store.tasks(running).await.unwrap().tasks.remove(0);
    assert!(store.events(first.id, 0, 9).await.unwrap().is_some_and(|told| !told.events.is_empty()));
    assert_eq!(server.sql(DATABASE, "SELECT count(*) FROM cancellations"), tenth.to_string());
    assert_eq!(server.sql(DATABASE, "SELECT count(*) FROM context_queue"), tenth.to_string());
    let chat = ContextId::new("chat-8").unwrap();
    let in_chat = TaskFilter { context: Some(chat.clone()), limit: 9, ..TaskFilter::default() };
    assert_eq!(store.tasks(in_chat).await.unwrap().tasks.len(), 1);
    let mut more = submission(now(&store).await, 1, 9);
    more.task.context = Some(chat);
    let answers = store.enqueue(vec![more]).await.unwrap();
    assert!(matches!(answers[0], Ok(EnqueueOutcome::New { claimable: false, .. })), "it waits: {answers:?}");
}

#[tokio::test]
async fn a_migration_beside_a_node_of_an_earlier_version_is_refused() {
    let server = PgServer::start(false);
    let url = server.database();
    let begun = database_time(&server);
    server.sql(DATABASE, &version_10(begun));
    let node = NodeId::from_parts(begun, 5);
    let until = begun + Duration::from_secs(600);
    let report = format!("INSERT INTO nodes VALUES ('{node}', {}, '{{}}')", until.as_micros());
    server.sql(DATABASE, &report);
    let refused = PostgresStore::open(&url, OPTIONS).unwrap_err();
    assert!(matches!(&refused, StoreError::OlderNodes { nodes, .. } if *nodes == node.to_string()), "{refused}");
    assert_eq!(server.sql(DATABASE, "SELECT version, to_regclass('live') IS NULL FROM meta"), "10|t");
    // A node that has left counts no more.
    server.sql(DATABASE, "UPDATE nodes SET report = NULL");
    let store = PostgresStore::open(&url, OPTIONS).unwrap();
    assert_eq!(store.counts(pool()).await.unwrap().of(TaskState::Running), 2 * TASKS as u64 / 10);
}
