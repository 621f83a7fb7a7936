//! What has ended, in PostgreSQL: in partitions by the time of its end, which are dropped.

#[expect(dead_code, reason = "other tests need more of it")]
#[path = "pg/mod.rs"]
mod pg;

use forerunner_store::roles::*;
use std::time::Duration;

use forerunner_core::{
    Answered, ErrorKind, IdempotencyKey, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskError,
    TaskId, TaskState, Timestamp,
};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{Claim, DroppedPartitions, EnqueueOutcome, LEASE, Settlement, Submission, TaskFilter};
use pg::PgServer;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const DATABASE: &str = "case0";

fn open(url: &str) -> PostgresStore {
    let options =
        PostgresOptions { connections: 2, vacuum_every: Duration::from_secs(600), ..PostgresOptions::default() };
    PostgresStore::open(url, options).unwrap()
}

fn pool() -> PoolName {
    PoolName::new("coder").unwrap()
}

async fn now(store: &PostgresStore) -> Timestamp {
    store.time().await.unwrap().expect("it has a clock")
}

fn task(now: Timestamp, number: u128) -> Task {
    let new = NewTask::new(pool(), Payload::trusted(format!("1{number:049}")));
    Task::accepted(TaskId::from_parts(now, number), new, now, Duration::from_secs(60), RetryPolicy::default())
}

fn succeeded() -> Next {
    Next::Finish { state: TaskState::Succeeded, output: Some(Payload::trusted("1")), error: None }
}

fn failed() -> Next {
    Next::Finish { state: TaskState::Failed, output: None, error: Some(TaskError::new(ErrorKind::AgentError, "no")) }
}

async fn enqueue(store: &PostgresStore, tasks: Vec<Task>) {
    let batch = tasks.into_iter().map(|task| {
        let fingerprint = task.idempotency_key.is_some().then_some([7; 32]);
        Submission::new(task, fingerprint)
    });
    let answers = store.enqueue(batch.collect()).await.unwrap();
    let not_new: Vec<_> = answers.iter().filter(|answer| !matches!(answer, Ok(EnqueueOutcome::New { .. }))).collect();
    assert!(not_new.is_empty(), "{} of {}: {:?}", not_new.len(), answers.len(), not_new[0]);
}

async fn claim(store: &PostgresStore, limit: usize) -> Vec<Task> {
    let (node, now) = (NodeId::from_parts(Timestamp::default(), 1), now(store).await);
    let claim = Claim { pool: pool(), node, limit, starts: usize::MAX, now, lease_until: now + LEASE };
    store.claim(claim).await.unwrap()
}

async fn settle(store: &PostgresStore, tasks: &[Task], at: Timestamp, next: Next) {
    let batch = tasks.iter().map(|task| Settlement::new(task.id, task.epoch, at, next.clone()));
    assert!(store.settle(batch.collect()).await.unwrap().iter().all(Result::is_ok));
}

/// Removes what is past the retention, even if another node did so a moment ago.
async fn retire(server: &PgServer, store: &PostgresStore, now: Timestamp, retention: Duration) -> DroppedPartitions {
    server.sql(DATABASE, "DELETE FROM settings WHERE key = 'store/retired_at'");
    store.drop_expired_partitions(now, retention).await.unwrap().expect("it has partitions")
}

/// Rows of tables of tasks that were deleted since the statistics began, and that are dead, once all connections are closed:
/// what a connection did is counted by then.
async fn deleted_and_dead(server: &PgServer, tables: &str) -> (u64, u64) {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for _ in 0..500 {
        if server.sql(DATABASE, others) == "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sums = format!(
        "SELECT COALESCE(sum(n_tup_del), 0), COALESCE(sum(n_dead_tup), 0) FROM pg_stat_user_tables WHERE relname ~ '{tables}'"
    );
    let text = server.sql(DATABASE, &sums);
    let (deleted, dead) = text.split_once('|').unwrap();
    (deleted.parse().unwrap(), dead.parse().unwrap())
}

/// All tables that have data of tasks.
const TASKS: &str = "^(ended.*|live|events|tasks_with_events|idempotency_keys)$";

#[tokio::test]
async fn what_is_past_the_retention_is_dropped_and_nothing_is_deleted() {
    const TASK_COUNT: usize = 10_000;
    let server = PgServer::start(false);
    let url = server.database();
    let store = open(&url);
    let begun = now(&store).await;
    enqueue(&store, (0..TASK_COUNT as u128).map(|number| task(begun, number)).collect()).await;
    let claimed = claim(&store, TASK_COUNT).await;
    settle(&store, &claimed, begun, succeeded()).await;
    let counts = store.counts(pool()).await.unwrap();
    assert_eq!((counts.of(TaskState::Succeeded), counts.waiting()), (TASK_COUNT as u64, 0));
    for table in ["live", "ended_rest"] {
        assert_eq!(server.sql(DATABASE, &format!("SELECT count(*) FROM {table}")), "0", "{table}");
    }
    let bytes = "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables WHERE relname ~ '^ended'";
    let bytes: u64 = server.sql(DATABASE, bytes).parse().unwrap();
    println!(
        "history: {} bytes a task, with its indexes, an input of 50 bytes and an output of 1",
        bytes / TASK_COUNT as u64
    );
    drop(store);
    let (before, dead) = deleted_and_dead(&server, TASKS).await;
    assert!(before >= TASK_COUNT as u64 && dead > 0, "they left one table for the other: {before}, {dead}");
    assert_eq!(deleted_and_dead(&server, "^ended").await, (0, 0));

    let store = open(&url);
    assert_eq!(retire(&server, &store, begun + HOUR, DAY).await, DroppedPartitions::default(), "a day is not over");
    assert_eq!(store.tasks(TaskFilter { limit: 9, ..TaskFilter::default() }).await.unwrap().tasks.len(), 9);
    let retired = retire(&server, &store, begun + 3 * DAY, DAY).await;
    assert!(retired.partitions >= 1 && retired.tasks == 0, "{retired:?}");
    assert_eq!(store.counts(pool()).await.unwrap().of(TaskState::Succeeded), 0);
    assert_eq!(store.task(claimed[0].id).await.unwrap(), None);
    drop(store);
    assert_eq!(deleted_and_dead(&server, TASKS).await.0, before, "retention deletes no row");
}

#[tokio::test]
async fn a_task_is_kept_for_its_retention_and_its_key_as_long() {
    let server = PgServer::start(false);
    let store = open(&server.database());
    let begun = now(&store).await;
    let keyed = |number| Task { idempotency_key: Some(IdempotencyKey::new("k").unwrap()), ..task(begun, number) };
    enqueue(&store, vec![keyed(1)]).await;
    let claimed = claim(&store, 1).await;
    settle(&store, &claimed, begun, succeeded()).await;
    let again = async |number| {
        let submission = Submission::new(keyed(number), Some([7; 32]));
        store.enqueue(vec![submission]).await.unwrap().remove(0).unwrap()
    };
    retire(&server, &store, begun + DAY, DAY).await;
    assert!(
        matches!(again(2).await, EnqueueOutcome::Known(known) if known.id == claimed[0].id && known.output.is_some())
    );
    // A partition is a seventh of the retention wide, or an hour.
    let retired = retire(&server, &store, begun + DAY + DAY / 7 + HOUR, DAY).await;
    assert!(retired.partitions >= 1, "{retired:?}");
    assert!(matches!(again(3).await, EnqueueOutcome::New { .. }));
    assert_eq!(server.sql(DATABASE, "SELECT count(*) FROM idempotency_keys"), "1");
}

#[tokio::test]
async fn an_end_at_a_time_without_a_partition_is_kept_and_goes_in_time() {
    let server = PgServer::start(false);
    let store = open(&server.database());
    let begun = now(&store).await;
    let later = begun + 400 * DAY;
    enqueue(&store, vec![task(begun, 1), task(begun, 2)]).await;
    let claimed = claim(&store, 2).await;
    settle(&store, &claimed[..1], later, failed()).await;
    assert_eq!(server.sql(DATABASE, "SELECT count(*) FROM ended_rest"), "1");
    assert_eq!(store.task(claimed[0].id).await.unwrap().unwrap().finished_at, Some(later));
    // Existing partitions do not prevent that others are made.
    retire(&server, &store, later, DAY).await;
    settle(&store, &claimed[1..], later + 2 * HOUR, succeeded()).await;
    assert_eq!(server.sql(DATABASE, "SELECT count(*) FROM ended_rest"), "1");
    assert_eq!(store.counts(pool()).await.unwrap().of(TaskState::Failed), 1);
    let retired = retire(&server, &store, later + DAY + HOUR, DAY).await;
    assert_eq!(retired, DroppedPartitions { partitions: 0, tasks: 1 });
    assert_eq!(store.task(claimed[1].id).await.unwrap().unwrap().state, TaskState::Succeeded);
    assert_eq!(store.task(claimed[0].id).await.unwrap(), None);
}

#[tokio::test]
async fn partitions_are_made_ahead_and_never_twice() {
    let server = PgServer::start(false);
    let url = server.database();
    let stores = [open(&url), open(&url)];
    let begun = now(&stores[0]).await;
    let partitions = || server.sql(DATABASE, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'ended'::regclass");
    assert_eq!(partitions(), "4", "three hours, and the rest");
    for day in 0..10 {
        retire(&server, &stores[day % 2], begun + day as u32 * DAY, 7 * DAY).await;
    }
    let gaps = "SELECT count(*) FROM (SELECT (regexp_match(pg_get_expr(relpartbound, oid), 'FROM \\(''(\\d+)'))[1] AS low, \
                lag((regexp_match(pg_get_expr(relpartbound, oid), 'TO \\(''(\\d+)'))[1]) OVER (ORDER BY relname) AS high \
                FROM pg_class WHERE relispartition AND relkind = 'r' AND relname <> 'ended_rest') p WHERE high <> low";
    assert_eq!(server.sql(DATABASE, gaps), "0");
    let count: u32 = partitions().parse().unwrap();
    assert!((9..=15).contains(&count), "seven days, two ahead, the first hours: {count}");
    assert_eq!(
        stores[1].drop_expired_partitions(begun + 10 * DAY, 7 * DAY).await.unwrap(),
        Some(DroppedPartitions::default()),
        "somebody just did"
    );
}

/// A database as version 3 left it: one task each that succeeded, failed after a retry, runs and waits.
fn version_3(now: Timestamp) -> String {
    let migrations = [
        include_str!("../migrations/0001_tasks.sql"),
        include_str!("../migrations/0002_contexts.sql"),
        include_str!("../migrations/0003_nodes.sql"),
    ];
    let t = now.as_micros();
    let ids: Vec<_> = (0..4).map(|number| task(now, number).id.as_uuid().to_string()).collect();
    let row = |number: usize, state: u8, epoch: u8, ended: &str, error: &str| {
        format!(
            "({number}, '{}', 'coder', {state}, 4, {t}, {t}, {epoch}, {epoch}, 0, {t}, {ended}, {error})",
            ids[number]
        )
    };
    let rows = [
        row(0, 3, 1, &t.to_string(), "NULL"),
        row(1, 4, 2, &t.to_string(), "'agent_error'"),
        row(2, 2, 1, "NULL", "NULL"),
        row(3, 1, 0, "NULL", "NULL"),
    ];
    let inputs = (0..4).map(|number| {
        format!("({number}, {t}, 60000000, 9, 9, 1, 1, '{number}', {})", if number == 0 { "'k'" } else { "NULL" })
    });
    format!(
        "{} CREATE TABLE meta (only_row int PRIMARY KEY CHECK (only_row = 1), version bigint NOT NULL, beat bigint NOT NULL);
         INSERT INTO meta VALUES (1, 3, 0);
         INSERT INTO tasks (task, id, pool, state, priority, due, run_at, attempt, epoch, crashes, started_at, finished_at,
             error_kind) VALUES {};
         INSERT INTO inputs (task, submitted_at, timeout, max_attempts, max_crashes, backoff_initial, backoff_max, input, key)
             VALUES {};
         INSERT INTO outputs VALUES (0, '1');
         INSERT INTO keys VALUES ('coder', 'k', '{}', '\\x{}');
         INSERT INTO events (task, seq, at, kind, attempt) VALUES (1, 1 << 20, {t}, 2, 1);
         INSERT INTO ready (pool, urgency, due, task) VALUES ('coder', 5, {t}, 3);
         SELECT setval(pg_get_serial_sequence('tasks', 'task'), 10)",
        migrations.concat(),
        rows.join(", "),
        inputs.collect::<Vec<_>>().join(", "),
        ids[0],
        "07".repeat(32),
    )
}

#[tokio::test]
async fn a_database_of_version_3_goes_on_and_what_had_ended_ages_out() {
    let server = PgServer::start(false);
    let url = server.database();
    let micros: i64 =
        server.sql(DATABASE, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8").parse().unwrap();
    let begun = Timestamp::from_micros(micros);
    server.sql(DATABASE, &version_3(begun));
    let store = open(&url);
    assert_eq!(server.sql(DATABASE, "SELECT version FROM meta"), "13");
    let ids: Vec<_> = (0..4).map(|number| task(begun, number).id).collect();
    let all = TaskFilter { limit: 9, ..TaskFilter::default() };
    let states = async || {
        let listed = store.tasks(all.clone()).await.unwrap().tasks;
        listed.iter().rev().map(|task| task.state.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["succeeded", "failed", "running", "queued"]);
    let first = store.task(ids[0]).await.unwrap().unwrap();
    assert_eq!((first.output, first.finished_at), (Some(Payload::trusted("1")), Some(begun)));
    let keyed = Task { idempotency_key: Some(IdempotencyKey::new("k").unwrap()), ..task(begun, 9) };
    let submission = Submission::new(keyed, Some([7; 32]));
    let known = store.enqueue(vec![submission.clone()]).await.unwrap().remove(0).unwrap();
    assert!(matches!(known, EnqueueOutcome::Known(known) if known.id == ids[0]));

    // What runs ends in the history; what had failed may be sent back.
    let running = store.task(ids[2]).await.unwrap().unwrap();
    settle(&store, &[running], begun, succeeded()).await;
    store.retry(ids[1], begun).await.unwrap().unwrap();
    let claimed = claim(&store, 9).await;
    assert_eq!(claimed.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[1], ids[3]]);
    settle(&store, &claimed, begun, failed()).await;
    assert_eq!(states().await, ["succeeded", "failed", "succeeded", "failed"]);
    assert_eq!(
        server.sql(DATABASE, "SELECT count(*) FROM live") + &server.sql(DATABASE, "SELECT count(*) FROM ended"),
        "04"
    );
    let told = store.events(ids[1], 0, 100).await.unwrap().unwrap();
    assert!(told.ended && told.events.len() >= 6, "{told:?}");
    assert_eq!(server.sql(DATABASE, "SELECT count(*) FROM events"), "0", "they went along");
    // And once more, from the history.
    let back = store.retry(ids[1], begun).await.unwrap().unwrap();
    assert_eq!((back.state, store.task(ids[1]).await.unwrap()), (TaskState::Queued, Some(back.clone())));
    assert_eq!(store.events(ids[1], 0, 100).await.unwrap().unwrap().events[..told.events.len()], told.events);
    store.cancel(ids[1], begun).await.unwrap().unwrap();

    let retired = retire(&server, &store, begun + 2 * DAY, DAY).await;
    assert!(retired.tasks == 0 && retired.partitions >= 1, "{retired:?}");
    assert_eq!(states().await, [""; 0]);
    for table in ["live", "idempotency_keys", "events", "ended"] {
        assert_eq!(server.sql(DATABASE, &format!("SELECT count(*) FROM {table}")), "0", "{table}");
    }
    assert!(matches!(store.enqueue(vec![submission]).await.unwrap()[0], Ok(EnqueueOutcome::New { .. })));
}

/// A database as version 8 left it: a task each that waits in a conversation, has ended, and was cancelled while it runs.
fn version_8(now: Timestamp) -> String {
    let migrations = [
        include_str!("../migrations/0001_tasks.sql"),
        include_str!("../migrations/0002_contexts.sql"),
        include_str!("../migrations/0003_nodes.sql"),
        include_str!("../migrations/0004_history.sql"),
        include_str!("../migrations/0005_ids.sql"),
        include_str!("../migrations/0006_damaged.sql"),
        include_str!("../migrations/0007_attempts.sql"),
        include_str!("../migrations/0008_parents.sql"),
    ];
    let t = now.as_micros();
    let id = |number| task(now, number).id.as_uuid().to_string();
    let (waits, ended, runs) = (id(0), id(1), id(2));
    format!(
        "{} CREATE TABLE meta (only_row int PRIMARY KEY CHECK (only_row = 1), version bigint NOT NULL, beat bigint NOT NULL);
         INSERT INTO meta VALUES (1, 8, 0);
         INSERT INTO tasks (task, id, pool, state, context, priority, due, run_at, attempt, epoch, crashes, stop_epoch, node)
             VALUES (1, '{waits}', 'coder', 1, 'chat', 4, {t}, {t}, 0, 0, 0, NULL, NULL),
             (3, '{runs}', 'coder', 2, NULL, 4, {t}, {t}, 1, 5, 0, 5, '{runs}');
         INSERT INTO inputs (task, submitted_at, timeout, max_attempts, max_crashes, backoff_initial, backoff_max, input)
             VALUES (1, {t}, 60000000, 9, 9, 1, 1, '1'), (3, {t}, 60000000, 9, 9, 1, 1, '3');
         INSERT INTO history (task, id, pool, state, priority, due, run_at, attempt, crashes, epoch, finished_at, submitted_at,
             timeout, max_attempts, max_crashes, backoff_initial, backoff_max, input, output, key)
             VALUES (2, '{ended}', 'coder', 3, 4, {t}, {t}, 1, 0, 1, {t}, {t}, 60000000, 9, 9, 1, 1, '2', '22', 'k');
         INSERT INTO keys VALUES ('coder', 'k', '{ended}', '\\x{}');
         INSERT INTO line VALUES ('coder', 'chat', 1, {t}, 1);
         INSERT INTO ready (pool, urgency, due, task, prefers, prefers_until) VALUES ('coder', 5, {t}, 1, '{runs}', 0);
         INSERT INTO spoken VALUES ({t}, 2);
         INSERT INTO notes VALUES ('settings/pool', 'on');
         SELECT setval(pg_get_serial_sequence('tasks', 'task'), 10)",
        migrations.concat(),
        "07".repeat(32),
    )
}

#[tokio::test]
async fn a_database_of_version_8_goes_on_under_the_new_names() {
    let server = PgServer::start(false);
    let url = server.database();
    let micros: i64 =
        server.sql(DATABASE, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8").parse().unwrap();
    let begun = Timestamp::from_micros(micros);
    server.sql(DATABASE, &version_8(begun));
    let store = open(&url);
    assert_eq!(store.setting("settings/pool".to_owned()).await.unwrap().as_deref(), Some("on"));
    let keyed = store.keyed(pool(), IdempotencyKey::new("k").unwrap()).await.unwrap().unwrap().task;
    assert_eq!((keyed.state, keyed.output.as_ref().map(Payload::as_str)), (TaskState::Succeeded, Some("22")));
    assert_eq!((keyed.tenant.as_str(), keyed.spec, keyed.report), ("default", None, None));
    let claimed = claim(&store, 9).await.remove(0);
    assert_eq!((claimed.id, claimed.context_version), (task(begun, 0).id, 0));
    settle(&store, std::slice::from_ref(&claimed), begun, Next::Wait { requests: Payload::trusted("[]"), until: None })
        .await;
    assert_eq!(server.sql(DATABASE, "SELECT state, requests FROM live WHERE context IS NOT NULL"), "-1|[]");
    let (asked, requests) = (Payload::trusted("[]"), Payload::trusted("[1]"));
    let answered = Answered { task: claimed.id, asked, requests, deadline: None };
    store.answer(answered, begun).await.unwrap().unwrap();
    assert_eq!(claim(&store, 9).await.len(), 1);
    let runs = Task { epoch: forerunner_core::LeaseEpoch(5), ..task(begun, 2) };
    settle(&store, &[runs], begun, Next::Release).await;
    let ended = store.task(task(begun, 2).id).await.unwrap().unwrap();
    assert_eq!(ended.state, TaskState::Cancelled, "the request to cancel it was kept");
    let old = "SELECT count(*) FROM pg_class WHERE relname ~ '^(line|spoken|notes|keys|pieces|piece_uses|old)(_|$)'";
    assert_eq!(server.sql(DATABASE, old), "0");
}
