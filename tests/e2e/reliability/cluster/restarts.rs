//! D13: nodes are restarted one after the other under load, as an upgrade does.

use std::time::Duration;

use forerunner_e2e::{History, Nodes, PgServer, count, eventually, holds};
use serde_json::json;
use tokio::time::Instant;

use super::{
    super::load::Load,
    rig::{self, SOON, Times},
};

const NODES: usize = 3;
const AGENTS: u32 = 6;
const CONNECTIONS: u64 = 6;
/// Tasks submitted in each restart.
const TASKS: u64 = 60;

#[actix_rt::test]
async fn a_rolling_restart_fails_nothing_and_cuts_nothing_short() {
    let rounds = count(1, 50);
    let server = PgServer::start(false);
    let mut nodes = rig::start(&server.database(), NODES, AGENTS).await;
    let load = Load::on(nodes.clients(), History::of(nodes.site(0)));
    let mut exits = Vec::new();
    for restart in 0..rounds * NODES as u64 {
        let node = restart as usize % NODES;
        let submitting = load.submit_all(CONNECTIONS, TASKS * (restart + 1), 0.05);
        let (exit, ()) = futures_util::join!(roll(&mut nodes, &load, node), submitting);
        exits.push(exit);
    }
    rig::note_depths(&nodes, &load).await;
    let tasks = load.see_all_ended(SOON * count(1, 5) as u32).await;
    let counts = rig::judge(nodes, &load, AGENTS).await;
    assert_eq!(counts.succeeded as u64, TASKS * rounds * NODES as u64 + rig::WAITING);
    let cut: Vec<_> = tasks.iter().filter(|task| task["attempt"] != json!(1) || !task["crashes"].is_null()).collect();
    assert!(cut.is_empty(), "attempts were cut short: {cut:?}");
    println!(
        "D13: {} restarts of {NODES} nodes, {counts:?}, {} submissions repeated; gone after {}",
        exits.len(),
        load.repeated.get(),
        Times(exits),
    );
}

/// Stops a node, starts it again, and waits until the others list it.
async fn roll(nodes: &mut Nodes, load: &Load, node: usize) -> Duration {
    let service = nodes.take(node);
    let begun = Instant::now();
    // Clients still turn to it: a proxy would learn only from its refusals.
    assert_eq!(service.stop(SOON).await, 0);
    let exit = begun.elapsed();
    load.turn_to_all(nodes.clients());
    nodes.restart(node).await;
    let clients = nodes.clients();
    eventually("it is one of them again", SOON, async || holds(rig::sizes(&clients[0]).await.len() == NODES)).await;
    load.turn_to_all(clients);
    exit
}
