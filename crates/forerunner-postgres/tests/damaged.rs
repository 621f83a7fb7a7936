//! Rows of a PostgreSQL database that cannot be read, and values that it refuses: unreadable rows are set aside or
//! refused, everything else continues.

#[allow(dead_code, reason = "not every test file uses all of it")]
mod pg;

use forerunner_store::roles::*;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use forerunner_core::{
    ContextId, ErrorKind, IdempotencyKey, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskError,
    TaskId, TaskState, Timestamp,
};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{
    Cancelled, Claim, EnqueueOutcome, Peek, Refusal, Rescue, Settlement, StateConflict, StoreError, Submission,
    TaskFilter,
};
use pg::PgServer;

const OPTIONS: PostgresOptions = PostgresOptions {
    connections: 4,
    connect_timeout: Duration::from_secs(2),
    call_timeout: Duration::from_secs(5),
    vacuum_every: Duration::from_secs(30),
    database_time: false,
    gone_after: Duration::from_millis(500),
};

/// The number of the task that is damaged, of five.
const BAD: u128 = 3;

/// Damage of every column that can hold something wrong. `X` is the row of the task.
const DAMAGE: &[&str] = &[
    "UPDATE live SET labels = '[1' WHERE id = X",
    "UPDATE live SET input = 'no JSON' WHERE id = X",
    "UPDATE live SET key = '' WHERE id = X",
    "UPDATE live SET max_attempts = -1 WHERE id = X",
    "UPDATE live SET max_crashes = 4294967296 WHERE id = X",
    "UPDATE live SET timeout = -1 WHERE id = X",
    "UPDATE live SET submitted_at = 9223372036854775807 WHERE id = X",
    "UPDATE live SET input = NULL WHERE id = X",
    "UPDATE live SET attempt = -2 WHERE id = X",
    "UPDATE live SET crashes = -1 WHERE id = X",
    "UPDATE live SET context = '' WHERE id = X",
    "UPDATE live SET priority = 77 WHERE id = X",
    "UPDATE live SET run_at = -9223372036854775807 WHERE id = X",
    "UPDATE live SET error_kind = 'nonsense' WHERE id = X",
    "UPDATE live SET pool = 'no such name!' WHERE id = X",
    "UPDATE live SET state = 99 WHERE id = X",
];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

fn pool() -> PoolName {
    PoolName::new("coder").unwrap()
}

fn id(number: u128) -> TaskId {
    TaskId::from_parts(at(0), number << 8)
}

fn node() -> NodeId {
    NodeId::from_parts(at(0), 7)
}

fn task(number: u128) -> Task {
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let new = NewTask { labels, ..NewTask::new(pool(), Payload::trusted(number.to_string())) };
    Task::accepted(id(number), new, at(0), Duration::from_secs(9), RetryPolicy::default())
}

struct Lab<'a> {
    server: &'a PgServer,
    database: String,
    store: Arc<PostgresStore>,
}

impl<'a> Lab<'a> {
    fn new(server: &'a PgServer) -> Self {
        let url = server.database();
        let database = url.rsplit('/').next().unwrap().to_owned();
        Self { server, database, store: Arc::new(PostgresStore::open(&url, OPTIONS).unwrap()) }
    }

    fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database, sql)
    }

    fn damage(&self, sql: &str, task: TaskId) {
        self.sql(&sql.replace('X', &format!("'{task}'")));
    }

    async fn submit(&self, tasks: impl IntoIterator<Item = Task>) {
        let batch = tasks.into_iter().map(|task| Submission::new(task, None)).collect();
        for answer in self.store.enqueue(batch).await.unwrap() {
            assert!(matches!(answer, Ok(EnqueueOutcome::New { .. })), "{answer:?}");
        }
    }

    async fn claim(&self, limit: usize) -> Vec<Task> {
        let (now, lease_until) = (at(100), at(200));
        let claim = Claim { pool: pool(), node: node(), limit, starts: usize::MAX, now, lease_until };
        self.store.claim(claim).await.unwrap()
    }

    async fn list(&self, state: Option<TaskState>) -> Vec<Task> {
        self.store
            .tasks(TaskFilter { states: state.into_iter().collect(), limit: 100, ..TaskFilter::default() })
            .await
            .unwrap()
            .tasks
    }

    async fn damaged(&self) -> Task {
        let mut damaged = self.list(Some(TaskState::Damaged)).await;
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        damaged.remove(0)
    }

    async fn finish(&self, tasks: &[Task], output: &str) {
        let settlements = tasks.iter().map(|task| settlement(task, output));
        for settled in self.store.settle(settlements.collect()).await.unwrap() {
            settled.unwrap();
        }
    }
}

fn settlement(task: &Task, output: &str) -> Settlement {
    let next = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::trusted(output)), error: None };
    let (task, epoch) = (task.id, task.epoch);
    Settlement::new(task, epoch, at(101), next)
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_set_aside_and_the_others_are_claimed() {
    let server = PgServer::start(false);
    for sql in DAMAGE {
        let lab = Lab::new(&server);
        lab.submit((1..=5).map(task)).await;
        lab.damage(sql, id(BAD));
        let look = Peek { pool: pool(), node: node(), limit: 9, now: at(100) };
        assert!(lab.store.peek(look).await.unwrap().len() >= 4, "{sql}");
        assert!(lab.list(None).await.len() >= 4, "{sql}");
        let mut claimed = lab.claim(2).await;
        claimed.extend(lab.claim(9).await);
        assert_eq!(claimed.len(), 4, "{sql}");
        let damaged = lab.damaged().await;
        let error = damaged.error.as_ref().unwrap();
        assert!(error.kind == ErrorKind::Damaged && error.message.contains("cannot be read"), "{sql}: {error}");
        assert_eq!((lab.store.damaged().there, lab.store.damaged().found), (1, 1), "{sql}");
        assert_eq!(lab.store.task(damaged.id).await.unwrap().unwrap(), damaged, "{sql}");
        lab.finish(&claimed, "1").await;
        let Ok(Cancelled::Ended(task)) = lab.store.cancel(damaged.id, at(4)).await.unwrap() else { panic!("{sql}") };
        assert_eq!(task.state, TaskState::Cancelled, "{sql}");
        let found = lab.store.task(id(BAD)).await.unwrap().unwrap();
        assert!(
            found.state == TaskState::Cancelled && found.error.unwrap().message.contains("could not be read"),
            "{sql}"
        );
        assert_eq!(lab.list(None).await.len(), 5, "{sql}");
        assert_eq!(lab.store.purge(at(500), 9).await.unwrap(), 5, "{sql}");
    }
}

#[tokio::test]
async fn a_claim_alone_finds_what_cannot_be_read_and_a_repaired_task_comes_back() {
    let server = PgServer::start(false);
    let lab = Lab::new(&server);
    lab.submit((1..=5).map(task)).await;
    lab.damage(DAMAGE[0], id(BAD));
    assert_eq!(lab.claim(9).await.len(), 4);
    let refused = lab.store.retry(id(BAD), at(3)).await.unwrap().unwrap_err();
    assert!(matches!(&refused, StateConflict::Damaged { reason, .. } if reason.contains("`labels`")), "{refused}");
    lab.damage("UPDATE live SET labels = NULL WHERE id = X", id(BAD));
    assert_eq!(lab.store.retry(id(BAD), at(3)).await.unwrap().unwrap().state, TaskState::Queued);
    assert_eq!(lab.claim(1).await[0].id, id(BAD));
}

/// What went wrong before is for people to read: a task is tried again, and ends, as well as ever without it.
#[tokio::test]
async fn attempts_that_are_no_list_keep_no_task_from_its_end() {
    let server = PgServer::start(false);
    for damage in ["'{}'", "'7'", "'\"text\"'", "'null'", "'[{}]'", "'[7]'"] {
        let lab = Lab::new(&server);
        lab.submit((1..=2).map(task)).await;
        let fail = async || {
            let claimed = lab.claim(9).await;
            assert_eq!(claimed.len(), 2, "{damage}");
            for Task { id, epoch, .. } in claimed {
                let error = TaskError::new(ErrorKind::AgentError, "no");
                let next = Next::Retry { run_at: at(0), error, crash: false, counts: true };
                lab.store.settle(vec![Settlement::new(id, epoch, at(101), next)]).await.unwrap().remove(0).unwrap();
            }
            lab.store.sweep(pool(), at(102)).await.unwrap();
        };
        fail().await;
        lab.damage(&format!("UPDATE live SET attempts = {damage} WHERE id = X"), id(1));
        fail().await;
        assert!(lab.store.attempts(id(1)).await.unwrap().is_some_and(|known| known.len() <= 1), "{damage}");
        assert_eq!(lab.store.attempts(id(2)).await.unwrap().map(|known| known.len()), Some(2), "{damage}");
        let claimed = lab.claim(9).await;
        lab.finish(&claimed, "1").await;
        assert_eq!(lab.list(Some(TaskState::Succeeded)).await.len(), 2, "{damage}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_behind_a_damaged_task() {
    let server = PgServer::start(false);
    for sql in [DAMAGE[0], DAMAGE[7], DAMAGE[11]] {
        let lab = Lab::new(&server);
        let chat = ContextId::new("chat").unwrap();
        lab.submit((1..=5).map(|number| Task { context: Some(chat.clone()), ..task(number) })).await;
        lab.damage(sql, id(BAD));
        lab.list(None).await;
        let mut done = Vec::new();
        while let Some(task) = lab.claim(9).await.pop() {
            lab.finish(std::slice::from_ref(&task), "1").await;
            done.push(task.id);
        }
        assert_eq!(done, [1, 2, 4, 5].map(id), "{sql}");
    }
}

#[tokio::test]
async fn sweeps_and_rescues_go_on_without_what_cannot_be_read() {
    let server = PgServer::start(false);
    for sql in ["UPDATE live SET priority = 77 WHERE id = X", "UPDATE live SET labels = '[1' WHERE id = X"] {
        let lab = Lab::new(&server);
        lab.submit((1..=4).map(|number| Task { run_at: at(10), state: TaskState::Scheduled, ..task(number) })).await;
        lab.damage(sql, id(BAD));
        let swept = lab.store.sweep(pool(), at(20)).await.unwrap();
        assert!(swept.promoted.len() >= 3, "{sql}: {swept:?}");
        assert_eq!(lab.claim(9).await.len(), 3, "{sql}");

        let lab = Lab::new(&server);
        lab.submit((1..=5).map(task)).await;
        assert_eq!(lab.claim(9).await.len(), 5);
        lab.damage(sql, id(BAD));
        let rescue = Rescue::AllBut { node: NodeId::from_parts(at(0), 8), now: at(300) };
        assert_eq!(lab.store.rescue(rescue).await.unwrap().requeued.len(), 4, "{sql}");
        assert_eq!((lab.claim(9).await.len(), lab.store.damaged().there), (4, 1), "{sql}");
    }
}

#[tokio::test]
async fn ended_tasks_that_cannot_be_read_are_shown_as_such() {
    let server = PgServer::start(false);
    for sql in [
        "UPDATE ended SET output = '{' WHERE id = X",
        "UPDATE ended SET labels = '[1' WHERE id = X",
        "UPDATE ended SET error_kind = 'nonsense' WHERE id = X",
        "UPDATE ended SET cost = 'nonsense', attempt = -1 WHERE id = X",
    ] {
        let lab = Lab::new(&server);
        lab.submit((1..=5).map(task)).await;
        lab.finish(&lab.claim(9).await, "1").await;
        lab.damage(sql, id(BAD));
        assert_eq!(lab.list(None).await.len(), 5, "{sql}");
        assert_eq!(lab.damaged().await.id, id(BAD), "{sql}");
        let Ok(Cancelled::Ended(task)) = lab.store.cancel(id(BAD), at(4)).await.unwrap() else { panic!("{sql}") };
        assert_eq!((task.state, lab.list(Some(TaskState::Damaged)).await.len()), (TaskState::Cancelled, 0), "{sql}");
        assert_eq!(lab.store.task(id(BAD)).await.unwrap().unwrap().state, TaskState::Cancelled, "{sql}");
    }
}

/// Refuses values as a database does that cannot hold them.
const REFUSE: &str = "\
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
    IF NEW.output LIKE '%poison%' THEN RAISE EXCEPTION 'no such character' USING ERRCODE = '22P05'; END IF; RETURN NEW; END $$; \
    CREATE TRIGGER refuse BEFORE INSERT ON ended FOR EACH ROW EXECUTE FUNCTION refuse(); \
    ALTER TABLE live ADD CONSTRAINT small CHECK (length(input) < 100)";

#[tokio::test]
async fn a_member_of_a_group_that_the_database_refuses_is_left_out() {
    let server = PgServer::start(false);
    let lab = Lab::new(&server);
    lab.sql(REFUSE);
    let large = Task { input: Payload::trusted(format!("\"{}\"", "x".repeat(200))), ..task(6) };
    let batch = [task(1), large, task(2)].map(|task| Submission::new(task, None));
    let answers = lab.store.enqueue(batch.to_vec()).await.unwrap();
    assert!(matches!(&answers[1], Err(Refusal::Unstorable { reason }) if reason.contains("small")), "{answers:?}");
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");

    let claimed = lab.claim(9).await;
    let settlements = vec![settlement(&claimed[0], "\"poison\""), settlement(&claimed[1], "\"good\"")];
    let settled = lab.store.settle(settlements).await.unwrap();
    let states: Vec<_> = settled.into_iter().map(|settled| settled.unwrap().state).collect();
    assert_eq!(states, [TaskState::Failed, TaskState::Succeeded]);
    let failed = lab.store.task(claimed[0].id).await.unwrap().unwrap();
    assert!(failed.error.unwrap().message.contains("no such character"));
}

#[tokio::test]
async fn a_member_with_a_context_that_the_database_refuses_is_left_out() {
    let server = PgServer::start(false);
    let lab = Lab::new(&server);
    lab.sql(REFUSE);
    let chat = ContextId::new("chat").unwrap();
    lab.submit([Task { context: Some(chat.clone()), ..task(1) }, Task { context: Some(chat), ..task(2) }]).await;
    let first = lab.claim(9).await.remove(0);
    let settled = lab.store.settle(vec![settlement(&first, "\"poison\"")]).await.unwrap().remove(0).unwrap();
    assert_eq!((settled.state, settled.claimable), (TaskState::Failed, 1));
    assert_eq!(lab.claim(9).await[0].id, id(2));
}

#[tokio::test]
async fn a_key_with_labels_that_no_index_can_hold_refuses_that_task_only() {
    let server = PgServer::start(false);
    let lab = Lab::new(&server);
    // Each character becomes six in JSON, and no two are alike, so that nothing is packed.
    let noise = |salt: u32| (0..256).map(|n| char::from_u32(1 + (n * 7 + salt) % 31).unwrap()).collect::<String>();
    let labels = BTreeMap::from([(noise(3), noise(5))]);
    let wide = Task { labels, idempotency_key: Some(IdempotencyKey::new("k").unwrap()), ..task(1) };
    let batch = [wide, task(2)].map(|task| Submission::new(task, Some([1; 32])));
    let answers = lab.store.enqueue(batch.to_vec()).await.unwrap();
    assert!(answers[1].is_ok(), "{answers:?}");
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    let server = PgServer::start(false);
    let url = server.database();
    for (encoding, is_refused) in [("LATIN1", true), ("SQL_ASCII", false)] {
        let name = encoding.to_lowercase();
        server.sql(
            "postgres",
            &format!("CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"),
        );
        let opened = PostgresStore::open(&format!("{}/{name}", url.rsplit_once('/').unwrap().0), OPTIONS);
        match opened {
            Err(StoreError::Encoding { encoding: found, .. }) => assert!(is_refused && found == encoding),
            Err(error) => panic!("{error}"),
            Ok(_) => assert!(!is_refused),
        }
    }
}

#[tokio::test]
async fn sessions_that_were_opened_read_only_are_replaced() {
    let server = PgServer::start(false);
    let lab = Lab::new(&server);
    lab.submit([task(1)]).await;
    let database = &lab.database;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    server.sql("postgres", &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"));
    server.sql("postgres", &end);
    let batch = || vec![Submission::new(task(2), None)];
    assert!(lab.store.enqueue(batch()).await.is_err());
    server.sql("postgres", &format!("ALTER DATABASE {database} SET default_transaction_read_only = off"));
    let healed = async {
        while lab.store.enqueue(batch()).await.is_err() || lab.store.check().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), healed).await.expect("it writes again");
    assert_eq!(lab.claim(9).await.len(), 2);
}

#[tokio::test]
async fn a_session_that_became_read_only_or_lost_its_schema_is_replaced() {
    let server = PgServer::start(false);
    let lab = Lab::new(&server);
    lab.submit([task(1)]).await;
    // What a pooler, or the owner of a role, does to sessions that are open.
    for (lost, back) in [
        ("ALTER ROLE forerunner SET search_path = nowhere", "ALTER ROLE forerunner RESET search_path"),
        (
            "ALTER ROLE forerunner SET default_transaction_read_only = on",
            "ALTER ROLE forerunner RESET default_transaction_read_only",
        ),
    ] {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        lab.sql(lost);
        lab.sql(end);
        assert!(lab.store.check().await.is_err(), "{lost}");
        lab.server.sql("postgres", &format!("BEGIN READ WRITE; {back}; COMMIT"));
        let healed = async {
            while lab.store.check().await.is_err() || lab.store.counts(pool()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), healed).await.expect("it writes again");
        assert_eq!(lab.store.counts(pool()).await.unwrap().waiting(), 1);
    }
}
