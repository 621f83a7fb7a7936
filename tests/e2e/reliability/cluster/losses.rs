//! B4: the way to the database breaks again and again, for a third of the time.

use std::{cell::Cell, time::Duration};

use forerunner_e2e::{Client, History, PgServer, Proxy, Seeded, count};
use futures_util::future::join_all;

use super::{
    super::load::Load,
    rig::{self, RESCUED},
};

const NODES: usize = 3;
const AGENTS: u32 = 6;
const CONNECTIONS: u64 = 6;
/// In each of these spans a way is open or cut.
const SPAN: Duration = Duration::from_millis(400);
/// How many of a hundred spans it is cut in.
const CUT: u64 = 30;

#[actix_rt::test]
async fn ways_that_break_for_a_third_of_the_time_neither_move_tasks_nor_the_lead() {
    let tasks = count(1_000, 5_000);
    let server = PgServer::start(false);
    let url = server.database();
    let ways = join_all((0..NODES).map(|_| rig::way(&url))).await;
    let (proxies, ways): (Vec<_>, Vec<_>) = ways.into_iter().unzip();
    let nodes = rig::start_each(ways, AGENTS).await;
    let load = Load::on(nodes.clients(), History::of(nodes.site(0)));
    let changes = lead_changes(&nodes.clients()).await;
    let is_over = Cell::new(false);
    let working = async {
        load.submit_all(CONNECTIONS, tasks, 0.02).await;
        is_over.set(true);
    };
    let breaking = join_all(proxies.iter().enumerate().map(|(seed, proxy)| break_often(proxy, seed as u64, &is_over)));
    let ((), spans) = futures_util::join!(working, breaking);
    let (spans, cut) = spans.into_iter().fold((0, 0), |(spans, cut), one| (spans + one.0, cut + one.1));
    let changes = lead_changes(&nodes.clients()).await - changes;
    load.see_all_ended(RESCUED * 5).await;
    let alive = rig::sizes(&nodes.node(0).client()).await.len();
    let counts = rig::judge(nodes, &load, AGENTS).await;
    assert_eq!(counts.succeeded as u64, tasks);
    let again = counts.runs - counts.succeeded;
    println!(
        "B4: ways cut in {cut} of {spans} spans of {SPAN:?}, {counts:?}, {again} run again, {} submissions repeated; \
         {changes} changes of the lead",
        load.repeated.get(),
    );
    assert!(again as u64 * 1_000 <= tasks, "{again} of {tasks} were run again");
    assert_eq!((changes, alive), (0, NODES), "nobody was taken for dead");
}

/// Cuts a way and mends it until all is over; answers how many spans there were, and in how many it was cut.
async fn break_often(proxy: &Proxy, seed: u64, is_over: &Cell<bool>) -> (u64, u64) {
    let mut chance = Seeded::new(0xb4 + seed);
    let (mut spans, mut cut) = (0, 0);
    while !is_over.get() {
        spans += 1;
        if chance.below(100) < CUT {
            cut += 1;
            proxy.cut();
        } else {
            proxy.resume();
        }
        tokio::time::sleep(SPAN).await;
    }
    proxy.resume();
    (spans, cut)
}

async fn lead_changes(clients: &[Client]) -> u64 {
    let changes = join_all(clients.iter().map(|client| client.metric("forerunner_leader_changes_total"))).await;
    changes.iter().sum::<f64>() as u64
}
