//! Several nodes on one PostgreSQL: any of them answers for all, all have one pool together, and one may be killed.

use std::{collections::BTreeSet, time::Duration};

use forerunner_e2e::{Nodes, PgServer, Pool, eventually, holds};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// A lease lasts 15 s; the tasks of a dead node are rescued after its end, and then run.
const RESCUED: Duration = Duration::from_secs(60);
const AGENTS: u64 = 6;

async fn start(server: &PgServer, count: usize) -> Nodes {
    let pool = |effects: &_| vec![Pool::writing("work", effects).fixed(AGENTS as u32)];
    Nodes::start(&server.database(), count, "log.level = \"error\"", pool).await
}

/// The agents of a pool on each node, from one of them.
async fn agents(nodes: &Nodes, asked: usize) -> Vec<u64> {
    let answer = nodes.node(asked).client().get("/v1/nodes").await;
    let held = |node: &Value| {
        let count = |state: &str| node["pools"]["work"][state].as_u64().unwrap_or_default();
        count("starting") + count("ready") + count("busy")
    };
    answer["nodes"].as_array().expect("a list").iter().map(held).collect()
}

#[actix_rt::test]
async fn two_nodes_hold_one_pool_and_either_answers_for_both() {
    let server = PgServer::start(false);
    let nodes = start(&server, 2).await;
    eventually("each has half of the agents", SOON, async || holds(agents(&nodes, 0).await == [AGENTS / 2; 2])).await;
    let leaders = nodes.node(1).client().get("/v1/nodes").await;
    let leads = leaders["nodes"].as_array().expect("a list").iter().filter(|node| node["leads"] == true);
    assert_eq!(leads.count(), 1, "{leaders}");
    let mut tasks = Vec::new();
    for number in 0..60 {
        tasks.push(nodes.node(number % 2).client().submit("work", json!(number)).await);
    }
    let mut ran_on = BTreeSet::new();
    for (number, task) in tasks.iter().enumerate() {
        let ended = nodes.node((number + 1) % 2).client().ended(task).await;
        assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(1)), "{ended}");
        ran_on.insert(ended["agent"].to_string());
    }
    for node in 0..2 {
        let own = nodes.node(node).client().get("/v1/pools/work/agents").await;
        let worked =
            own["agents"].as_array().expect("a list").iter().any(|one| ran_on.contains(&one["id"].to_string()));
        assert!(worked, "agents of node {node} work as well: {ran_on:?} of {own}");
    }
    assert_eq!(nodes.effects().read().len(), tasks.len(), "each ran once");
}

#[actix_rt::test]
async fn a_node_that_is_killed_loses_no_task_and_the_other_takes_its_agents_over() {
    let server = PgServer::start(false);
    let mut nodes = start(&server, 2).await;
    eventually("each has half of the agents", SOON, async || holds(agents(&nodes, 1).await == [AGENTS / 2; 2])).await;
    let mut tasks = Vec::new();
    for number in 0..60 {
        tasks.push(nodes.node(number % 2).client().submit("work", json!(number)).await);
    }
    nodes.kill(0);
    let client = nodes.node(1).client();
    for task in client.settled("work", RESCUED).await {
        assert_eq!(task["state"], "succeeded", "{task}");
    }
    for task in &tasks {
        assert_eq!(client.get(format!("/v1/tasks/{task}")).await["state"], "succeeded", "what was accepted is done");
    }
    eventually("one node has all agents", RESCUED, async || holds(agents(&nodes, 1).await == [AGENTS])).await;
    nodes.restart(0).await;
    eventually("they share again", RESCUED, async || holds(agents(&nodes, 0).await == [AGENTS / 2; 2])).await;
    assert_eq!(nodes.take(1).stop(SOON).await, 0);
    eventually("a node that leaves is not waited for", SOON, async || holds(agents(&nodes, 0).await == [AGENTS])).await;
}
