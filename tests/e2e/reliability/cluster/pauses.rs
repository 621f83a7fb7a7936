//! B1: a node hangs for longer than its lease and then goes on: what it did meanwhile counts for nothing.

use std::time::Duration;

use forerunner_e2e::{Client, History, PgServer, Seeded, count, eventually, holds};
use futures_util::future::join_all;
use serde_json::json;

use super::rig::{self, LEASE, RESCUED, SOON};

#[actix_rt::test]
async fn a_node_that_hangs_for_longer_than_its_lease_settles_nothing() {
    let rounds = count(1, 100);
    let server = PgServer::start(false);
    let nodes = rig::start(&server.database(), 2, 4).await;
    let mut history = History::of(nodes.site(0));
    let mut chance = Seeded::new(0xb1);
    let (mut refused, mut acknowledged) = (0, 0_u64);
    for round in 0..rounds {
        let (other, hung) = (nodes.node(0).client(), nodes.node(1).client());
        let before = lost(&hung).await;
        // Long enough to be running still when its lease has ended and it goes on.
        let tasks = join_all((0..4).map(|_| hung.submit("work", json!({ "service_s": 1.0 })))).await;
        for (number, task) in tasks.iter().enumerate() {
            history.acked(&format!("{round}-{number}"), task);
        }
        acknowledged += tasks.len() as u64;
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
        eventually("it is one of them again", RESCUED, async || holds(rig::sizes(&other).await.len() == 2)).await;
        eventually("it works on nothing of before", SOON, async || {
            holds(hung.get("/v1/pools/work").await["running"] == 0)
        })
        .await;
        refused += lost(&hung).await - before;
        for task in &tasks {
            let task = other.get(format!("/v1/tasks/{task}")).await;
            assert_eq!(task["state"], "succeeded", "{task}");
            history.saw(&task);
        }
    }
    history.take(&nodes.effects(), rig::CLUSTER);
    let counts = history.check();
    assert_eq!(counts.succeeded as u64, acknowledged);
    println!("B1: {rounds} pauses, {counts:?}, {refused} late results refused");
}

/// Results that a node was told to throw away.
async fn lost(client: &Client) -> u64 {
    let metrics = client.get("/metrics").await;
    let text = metrics.as_str().unwrap_or_default();
    let values = text.lines().filter(|line| line.starts_with("forerunner_leases_lost_total"));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}
