//! The suite that every store must pass, on a PostgreSQL server started here; and several nodes on one database.

mod pg;
mod pooler;

use forerunner_store::roles::*;
use std::{collections::HashSet, io::Read, net::TcpListener, sync::Arc, time::Duration};

use forerunner_core::{
    ContextId, ErrorKind, NewTask, Next, NodeId, Payload, PoolName, RetryPolicy, Task, TaskError, TaskEventKind,
    TaskId, TaskState, Timestamp,
};
use forerunner_postgres::{PostgresOptions, PostgresStore};
use forerunner_store::{
    AttemptEvent, Claim, ContextCommit, ContextRead, EnqueueOutcome, Heartbeat, LEASE, LiveNode, Notification, Rescue,
    Settlement, SharedObject, SharedObjectKind, Store, StoreError, Submission, TaskEvents, TaskFilter, born_of,
    event_seq,
};
use pg::PgServer;
use pooler::PgBouncer;

const OPTIONS: PostgresOptions = PostgresOptions {
    connections: 4,
    connect_timeout: Duration::from_secs(2),
    call_timeout: Duration::from_secs(2),
    vacuum_every: Duration::from_secs(30),
    database_time: false,
    gone_after: Duration::from_millis(500),
};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

fn node(number: u128) -> NodeId {
    NodeId::from_parts(at(0), number << 64)
}

fn pool() -> PoolName {
    PoolName::new("coder").unwrap()
}

fn submission(number: i64) -> Submission {
    let (id, new) =
        (TaskId::from_parts(at(number * 1_000), 0), NewTask::new(pool(), Payload::trusted(format!("{number}"))));
    let task = Task::accepted(id, new, at(number), Duration::from_secs(60), RetryPolicy::default());
    Submission::new(task, None)
}

fn claim(node: NodeId, limit: usize) -> Claim {
    Claim { pool: pool(), node, limit, starts: usize::MAX, now: at(1), lease_until: at(100) }
}

fn done(task: &Task) -> Settlement {
    let next = Next::Finish { state: TaskState::Succeeded, output: Some(Payload::trusted("1")), error: None };
    Settlement::new(task.id, task.epoch, at(2), next)
}

mod conformance {
    use super::*;

    thread_local! {
        /// One server a test: it ends with the thread of the test, and nothing is left.
        static SERVER: PgServer = PgServer::start(false);
    }

    fn fresh() -> Arc<dyn Store> {
        let url = SERVER.with(PgServer::database);
        Arc::new(PostgresStore::open(&url, OPTIONS).unwrap())
    }

    forerunner_store::store_conformance!(|| async { fresh() });
}

/// Once more with a pooler in between that gives each transaction whichever connection is free.
mod conformance_through_a_pooler {
    use super::*;

    thread_local! {
        static SERVER: PgServer = PgServer::start(false);
        static POOLER: PgBouncer = SERVER.with(|server| PgBouncer::to(&server.database()));
    }

    fn fresh() -> Arc<dyn Store> {
        let url = SERVER.with(PgServer::database);
        let url = POOLER.with(|pooler| pooler.through(&url));
        Arc::new(PostgresStore::open(&url, OPTIONS).unwrap())
    }

    forerunner_store::store_conformance!(|| async { fresh() });
}

/// Each statement with how long it took and whether it had a name.
const LOGGED: &str = "log_min_duration_statement = 0";

/// How many statements ran under a name, and how many without.
fn named_and_unnamed(server: &PgServer) -> (usize, usize) {
    let said = server.said();
    (said.matches(" execute s").count(), said.matches(" execute <unnamed>").count())
}

#[tokio::test]
async fn statements_have_names_where_the_session_is_ones_own_and_nowhere_else() {
    let server = PgServer::start_with(false, &[], LOGGED);
    let url = server.database();
    share_all_tasks(&url, 200).await;
    let (named, unnamed) = named_and_unnamed(&server);
    assert!(named > unnamed, "{named} named, {unnamed} not");
    let pooler = PgBouncer::to(&url);
    for (address, may_have_names) in [
        (pooler.through(&server.database()), false),
        (format!("{}?statements=unnamed", server.database()), false),
        (format!("{}?statements=auto", server.database()), true),
    ] {
        let (before, _) = named_and_unnamed(&server);
        share_all_tasks(&address, 200).await;
        let (after, _) = named_and_unnamed(&server);
        assert_eq!(after > before, may_have_names, "{address}");
    }
}

#[tokio::test]
async fn names_that_a_pooler_forgets_are_done_without() {
    let server = PgServer::start(false);
    let url = server.database();
    let pooler = PgBouncer::to(&url);
    share_all_tasks(&format!("{}?statements=named", pooler.through(&url)), 400).await;
}

#[tokio::test]
async fn a_task_that_is_known_is_found_although_its_group_is_committed_with_the_new_ones() {
    let server = PgServer::start(false);
    let store = PostgresStore::open(&server.database(), OPTIONS).unwrap();
    for known in 0..3 {
        let answers = store.enqueue((0..=known).map(submission).collect()).await.unwrap();
        let is_known = |answer: &Result<EnqueueOutcome, _>| matches!(answer, Ok(EnqueueOutcome::Known(_)));
        assert!(answers[..known as usize].iter().all(is_known), "{answers:?}");
        assert!(matches!(answers[known as usize], Ok(EnqueueOutcome::New { claimable: true, .. })), "{answers:?}");
    }
    let tasks = store.claim(claim(node(1), 2)).await.unwrap();
    assert_eq!(store.settle(vec![done(&tasks[0])]).await.unwrap().len(), 1);
    let answers = store.settle(tasks.iter().map(done).collect()).await.unwrap();
    assert!(matches!(answers[..], [Err(_), Ok(_)]), "{answers:?}");
}

#[tokio::test]
async fn two_nodes_behind_a_pooler_never_claim_the_same_task() {
    let server = PgServer::start(false);
    let url = server.database();
    let pooler = PgBouncer::to(&url);
    share_all_tasks(&pooler.through(&url), 400).await;
}

#[tokio::test]
async fn two_nodes_never_claim_the_same_task() {
    let server = PgServer::start(false);
    share_all_tasks(&server.database(), 4_000).await;
}

/// Lets two nodes work all tasks off, and sees that each was claimed once.
async fn share_all_tasks(url: &str, tasks: i64) {
    let stores = [1, 2].map(|number| (node(number), PostgresStore::open(url, OPTIONS).unwrap()));
    let accepted = stores[0].1.enqueue((0..tasks).map(submission).collect()).await.unwrap();
    assert!(accepted.iter().all(|answer| matches!(answer, Ok(EnqueueOutcome::New { claimable: true, .. }))));
    let take_all = async |node: NodeId, store: &PostgresStore| {
        let mut mine = Vec::new();
        loop {
            let tasks = store.claim(claim(node, 7)).await.unwrap();
            if tasks.is_empty() {
                return mine;
            }
            let settled = store.settle(tasks.iter().map(done).collect()).await.unwrap();
            assert!(settled.iter().all(Result::is_ok));
            mine.extend(tasks.into_iter().map(|task| task.id));
        }
    };
    let (one, two) = tokio::join!(take_all(stores[0].0, &stores[0].1), take_all(stores[1].0, &stores[1].1));
    let distinct: HashSet<_> = one.iter().chain(&two).collect();
    assert_eq!((one.len() + two.len(), distinct.len()), (tasks as usize, tasks as usize));
    assert!(!one.is_empty() && !two.is_empty());
    assert_eq!(stores[1].1.counts(pool()).await.unwrap().of(TaskState::Succeeded), tasks as u64);
}

#[tokio::test]
async fn a_lease_that_another_node_took_over_settles_nothing() {
    let server = PgServer::start(false);
    let url = server.database();
    let [one, two] = [(); 2].map(|()| PostgresStore::open(&url, OPTIONS).unwrap());
    one.enqueue(vec![submission(1)]).await.unwrap();
    let old = one.claim(claim(node(1), 1)).await.unwrap().remove(0);
    assert_eq!(two.rescue(Rescue::Expired { now: at(101) }).await.unwrap().requeued, [old.id]);
    let new = two.claim(claim(node(2), 1)).await.unwrap().remove(0);
    assert!(new.epoch > old.epoch);
    assert!(one.settle(vec![done(&old)]).await.unwrap()[0].is_err());
    assert!(two.settle(vec![done(&new)]).await.unwrap()[0].is_ok());
}

/// What happened to a task, as one word each.
async fn told(store: &PostgresStore, task: TaskId, after: u64) -> Vec<(u64, String)> {
    let mut newest = after;
    let mut all = Vec::new();
    loop {
        // Pages of two, so that the events that follow from the row meet the state between pages.
        let TaskEvents { events, ended } = store.events(task, newest, 2).await.unwrap().expect("it is known");
        newest = events.last().map_or(newest, |event| event.seq);
        // JavaScript can distinguish numbers below this.
        assert!(events.iter().all(|event| event.seq < 1 << 53), "{events:?}");
        let is_over = ended || events.is_empty();
        all.extend(events.into_iter().map(|event| {
            let word = match event.kind {
                TaskEventKind::State { state, attempt, error } => {
                    let why = error.map_or(String::new(), |error| format!(" {}", error.kind.as_str()));
                    format!("{state} {attempt}{why}")
                }
                TaskEventKind::Asked { request } => request.prompt,
                TaskEventKind::Log { line } => line.text,
                TaskEventKind::Progress { text } | TaskEventKind::Output { chunk: text } => text,
            };
            (event.seq, word)
        }));
        if is_over {
            return all;
        }
    }
}

#[tokio::test]
async fn a_task_is_left_for_a_moment_to_the_node_that_holds_its_context() {
    let server = PgServer::start(false);
    let store = PostgresStore::open(&server.database(), OPTIONS).unwrap();
    let context = ContextId::new("repo-42").unwrap();
    let enqueue = async |number| {
        let mut one = submission(number);
        one.task.context = Some(context.clone());
        store.enqueue(vec![one]).await.unwrap();
    };
    let claims = async |number, now| {
        let claim = Claim { now: at(now), lease_until: at(now) + LEASE, ..claim(node(number), 1) };
        store.claim(claim).await.unwrap()
    };
    let settle = async |task: &Task, version| {
        let context = ContextCommit {
            context: context.clone(),
            parent_version: version,
            born: if version == 0 { born_of(task.id) } else { task.context_born },
            frame: vec![1],
            pieces: Vec::new(),
            full: version == 0,
            size_bytes: 1,
            items: 1,
        };
        let settlement = Settlement { context: Some(context), ..done(task) };
        store.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    };
    for number in [1, 2] {
        let report = "{}".to_owned();
        store.heartbeat(Heartbeat { node: node(number), now: at(0), lease: LEASE, report, plan: None }).await.unwrap();
    }
    enqueue(1).await;
    let first = claims(1, 1).await.remove(0);
    enqueue(2).await;
    settle(&first, 0).await;
    assert_eq!(claims(2, 10).await, [], "the next of the line is left to node 1");
    let second = claims(1, 11).await.remove(0);
    settle(&second, 1).await;
    enqueue(20).await;
    assert_eq!(claims(2, 30).await, [], "and so is one that comes later");
    let third = claims(2, 1_000_020).await.remove(0);
    settle(&third, 2).await;
    enqueue(1_000_030).await;
    assert_eq!(claims(1, 1_000_040).await, [], "now node 2 holds it");
    store.deregister(node(2)).await.unwrap();
    store.cancel(claims(2, 1_000_050).await.remove(0).id, at(1_000_060)).await.unwrap().unwrap();
    let waiting = store.tasks(TaskFilter { limit: 1, ..TaskFilter::default() }).await.unwrap().tasks.remove(0);
    store.settle(vec![Settlement { next: Next::Release, ..done(&waiting) }]).await.unwrap().remove(0).unwrap();
    enqueue(1_000_070).await;
    assert_eq!(claims(1, 1_000_080).await.len(), 1, "nobody waits for a node that has left");
}

#[tokio::test]
async fn a_node_that_was_cut_off_hears_again_and_knows_that_it_missed_something() {
    let server = PgServer::start(false);
    let url = server.database();
    let [one, two] = [(); 2].map(|()| PostgresStore::open(&url, OPTIONS).unwrap());
    let mut news = one.subscribe().expect("it is shared");
    assert_eq!(news.recv().await.unwrap(), Notification::anything());
    drop(two.subscribe());
    for (number, store) in [(1, &one), (2, &two), (1, &one)] {
        let report = "{}".to_owned();
        let beat = Heartbeat { node: node(number), now: at(0), lease: LEASE, report, plan: None };
        store.heartbeat(beat).await.unwrap();
    }
    let work = Notification::work(pool());
    while !two.is_listening() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    two.notify(work.clone());
    assert_eq!(news.recv().await.unwrap(), work, "news of others are heard");
    one.notify(Notification::work(pool()));
    server.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%pg_notify%'");
    assert_eq!(
        news.recv().await.unwrap(),
        Notification::anything(),
        "its own are not, and what was missed may be anything"
    );
    assert!(one.is_listening());
}

#[tokio::test]
async fn a_node_whose_session_has_ended_is_gone_before_its_lease_unless_it_beats() {
    const SOON: Duration = Duration::from_secs(20);
    let server = PgServer::start(false);
    let url = server.database();
    let options = PostgresOptions { database_time: true, ..OPTIONS };
    let stores = [(); 4].map(|()| PostgresStore::open(&url, options).unwrap());
    let beat = async |number: usize| {
        let beat =
            Heartbeat { node: node(number as u128), now: at(0), lease: SOON * 3, report: "{}".to_owned(), plan: None };
        stores[number].heartbeat(beat).await.unwrap()
    };
    let numbers = |nodes: &[LiveNode]| {
        (0..4).filter(|number| nodes.iter().any(|one| one.node == node(*number as u128))).collect::<Vec<_>>()
    };
    // The first leads; the last does not listen, so it is never seen.
    let _news = [0, 1, 2].map(|number| stores[number].subscribe());
    for number in 0..4 {
        assert_eq!(beat(number).await.leader.node, node(0));
    }
    drop(stores[0].enqueue(vec![submission(1)]).await.unwrap());
    let lease = Claim { lease_until: at(0) + SOON * 3, ..claim(node(0), 1) };
    assert_eq!(stores[0].claim(lease).await.unwrap().len(), 1);
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock'";
    let begun = tokio::time::Instant::now();
    while server.sql("case0", held) != "3" {
        assert!(begun.elapsed() < SOON, "the three that listen are there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(numbers(&beat(1).await.nodes), [0, 1, 2, 3]);

    // All sessions that listen end: those that still send heartbeats are known to live.
    let ends = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'";
    server.sql("case0", ends);
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < OPTIONS.gone_after * 6 {
        for number in 0..3 {
            assert_eq!(numbers(&beat(number).await.nodes), [0, 1, 2, 3]);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while server.sql("case0", held) != "3" {
        assert!(begun.elapsed() < SOON, "they come back");
        for number in 0..3 {
            drop(beat(number).await);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The leader is lost, and sends no heartbeat.
    drop(beat(1).await);
    let begun = tokio::time::Instant::now();
    stores[0].close().await.unwrap();
    let beaten = loop {
        let beaten = beat(1).await;
        if numbers(&beaten.nodes) != [0, 1, 2, 3] {
            break beaten;
        }
        assert_eq!(beaten.leader.node, node(0));
        assert!(begun.elapsed() < SOON, "it is gone long before its lease ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(begun.elapsed() >= OPTIONS.gone_after, "it might have come back");
    assert_eq!((numbers(&beaten.nodes), beaten.leader.node), (vec![1, 2, 3], node(1)));
    assert_eq!(beaten.next_end, Some(Duration::ZERO), "there may be something to take back");
    let rescued = stores[1].rescue(Rescue::Expired { now: at(0) }).await.unwrap();
    assert_eq!(rescued.requeued, [submission(1).task.id]);
}

#[tokio::test]
async fn events_are_told_alike_whenever_and_wherever_they_are_read() {
    let server = PgServer::start(false);
    let url = server.database();
    let [one, two] = [(); 2].map(|()| PostgresStore::open(&url, OPTIONS).unwrap());
    let id = submission(1).task.id;
    one.enqueue(vec![submission(1)]).await.unwrap();
    let mut heard = told(&two, id, 0).await;
    let mut hear = async || {
        let newest = heard.last().map_or(0, |(seq, _)| *seq);
        heard.extend(told(&two, id, newest).await);
        // A reader that begins anew gets the same events as one that has followed all the time.
        assert_eq!(told(&one, id, 0).await, heard);
        heard.clone()
    };
    let say = async |task: &Task, count, text: &str, forget_before| {
        let (seq, kind) = (event_seq(task.epoch, count).unwrap(), TaskEventKind::Output { chunk: text.to_owned() });
        one.append_events(vec![AttemptEvent { task: id, epoch: task.epoch, seq, at: at(3), kind, forget_before }])
            .await
            .unwrap();
    };
    let settle = async |task: &Task, next| {
        let settlement = Settlement::new(id, task.epoch, at(4), next);
        one.settle(vec![settlement]).await.unwrap().remove(0).unwrap();
    };
    let first = one.claim(claim(node(1), 1)).await.unwrap().remove(0);
    say(&first, 0, "a", None).await;
    hear().await;
    say(&first, 1, "b", None).await;
    let error = TaskError::new(ErrorKind::AgentError, "no");
    settle(&first, Next::Retry { run_at: at(4), error, crash: false, counts: true }).await;
    say(&first, 2, "too late", None).await;
    hear().await;
    let second = two.claim(claim(node(2), 1)).await.unwrap().remove(0);
    say(&second, 0, "c", None).await;
    settle(&second, Next::Release).await;
    let third = two.claim(claim(node(2), 1)).await.unwrap().remove(0);
    settle(&third, Next::Finish { state: TaskState::Failed, output: None, error: None }).await;
    hear().await;
    one.retry(id, at(5)).await.unwrap().unwrap();
    hear().await;
    one.cancel(id, at(6)).await.unwrap().unwrap();
    hear().await;
    one.retry(id, at(7)).await.unwrap().unwrap();
    let fourth = two.claim(claim(node(2), 1)).await.unwrap().remove(0);
    let words: Vec<_> = hear().await.into_iter().map(|(_, word)| word).collect();
    let life = [
        "queued 0",
        "running 1",
        "a",
        "b",
        "queued 1 agent_error",
        "running 2",
        "c",
        "queued 1",
        "running 2",
        "failed 2",
        "queued 0",
        "cancelled 0 cancelled",
        "queued 0",
        "running 1",
    ];
    assert_eq!(words, life);
    say(&fourth, 0, "d", None).await;
    say(&fourth, 1, "e", event_seq(fourth.epoch, 1)).await;
    settle(&fourth, done(&fourth).next).await;
    let words: Vec<_> = told(&two, id, 0).await.into_iter().map(|(_, word)| word).collect();
    assert_eq!(words[..life.len()], life);
    assert_eq!(words[life.len()..], ["e", "succeeded 1"], "what was to be forgotten is");
    one.prune_events(at(5), 10).await.unwrap();
    assert_eq!(told(&two, id, 0).await.len(), life.len() - 2, "what was said is gone, what happened is not");
    assert_eq!(one.purge(at(9), 10).await.unwrap(), 1);
    assert_eq!(one.events(id, 0, 10).await.unwrap(), None);
    assert_eq!(server.sql("case0", "SELECT count(*) FROM events"), "0");
}

#[tokio::test]
async fn leases_follow_the_clock_of_the_database() {
    let server = PgServer::start(false);
    let store = PostgresStore::open(&server.database(), PostgresOptions { database_time: true, ..OPTIONS }).unwrap();
    store.enqueue(vec![submission(1)]).await.unwrap();
    let lease = Claim { lease_until: at(1) + Duration::from_secs(600), ..claim(node(1), 1) };
    assert_eq!(store.claim(lease).await.unwrap().len(), 1);
    // The caller's clock is years ahead; the lease still lasts ten minutes.
    let ahead = Rescue::Expired { now: at(i64::from(i32::MAX) * 1_000_000) };
    assert!(store.rescue(ahead).await.unwrap().requeued.is_empty());
}

#[tokio::test]
async fn what_cannot_be_claimed_is_not_where_claims_look() {
    const BLOCKED: i64 = 2_000;
    let server = PgServer::start(false);
    let store = PostgresStore::open(&server.database(), OPTIONS).unwrap();
    let delayed = |number| {
        let Submission { task, fingerprint, .. } = submission(number);
        Submission::new(Task { run_at: at(i64::MAX / 2), ..task }, fingerprint)
    };
    let behind_another = |number| {
        let Submission { task, fingerprint, .. } = submission(number);
        let context = Some(ContextId::new("talk").unwrap());
        Submission::new(Task { context, ..task }, fingerprint)
    };
    store.enqueue((0..BLOCKED).map(delayed).collect()).await.unwrap();
    store.enqueue((BLOCKED..BLOCKED + 100).map(behind_another).collect()).await.unwrap();
    store.enqueue((BLOCKED + 100..BLOCKED + 200).map(submission).collect()).await.unwrap();
    assert_eq!(
        server.sql("case0", "SELECT count(*) FROM live WHERE queue_key IS NOT NULL AND state = 1"),
        "101",
        "a hundred, and the first of the context"
    );
    let mut claimed = 0;
    loop {
        match store.claim(claim(node(1), 16)).await.unwrap().len() {
            0 => break,
            some => claimed += some,
        }
    }
    assert_eq!(
        (claimed, server.sql("case0", "SELECT count(*) FROM live WHERE queue_key IS NOT NULL AND state = 1").as_str()),
        (101, "0")
    );
}

#[tokio::test]
async fn one_node_at_a_time_vacuums_what_changes_with_every_task() {
    let server = PgServer::start(false);
    let url = server.database();
    let often = PostgresOptions { vacuum_every: Duration::from_millis(500), ..OPTIONS };
    let stores = [(); 3].map(|()| PostgresStore::open(&url, often).unwrap());
    stores[0].enqueue((0..100).map(submission).collect()).await.unwrap();
    assert_eq!(stores[1].claim(claim(node(1), 100)).await.unwrap().len(), 100);
    let vacuums = || {
        let sql = "SELECT pg_stat_force_next_flush(), COALESCE(sum(vacuum_count), 0) FROM pg_stat_user_tables \
                   WHERE relname = 'live'";
        server.sql("case0", sql).trim_start_matches('|').parse::<u32>().unwrap()
    };
    let begun = tokio::time::Instant::now();
    while vacuums() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} rounds only", vacuums());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // At most two turns are claimed in a period, however many nodes there are.
    let most = 2 * begun.elapsed().as_millis() / 500 + 2;
    assert!(u128::from(vacuums()) <= most, "{} rounds in {:?}", vacuums(), begun.elapsed());
    assert_eq!(server.sql("case0", "SELECT count(*) FROM live WHERE queue_key IS NOT NULL AND state = 1"), "0");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let server = PgServer::start(false);
    let url = server.database();
    drop(PostgresStore::open(&url, OPTIONS).unwrap());
    drop(PostgresStore::open(&url, OPTIONS).unwrap());
    server.sql("case0", "UPDATE meta SET version = 99");
    let refused = PostgresStore::open(&url, OPTIONS).unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { found: 99, .. }), "{refused}");
    assert_eq!(server.sql("case0", "SELECT version FROM meta"), "99");
}

#[tokio::test]
async fn contexts_of_version_1_are_read_after_the_schema_moved_on() {
    let server = PgServer::start(false);
    let url = server.database();
    let old = include_str!("../migrations/0001_tasks.sql");
    server.sql("case0", old);
    let meta = "CREATE TABLE IF NOT EXISTS meta (only_row int PRIMARY KEY CHECK (only_row = 1), version bigint NOT NULL, \
                beat bigint NOT NULL); INSERT INTO meta VALUES (1, 1, 0) ON CONFLICT (only_row) DO UPDATE SET version = 1";
    server.sql("case0", meta);
    server.sql(
        "case0",
        "INSERT INTO contexts (context, pool, name, version, size_bytes, items, updated_at) \
         VALUES (1, 'coder', 'chat', 2, 30, 3, 5); INSERT INTO frames VALUES (1, 1, '\\x00ff'), (1, 2, '\\x01')",
    );
    let store = PostgresStore::open(&url, OPTIONS).unwrap();
    let read = ContextRead::whole(pool(), ContextId::new("chat").unwrap());
    let stored = store.context(read).await.unwrap().unwrap();
    assert_eq!((stored.born, stored.version, stored.after, stored.items), (0, 2, 0, 3));
    assert_eq!((stored.frames, stored.pieces), (vec![vec![0, 255], vec![1]], vec![]));
    assert_eq!(server.sql("case0", "SELECT version > 1 FROM meta"), "t");
}

fn piece() -> SharedObject {
    SharedObject { kind: SharedObjectKind::Item, name: [1; 32], bytes: vec![7; 20_000].into() }
}

/// Runs tasks whose contexts all name one piece, and deletes the contexts at once.
async fn share_and_drop(store: &PostgresStore, number: i64, rounds: i64) {
    for round in 0..rounds {
        let mut new = submission(2 * round + number);
        new.task.context = Some(ContextId::new(format!("context-{number}")).unwrap());
        store.enqueue(vec![new]).await.unwrap();
        // It may be the other node's.
        let Some(task) = store.claim(claim(node(1), 1)).await.unwrap().pop() else { continue };
        let context = task.context.clone().unwrap();
        let begins = task.context_version == 0;
        let commit = ContextCommit {
            context: context.clone(),
            born: if begins { born_of(task.id) } else { task.context_born },
            parent_version: task.context_version,
            frame: vec![1],
            full: true,
            size_bytes: 1,
            items: 1,
            pieces: vec![piece()],
        };
        store.settle(vec![Settlement { context: Some(commit), ..done(&task) }]).await.unwrap().remove(0).unwrap();
        if let Some(stored) = store.context(ContextRead::whole(pool(), context.clone())).await.unwrap() {
            assert_eq!(stored.pieces, [piece()], "round {round} of {number}");
        }
        // Unless the next task of it waits already.
        drop(store.delete_context(pool(), context).await.unwrap());
    }
}

#[tokio::test]
async fn nodes_that_share_and_drop_a_piece_at_once_lose_none_and_leave_none() {
    let server = PgServer::start(false);
    let url = server.database();
    let [one, two] = [(); 2].map(|()| PostgresStore::open(&url, OPTIONS).unwrap());
    tokio::join!(share_and_drop(&one, 0, 100), share_and_drop(&two, 1, 100));
    assert_eq!(
        server.sql(
            "case0",
            "SELECT count(*) FROM shared_object_uses LEFT JOIN shared_objects USING (object) WHERE uses IS NULL"
        ),
        "0"
    );
    one.rescue(Rescue::AllBut { node: node(9), now: at(9) }).await.unwrap();
    for _ in 0..200 {
        let tasks = one.claim(claim(node(1), 9)).await.unwrap();
        one.settle(tasks.iter().map(done).collect()).await.unwrap();
    }
    for name in ["context-0", "context-1"] {
        drop(one.delete_context(pool(), ContextId::new(name).unwrap()).await.unwrap());
    }
    assert_eq!(server.sql("case0", "SELECT count(*) FROM contexts"), "0");
    assert_eq!(server.sql("case0", "SELECT count(*) FROM shared_objects"), "0");
}

#[tokio::test]
async fn nothing_accepted_is_lost_when_the_server_crashes() {
    let server = Arc::new(PgServer::start(true));
    let store = Arc::new(PostgresStore::open(&server.database(), OPTIONS).unwrap());
    let crash = Arc::clone(&server);
    let crash = tokio::task::spawn_blocking(move || crash.crash_and_restart());
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for number in 0..2_000 {
        match store.enqueue(vec![submission(number)]).await {
            Ok(_) => accepted.push(submission(number).task.id),
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                refused += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    crash.await.unwrap();
    let mut tries = 0;
    while let Err(error) = store.check().await {
        tries += 1;
        assert!(error.is_retryable() && tries < 200, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refused > 0 && !accepted.is_empty(), "{refused} refused, {} accepted", accepted.len());
    for id in accepted {
        assert!(store.task(id).await.unwrap().is_some(), "{id} was accepted and is lost");
    }
}

#[tokio::test]
async fn what_a_connection_broke_off_is_done_over_another_one() {
    let server = PgServer::start(false);
    let url = server.database();
    let store = Arc::new(PostgresStore::open(&url, OPTIONS).unwrap());
    drop(store.enqueue(vec![submission(0)]).await.unwrap());
    let (holder, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let id = submission(0).task.id;
    for round in 1..=3 {
        holder.batch_execute("BEGIN; LOCK TABLE live IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let reading = tokio::spawn(store.task(id));
        let writing = tokio::spawn(store.enqueue(vec![submission(round)]));
        // Both at once. What vacuums may wait for the same tables, in another mode.
        let end = "WITH w AS MATERIALIZED (SELECT pid FROM pg_locks WHERE NOT granted \
                   AND mode IN ('AccessShareLock', 'RowExclusiveLock')) \
                   SELECT pg_terminate_backend(pid) FROM w WHERE (SELECT count(*) FROM w) >= 2";
        let begun = tokio::time::Instant::now();
        while holder.query(end, &[]).await.unwrap().len() < 2 {
            assert!(begun.elapsed() < OPTIONS.call_timeout, "both wait for the tables");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        holder.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap().map(|task| task.id), Some(id));
        assert!(matches!(&writing.await.unwrap().unwrap()[..], [Ok(_)]), "it is stored once");
        assert_eq!(store.counts(pool()).await.unwrap().of(TaskState::Queued), round as u64 + 1);
    }
}

/// A server that logs statements ends a session during a commit only when it logs that commit: after it.
#[tokio::test]
async fn what_was_stored_when_the_session_ended_is_not_done_again() {
    const ROUNDS: i64 = 12;
    let slow = "commit_delay = 50000\ncommit_siblings = 0\nlog_min_duration_statement = 0";
    let server = PgServer::start_with(true, &[], slow);
    let url = server.database();
    let store = Arc::new(PostgresStore::open(&url, OPTIONS).unwrap());
    let (ender, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let fail = |task: &Task| {
        let error = Some(TaskError::new(ErrorKind::AgentError, "it failed"));
        Settlement { next: Next::Finish { state: TaskState::Failed, output: None, error }, ..done(task) }
    };
    let (mut done_once, mut unknown) = (0, 0);
    for round in 0..ROUNDS {
        let id = submission(round).task.id;
        drop(store.enqueue(vec![submission(round)]).await.unwrap());
        let tasks = store.claim(claim(node(1), 1)).await.unwrap();
        store.settle(tasks.iter().map(fail).collect()).await.unwrap();
        let redriving = tokio::spawn(store.retry(id, at(round)));
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'";
        // Bounded: a call that gets no answer is given up.
        while !redriving.is_finished() && ender.query(end, &[]).await.unwrap().is_empty() {}
        match redriving.await.unwrap() {
            Ok(Ok(_)) => done_once += 1,
            Err(StoreError::OutcomeUnknown { .. }) => unknown += 1,
            other => panic!("it may have been done, and is not done twice: {other:?}"),
        }
        assert_eq!(store.task(id).await.unwrap().map(|task| task.state), Some(TaskState::Queued));
        drop(store.cancel(id, at(round)).await.unwrap().unwrap());
    }
    assert!(unknown > 0, "sessions were ended during commits: {done_once} done, {unknown} unknown");
}

#[tokio::test]
async fn without_a_server_calls_fail_and_do_not_hang() {
    let server = PgServer::start(false);
    let store = PostgresStore::open(&server.database(), OPTIONS).unwrap();
    server.stop();
    for number in 0..5 {
        let call = tokio::time::timeout(Duration::from_secs(30), store.enqueue(vec![submission(number)]));
        assert!(call.await.expect("bounded").unwrap_err().is_retryable());
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    // Accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        // Ends when the store hangs up.
        stream.read_to_end(&mut heard).map(|_| heard.len())
    });
    let url = format!("postgres://forerunner@127.0.0.1:{port}/silent");
    let opening = tokio::task::spawn_blocking(move || PostgresStore::open(&url, OPTIONS).map(drop));
    let outcome = tokio::time::timeout(Duration::from_secs(30), opening).await.expect("bounded").unwrap();
    assert!(outcome.unwrap_err().is_retryable());
    assert!(silent.join().unwrap().unwrap() > 0);
}

#[tokio::test]
async fn silence_is_waited_for_once_also_by_those_who_come_meanwhile() {
    let server = PgServer::start(false);
    let (connect_timeout, call_timeout) = (Duration::from_secs(4), Duration::from_secs(5));
    let options = PostgresOptions { connect_timeout, call_timeout, ..OPTIONS };
    let store = Arc::new(PostgresStore::open(&server.database(), options).unwrap());
    drop(store.enqueue(vec![submission(0)]).await.unwrap());
    let hang = server.hang();
    let begun = tokio::time::Instant::now();
    let calls = (1..=5).map(|number| {
        let store = Arc::clone(&store);
        async move {
            tokio::time::sleep(Duration::from_millis(100 * number as u64)).await;
            store.enqueue(vec![submission(number)]).await
        }
    });
    let calls: Vec<_> = calls.map(tokio::spawn).collect();
    for call in calls {
        assert!(call.await.unwrap().unwrap_err().is_retryable());
    }
    let took = begun.elapsed();
    assert!(took < connect_timeout + call_timeout, "a connection that is silent is not followed by another: {took:?}");
    drop(hang);
    let mut tries = 0;
    while let Err(error) = store.enqueue(vec![submission(0)]).await {
        tries += 1;
        assert!(error.is_retryable() && tries < 200, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
