//! B1 and B5: the leader hangs for longer than its lease and then continues. Its results from that time are rejected,
//! and another node leads.

use std::time::Duration;

use forerunner_e2e::{Client, Counts, History, Nodes, PgServer, Seeded, count, eventually, holds};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::rig::{self, LEASE, RESCUED, SOON, Times};

/// Agents of both nodes together, and how many tasks are submitted at once.
const TASKS: u64 = 4;
/// Seconds of a task: long enough to be running when its lease has ended and its node continues.
const LONG_S: f64 = 1.0;

/// The result of the pauses of one cluster.
#[derive(Default)]
struct Outcome {
    counts: Counts,
    submitted: usize,
    /// Late results that were refused.
    refused: u64,
    /// Times from the continuation until no earlier task runs any more.
    told: Vec<Duration>,
    /// Times from the beginning of a pause until another node led.
    leaders: Vec<Duration>,
}

#[actix_rt::test]
async fn a_node_that_hangs_for_longer_than_its_lease_settles_nothing() {
    // A pause is a wait for most of it, so several clusters are paused side by side.
    let (rounds, clusters) = (count(1, 100), count(1, 10));
    let outcomes = join_all((0..clusters).map(|cluster| one_cluster(cluster, rounds / clusters))).await;
    let counts: Counts = outcomes.iter().map(|outcome| outcome.counts).sum();
    assert_eq!(counts.succeeded, outcomes.iter().map(|outcome| outcome.submitted).sum::<usize>());
    let refused: u64 = outcomes.iter().map(|outcome| outcome.refused).sum();
    let (told, leaders): (Vec<_>, Vec<_>) = outcomes.into_iter().map(|outcome| (outcome.told, outcome.leaders)).unzip();
    let (told, leaders) = (Times(told.concat()), Times(leaders.concat()));
    println!(
        "B1: {rounds} pauses of the leader in {clusters} clusters, {counts:?}, {refused} late results refused; nothing of \
         before is worked on after {told}; B5: another leads after {leaders}"
    );
    assert!(leaders.share(0.5) <= LEASE, "well within a lease: {leaders}");
}

/// Two nodes on their own database, whose leader hangs repeatedly.
async fn one_cluster(seed: u64, rounds: u64) -> Outcome {
    let server = PgServer::start(false);
    let nodes = rig::start(&server.database(), 2, TASKS as u32).await;
    let mut history = History::of(nodes.site(0));
    let mut chance = Seeded::new(0xb1 + seed);
    let mut outcome = Outcome::default();
    for round in 0..rounds {
        one_pause(&nodes, &mut history, round, &mut chance, &mut outcome).await;
    }
    history.take(&nodes.effects(), rig::CLUSTER);
    Outcome { counts: history.check(), ..outcome }
}

/// Lets the leader hang for a lease and up to two more.
async fn one_pause(nodes: &Nodes, history: &mut History, round: u64, chance: &mut Seeded, outcome: &mut Outcome) {
    let leader = eventually("somebody leads", SOON, async || rig::leader(&nodes.node(0).client()).await).await;
    let victim = usize::from(rig::id(&nodes.node(1).client()).await == leader);
    let (other, hung) = (nodes.node(1 - victim).client(), nodes.node(victim).client());
    let before = lost(&hung).await;
    let tasks = at_work(&hung).await;
    for (number, task) in tasks.iter().enumerate() {
        history.acked(&format!("{round}-{number}"), task);
    }
    outcome.submitted += tasks.len();
    nodes.pause(victim);
    let paused = Instant::now();
    eventually("another node leads", RESCUED, async || rig::leader(&other).await.filter(|leads| *leads != leader))
        .await;
    outcome.leaders.push(paused.elapsed());
    let pause = LEASE + Duration::from_millis(2_000 + chance.below(count(1_000, 28_000)));
    tokio::time::sleep(pause.saturating_sub(paused.elapsed())).await;
    eventually("the other has done it all", RESCUED, async || {
        holds(other.tasks("pool=work").await.iter().all(|task| !task["finished_at"].is_null()))
    })
    .await;
    nodes.resume(victim);
    let resumed = Instant::now();
    eventually("it works on nothing of before", SOON, async || holds(hung.get("/v1/pools/work").await["running"] == 0))
        .await;
    outcome.told.push(resumed.elapsed());
    rig::balanced(&other, 2, TASKS as u32).await;
    for task in &tasks {
        let task = other.get(format!("/v1/tasks/{task}")).await;
        assert_eq!(task["state"], "succeeded", "{task}");
        history.saw(&task);
    }
    outcome.refused += lost(&hung).await - before;
}

/// Submits until the node works on a task. On a busy machine the other node may have run all before the check.
async fn at_work(node: &Client) -> Vec<String> {
    let (mut tasks, begun) = (Vec::new(), Instant::now());
    loop {
        tasks.extend(join_all((0..TASKS).map(|_| node.submit("work", json!({ "service_s": LONG_S })))).await);
        let submitted = Instant::now();
        while submitted.elapsed().as_secs_f64() < LONG_S {
            if node.get("/v1/pools/work").await["running"].as_u64() > Some(0) {
                return tasks;
            }
            assert!(begun.elapsed() < SOON, "the node is at work on none of {tasks:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Number of results that a node had to discard.
async fn lost(client: &Client) -> u64 {
    client.metric("forerunner_leases_lost_total").await as u64
}
