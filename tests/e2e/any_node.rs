//! Several nodes on one PostgreSQL: a call to one of them applies to all.

use std::time::Duration;

use forerunner_e2e::{Answer, Call, Nodes, PgServer, Pool, eventually, holds};
use serde_json::{Value, json};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(30);
const AGENTS: u64 = 2;

/// Two nodes with an agent each.
async fn start(server: &PgServer) -> Nodes {
    let pool = |_: &_| vec![Pool::builtin("work").fixed(AGENTS as u32).set("patch_max = 9")];
    let nodes = Nodes::start(&server.database(), 2, "log.level = \"error\"", pool).await;
    eventually("each has an agent", SOON, async || holds(ready(&nodes, 0).await == 1 && ready(&nodes, 1).await == 1))
        .await;
    nodes
}

/// The number of ready agents of a node.
async fn ready(nodes: &Nodes, node: usize) -> usize {
    let own = nodes.node(node).client().get("/v1/pools/work/agents").await;
    let agents = own["agents"].as_array().expect("a list");
    agents.iter().filter(|agent| agent["state"] == "ready" || agent["state"] == "busy").count()
}

/// Whether a node runs a task.
async fn runs(nodes: &Nodes, node: usize, task: &str) -> bool {
    let own = nodes.node(node).client().get("/v1/pools/work/agents").await;
    own["agents"].as_array().expect("a list").iter().any(|agent| agent["task"] == task)
}

/// Starts a long task on each node. Returns their ids, in the order of the nodes.
async fn one_on_each(nodes: &Nodes) -> [String; 2] {
    let input = json!({ "service_s": 120 });
    let client = nodes.node(0).client();
    let tasks = [client.submit("work", input.clone()).await, client.submit("work", input).await];
    let mut first_runs_on = 0;
    eventually("each node runs one", SOON, async || {
        for (node, other) in [(0, 1), (1, 0)] {
            if runs(nodes, node, &tasks[0]).await && runs(nodes, other, &tasks[1]).await {
                first_runs_on = node;
                return Some(());
            }
        }
        None
    })
    .await;
    let [one, two] = tasks;
    if first_runs_on == 0 { [one, two] } else { [two, one] }
}

async fn cancel(nodes: &Nodes, node: usize, task: &str) -> Answer {
    nodes.node(node).client().ask(Call::new("POST", format!("/v1/tasks/{task}:cancel"))).await
}

#[actix_rt::test]
async fn a_task_is_cancelled_through_any_node_wherever_it_runs_or_waits() {
    let server = PgServer::start(false);
    let nodes = start(&server).await;
    let running = one_on_each(&nodes).await;
    let waiting = nodes.node(0).client().submit("work", json!({})).await;
    assert_eq!(cancel(&nodes, 1, &waiting).await.expect(200)["state"], "cancelled", "it waited: done at once");
    for (task, through) in running.iter().zip([1, 0]) {
        let begun = Instant::now();
        assert_eq!(cancel(&nodes, through, task).await.expect(202)["state"], "running");
        let ended = nodes.node(through).client().ended(task).await;
        println!("cancelled on the other node, heard of here after {:.0?}", begun.elapsed());
        assert_eq!((&ended["state"], &ended["error"]["kind"]), (&json!("cancelled"), &json!("cancelled")), "{ended}");
        assert_eq!(ended["attempt"], 1, "it is not tried again");
        let again = cancel(&nodes, 1 - through, task).await.expect(200);
        assert_eq!(again["finished_at"], ended["finished_at"], "it ends once");
    }
    let next = nodes.node(0).client().submit("work", json!({})).await;
    assert_eq!(nodes.node(1).client().ended(&next).await["state"], "succeeded", "the agents are free again");
}

#[actix_rt::test]
async fn a_task_that_was_cancelled_is_not_run_again_when_its_node_is_gone() {
    let server = PgServer::start(false);
    let mut nodes = start(&server).await;
    let [_, task] = one_on_each(&nodes).await;
    nodes.pause(1);
    assert_eq!(cancel(&nodes, 0, &task).await.expect(202)["state"], "running");
    nodes.kill(1);
    let ended = nodes.node(0).client().ended(&task).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("cancelled"), &json!(1)), "{ended}");
}

#[actix_rt::test]
async fn whoever_waits_is_told_at_once_what_ended_on_another_node() {
    const TASKS: usize = 20;
    let server = PgServer::start(false);
    let nodes = start(&server).await;
    let mut delays = Vec::new();
    for number in 0..TASKS {
        let task = nodes.node(number % 2).client().submit("work", json!({ "service_s": 0.3 })).await;
        let node = eventually("it runs", SOON, async || match runs(&nodes, 0, &task).await {
            true => Some(0),
            false => runs(&nodes, 1, &task).await.then_some(1),
        })
        .await;
        let begun = Instant::now();
        let ended = nodes.node(1 - node).client().ended(&task).await;
        assert_eq!(ended["state"], "succeeded");
        delays.push(begun.elapsed().saturating_sub(Duration::from_millis(300)));
    }
    delays.sort_unstable();
    let (median, last) = (delays[TASKS / 2], delays[TASKS - 1]);
    println!("results of the other node, after the end of the task: {median:.1?} (median), {last:.1?} at most");
    // Without a notification a node polls once a second.
    assert!(median < Duration::from_millis(200), "{delays:?}");
}

async fn pool(nodes: &Nodes, node: usize) -> Value {
    nodes.node(node).client().get("/v1/pools/work").await
}

#[actix_rt::test]
async fn what_is_set_through_one_node_holds_on_all_and_after_a_restart() {
    let server = PgServer::start(false);
    let mut nodes = start(&server).await;
    let patch = json!({ "min": 1, "max": 7, "mode": "advise" });
    let patched = nodes.node(0).client().ask(Call::new("PATCH", "/v1/pools/work").json(&patch)).await.expect(200);
    assert_eq!((&patched["max"], &patched["mode"]), (&json!(7), &json!("advise")));
    let is_set = |pool: &Value| pool["min"] == 1 && pool["max"] == 7 && pool["mode"] == "advise";
    eventually("it holds on the other node", SOON, async || holds(is_set(&pool(&nodes, 1).await))).await;
    nodes.node(1).client().ask(Call::new("POST", "/v1/pools/work:pause")).await.expect(200);
    eventually("both pause", SOON, async || holds(pool(&nodes, 0).await["state"] == "paused")).await;
    assert!(is_set(&pool(&nodes, 0).await), "pausing changes nothing else");
    let task = nodes.node(0).client().submit("work", json!({})).await;
    for node in 0..2 {
        nodes.restart(node).await;
        let found = pool(&nodes, node).await;
        assert!(is_set(&found) && found["state"] == "paused", "after a restart of node {node}: {found}");
    }
    assert_eq!(nodes.node(0).client().get(format!("/v1/tasks/{task}")).await["state"], "queued");
    let refused = nodes.node(0).client().ask(Call::new("PATCH", "/v1/pools/work").json(&json!({ "min": 9 }))).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let resumed = json!({ "mode": "act" });
    nodes.node(1).client().ask(Call::new("PATCH", "/v1/pools/work").json(&resumed)).await.expect(200);
    nodes.node(0).client().ask(Call::new("POST", "/v1/pools/work:resume")).await.expect(200);
    assert_eq!(nodes.node(1).client().ended(&task).await["state"], "succeeded");
}

#[actix_rt::test]
async fn the_turns_of_a_context_stay_on_the_node_that_holds_it() {
    const TURNS: usize = 20;
    let server = PgServer::start(false);
    let nodes = start(&server).await;
    let mut agents = std::collections::BTreeMap::<String, usize>::new();
    for turn in 0..TURNS {
        let task = json!({ "input": { "service_s": 0.01 }, "context": "repo-42" });
        let through = nodes.node(turn % 2).client();
        let done = through.ask(Call::submit("work", &task).wait(30)).await.expect(200);
        *agents.entry(done["agent"].to_string()).or_default() += 1;
    }
    println!("turns on each agent: {agents:?}");
    // A machine that pauses for longer than a task is deferred may cost a turn.
    assert!(agents.values().any(|turns| *turns >= TURNS - 3), "{agents:?}");
}

#[actix_rt::test]
async fn a_task_that_the_store_alone_believes_to_run_is_run() {
    let server = PgServer::start(false);
    let url = server.database();
    let pool = |_: &_| vec![Pool::builtin("work").fixed(AGENTS as u32).set("patch_max = 9")];
    let nodes = Nodes::start(&url, 2, "log.level = \"error\"", pool).await;
    let client = nodes.node(0).client();
    client.ask(Call::new("POST", "/v1/pools/work:pause")).await.expect(200);
    eventually("both pause", SOON, async || holds(self::pool(&nodes, 1).await["state"] == "paused")).await;
    // Demands from before the pause are withdrawn by now, or get the first task.
    let tasks = [client.submit("work", json!({})).await, client.submit("work", json!({})).await];
    let listed = client.get("/v1/nodes").await;
    let holder = listed["nodes"].as_array().expect("a list").iter().find(|node| node["this"] == true);
    let holder = holder.expect("the node itself")["id"].as_str().expect("an id").to_owned();
    // Like a claim whose answer is lost.
    let claimed = server.sql(
        url.rsplit('/').next().expect("a name"),
        &format!(
            "UPDATE live SET state = 2, epoch = epoch + 1, attempt = 1, started_at = submitted_at, node = '{holder}' \
             WHERE state = 1 RETURNING 1"
        ),
    );
    assert_eq!(claimed.lines().count(), 2, "{claimed}");
    client.ask(Call::new("POST", "/v1/pools/work:resume")).await.expect(200);
    for task in tasks {
        let ended = client.ended(&task).await;
        assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(1)), "{ended}");
    }
}

fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().expect("a number")
}

#[actix_rt::test]
async fn a_stream_of_events_goes_on_at_another_node_without_a_gap_or_a_repeat() {
    const WORDS: usize = 60;
    let server = PgServer::start(false);
    let pool = |_: &_| vec![Pool::echo("echo").fixed(2)];
    let nodes = Nodes::start(&server.database(), 2, "log.level = \"error\"", pool).await;
    let words: String = (0..WORDS).map(|word| format!("{word} ")).collect();
    let task = nodes.node(0).client().submit("echo", json!(words)).await;
    let mut heard = Vec::<Value>::new();
    for turn in 0.. {
        let last = heard.last().map_or(0, seq);
        let piece = nodes.node(turn % 2).client().events_after(&task, last, 7).await;
        heard.extend(piece);
        if heard.last().is_some_and(|event| event["state"] == "succeeded") {
            break;
        }
    }
    let output: String = heard.iter().filter_map(|event| event["chunk"].as_str()).collect();
    assert_eq!(output, words, "{heard:?}");
    let states: Vec<_> = heard.iter().filter_map(|event| event["state"].as_str()).collect();
    assert_eq!(states, ["queued", "running", "succeeded"]);
    assert!(heard.is_sorted_by(|one, next| seq(one) < seq(next)), "{heard:?}");
    for node in 0..2 {
        let client = nodes.node(node).client();
        assert_eq!(client.events(&task).await, heard, "node {node} tells the same again");
        let last = heard.last().map_or(0, seq);
        let over = Call::get(format!("/v1/tasks/{task}/events")).header("Last-Event-ID", last.to_string());
        assert_eq!(client.ask(over).await.status, 204, "nothing will follow");
    }
}

#[actix_rt::test]
async fn a_stream_tells_of_an_attempt_that_died_with_its_node() {
    let server = PgServer::start(false);
    let mut nodes = start(&server).await;
    let [_, task] = one_on_each(&nodes).await;
    let before = nodes.node(0).client().events_after(&task, 0, 2).await;
    nodes.kill(1);
    let killed = Instant::now();
    let back = nodes.node(0).client().events_after(&task, seq(&before[1]), 1).await.remove(0);
    println!("taken back {:.2?} after the kill of its node; a lease lasts 15 s", killed.elapsed());
    assert_eq!((&back["state"], &back["error"]["kind"]), (&json!("queued"), &json!("node_lost")), "{back}");
    nodes.restart(1).await;
    let again = nodes.node(1).client().events_after(&task, seq(&back), 1).await.remove(0);
    assert_eq!((&again["state"], &again["attempt"]), (&json!("running"), &json!(2)), "{again}");
    let whole = nodes.node(0).client().events_after(&task, 0, 4).await;
    assert_eq!(whole, [before, vec![back, again]].concat());
}
