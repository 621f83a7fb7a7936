//! G2: the model provider of all agents is down, and three nodes share one circuit.

use std::time::Duration;

use forerunner_e2e::{Nodes, PgServer, count, eventually};
use tokio::time::sleep;

use super::{
    super::outage::{Outage, SOON, judge, load, pool},
    rig,
};

/// How long after the last node opened its circuit probes are counted.
const PROBED: Duration = Duration::from_secs(10);
/// Probes of all nodes in that time: three of one node, and a few that two nodes made at once.
const MOST_PROBES: usize = 7;

#[actix_rt::test]
async fn three_nodes_share_one_outage() {
    let (server, seconds) = (PgServer::start(false), count(8, 45));
    let down = |nodes: &Nodes| nodes.site(0).path("provider.down");
    let nodes = Nodes::start(&server.database(), 3, "log.level = \"error\"", |effects| {
        vec![pool(&effects.path().with_file_name("provider.down")).fixed(9)]
    })
    .await;
    let clients = nodes.clients();
    rig::balanced(&clients[0], 3, 9).await;
    let mut tasks = Vec::new();
    load(&clients, Duration::from_secs(5), &mut tasks).await;
    let outage = Outage::begin(&down(&nodes));
    load(&clients, Duration::from_secs(seconds), &mut tasks).await;
    for client in &clients {
        eventually("each node has opened its circuit", SOON, async || {
            let pool = client.get("/v1/pools/work").await;
            (pool["dependency"]["state"] != "closed").then_some(())
        })
        .await;
    }
    sleep(Duration::from_secs(5)).await;
    let before = outage.failures();
    sleep(PROBED).await;
    let probes = outage.failures() - before;
    assert!((1..=MOST_PROBES).contains(&probes), "{probes} probes in {PROBED:?} on all nodes");
    let ended_s = outage.end();
    load(&clients, Duration::from_secs(5), &mut tasks).await;
    let first_s = judge(&clients[0], &tasks, ended_s).await;
    for client in &clients {
        let pool = client.get("/v1/pools/work").await;
        assert_ne!(pool["state"], "dependency_open", "{pool}");
    }
    println!(
        "G2: three nodes, {} tasks, {probes} probes in {PROBED:?}, first success after {first_s:.1} s",
        tasks.len()
    );
    for node in 0..nodes.count() {
        let client = nodes.node(node).client();
        assert_eq!(client.tasks("pool=work&state=dead").await.len(), 0);
    }
}
