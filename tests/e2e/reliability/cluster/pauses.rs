//! B1: a node hangs for longer than its lease and then goes on: what it did meanwhile counts for nothing.

use std::time::Duration;

use forerunner_e2e::{Client, Counts, History, Nodes, PgServer, Seeded, count, eventually, holds};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::rig::{self, LEASE, RESCUED, SOON, Times};

/// Tasks that the node has when it hangs.
const TASKS: u64 = 4;

/// What came of the pauses of one cluster.
struct Outcome {
    counts: Counts,
    /// Late results that were refused.
    refused: u64,
    /// Times from going on until nothing of before was worked on.
    told: Vec<Duration>,
}

#[actix_rt::test]
async fn a_node_that_hangs_for_longer_than_its_lease_settles_nothing() {
    // A pause is a wait for most of it, so several clusters are paused side by side.
    let (rounds, clusters) = (count(1, 100), count(1, 10));
    let outcomes = join_all((0..clusters).map(|cluster| one_cluster(cluster, rounds / clusters))).await;
    let counts: Counts = outcomes.iter().map(|outcome| outcome.counts).sum();
    assert_eq!(counts.succeeded as u64, rounds * TASKS);
    let refused: u64 = outcomes.iter().map(|outcome| outcome.refused).sum();
    let told = Times(outcomes.into_iter().flat_map(|outcome| outcome.told).collect());
    println!(
        "B1: {rounds} pauses in {clusters} clusters, {counts:?}, {refused} late results refused; nothing of before is \
         worked on after {told}"
    );
}

/// Two nodes on a database of their own, one of which hangs again and again.
async fn one_cluster(seed: u64, rounds: u64) -> Outcome {
    let server = PgServer::start(false);
    let nodes = rig::start(&server.database(), 2, TASKS as u32).await;
    let mut history = History::of(nodes.site(0));
    let mut chance = Seeded::new(0xb1 + seed);
    let (mut refused, mut told) = (0, Vec::new());
    for round in 0..rounds {
        let (late, after) = one_pause(&nodes, &mut history, round, &mut chance).await;
        refused += late;
        told.push(after);
    }
    history.take(&nodes.effects(), rig::CLUSTER);
    Outcome { counts: history.check(), refused, told }
}

/// Lets a node hang for a lease and up to two more; answers how many late results were refused, and how long after it went
/// on nothing of before was worked on.
async fn one_pause(nodes: &Nodes, history: &mut History, round: u64, chance: &mut Seeded) -> (u64, Duration) {
    let (other, hung) = (nodes.node(0).client(), nodes.node(1).client());
    let before = lost(&hung).await;
    // Long enough to be running still when its lease has ended and it goes on.
    let tasks = join_all((0..TASKS).map(|_| hung.submit("work", json!({ "service_s": 1.0 })))).await;
    for (number, task) in tasks.iter().enumerate() {
        history.acked(&format!("{round}-{number}"), task);
    }
    eventually("the node is at work", SOON, async || {
        holds(hung.get("/v1/pools/work").await["running"].as_u64() > Some(0))
    })
    .await;
    nodes.pause(1);
    let pause = LEASE + Duration::from_millis(2_000 + chance.below(count(1_000, 28_000)));
    tokio::time::sleep(pause).await;
    eventually("the other has done it all", RESCUED, async || {
        holds(other.tasks("pool=work").await.iter().all(|task| !task["finished_at"].is_null()))
    })
    .await;
    nodes.resume(1);
    let resumed = Instant::now();
    eventually("it works on nothing of before", SOON, async || holds(hung.get("/v1/pools/work").await["running"] == 0))
        .await;
    let told = resumed.elapsed();
    eventually("it is one of them again", RESCUED, async || holds(rig::sizes(&other).await.len() == 2)).await;
    for task in &tasks {
        let task = other.get(format!("/v1/tasks/{task}")).await;
        assert_eq!(task["state"], "succeeded", "{task}");
        history.saw(&task);
    }
    (lost(&hung).await - before, told)
}

/// Results that a node was told to throw away.
async fn lost(client: &Client) -> u64 {
    client.metric("forerunner_leases_lost_total").await as u64
}
