//! Nodes on a PostgreSQL of their own.

use std::{net::SocketAddr, time::Duration};

use forerunner_e2e::{Call, Client, Counts, Event, Nodes, Pool, Proxy, eventually, holds};
use serde_json::Value;
use tokio::time::Instant;

use super::super::load::Load;

/// Longest time for what needs no lease to end.
pub const SOON: Duration = Duration::from_secs(60);
/// How long a lease lasts.
pub const LEASE: Duration = Duration::from_secs(15);
/// Longest time until what a lost node had runs elsewhere, with what a busy machine adds.
pub const RESCUED: Duration = Duration::from_secs(60);

/// The name of all nodes in a history: their agents write into one file, which does not distinguish the nodes.
pub const CLUSTER: &str = "cluster";

/// Settings under which chance alone kills no task: a task may be hit by several faults.
pub const HARDY: &str = "task.max_crashes = 20\ntask.max_attempts = 60\ntask.retry_initial = \"20ms\"";

/// Starts nodes with a pool of so many writing agents in all, a multiple of the nodes.
pub async fn start(store: &str, count: usize, agents: u32) -> Nodes {
    start_each(vec![store.to_owned(); count], agents).await
}

/// The same, each node on its own way to the store.
pub async fn start_each(stores: Vec<String>, agents: u32) -> Nodes {
    let pool = |effects: &_| vec![Pool::writing("work", effects).fixed(agents).set(HARDY)];
    let count = stores.len();
    let nodes = Nodes::start_each(stores, "log.level = \"error\"", pool).await;
    balanced(&nodes.node(0).client(), count, agents).await;
    nodes
}

/// Waits until all nodes list each other and have their share of the agents.
pub async fn balanced(client: &Client, count: usize, agents: u32) {
    let each = u64::from(agents) / count as u64;
    eventually("all nodes have their share of the agents", RESCUED, async || {
        holds(sizes(client).await == vec![each; count])
    })
    .await;
}

/// Tasks that are submitted to check the depth of the queue.
pub const WAITING: u64 = 25;

/// Records what each node shows as the depth of the paused queue, and the number of rows.
pub async fn note_depths(nodes: &Nodes, load: &Load) {
    let clients = nodes.clients();
    let _ = clients[0].ask(Call::new("POST", "/v1/pools/work:pause")).await.expect(200);
    load.submit_waiting(WAITING).await;
    let mut shown = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        let rows = clients[0].tasks("pool=work&state=queued").await.len() as u64;
        shown.clear();
        for client in &clients {
            shown.push((client.metric("forerunner_queue_depth").await as u64, rows));
        }
        if rows >= WAITING && shown.iter().all(|(depth, rows)| depth == rows) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (metric, rows) in shown {
        load.history.borrow_mut().note(Event::Depth { pool: "work".to_owned(), metric, rows });
    }
    let _ = clients[0].ask(Call::new("POST", "/v1/pools/work:resume")).await.expect(200);
}

/// Stops all nodes and checks the history against the invariants; at most `agents` may work at once.
pub async fn judge(mut nodes: Nodes, load: &Load, agents: u32) -> Counts {
    for node in (0..nodes.count()).filter(|node| nodes.lives(*node)).collect::<Vec<_>>() {
        assert_eq!(nodes.take(node).stop(SOON).await, 0);
    }
    let mut history = load.history.borrow_mut();
    history.take(&nodes.effects(), CLUSTER);
    for node in 0..nodes.count() {
        history.orphans(nodes.site(node));
    }
    history.count_running("work", agents.into());
    history.check()
}

/// The number of agents on each node, from one of them.
pub async fn sizes(client: &Client) -> Vec<u64> {
    let answer = client.get("/v1/nodes").await;
    let held = |node: &Value| {
        let count = |state: &str| node["pools"]["work"][state].as_u64().unwrap_or_default();
        count("starting") + count("ready") + count("busy")
    };
    answer["nodes"].as_array().expect("a list").iter().map(held).collect()
}

/// The id of the leader, from another node.
pub async fn leader(client: &Client) -> Option<String> {
    let answer = client.get("/v1/nodes").await;
    let leads: Vec<&Value> =
        answer["nodes"].as_array().expect("a list").iter().filter(|node| node["leads"] == true).collect();
    assert!(leads.len() <= 1, "one leads at most: {answer}");
    leads.first().and_then(|node| node["id"].as_str()).map(str::to_owned)
}

/// The id of a node.
pub async fn id(client: &Client) -> String {
    let answer = client.get("/v1/nodes").await;
    let this = answer["nodes"].as_array().expect("a list").iter().find(|node| node["this"] == true);
    this.and_then(|node| node["id"].as_str()).expect("a node knows itself").to_owned()
}

/// A way to the server of a database that can be broken, and the address of the database on it.
pub async fn way(url: &str) -> (Proxy, String) {
    let (start, rest) = url.split_once('@').expect("an address names a user");
    let (host, database) = rest.split_once('/').expect("an address names a database");
    let proxy = Proxy::to(host.parse::<SocketAddr>().expect("an address names a port")).await;
    let through = format!("{start}@{}/{database}", proxy.address());
    (proxy, through)
}

/// Durations, for people.
pub struct Times(pub Vec<Duration>);

impl Times {
    /// The value that this share of them does not exceed; zero if there are none.
    pub fn share(&self, share: f64) -> Duration {
        let mut times = self.0.clone();
        times.sort_unstable();
        let place = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1));
        times.get(place - 1).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.0.len();
        write!(f, "p50 {:.2?}, p99 {:.2?}, most {:.2?}, of {count}", self.share(0.5), self.share(0.99), self.share(1.0))
    }
}
