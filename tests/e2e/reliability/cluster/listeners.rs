//! C3: nodes that no longer receive notifications, over connections that seem to work.

use std::time::Duration;

use forerunner_e2e::{Call, Client, History, Nodes, PgServer, count, eventually};
use serde_json::json;

use super::{
    super::load::Load,
    rig::{self, SOON, Times},
};

#[actix_rt::test]
async fn nodes_that_do_not_hear_each_other_find_all_work_by_looking() {
    let tasks = count(8, 100);
    let server = PgServer::start(false);
    let url = server.database();
    let (proxy, _) = rig::way(&url).await;
    let nodes = rig::start(&format!("{url}?listen={}", proxy.address()), 2, 2).await;
    let load = Load::on(nodes.clients(), History::of(nodes.site(0)));
    let (node, busy) = keep_busy(&nodes, &load).await;
    let client = nodes.node(node).client();
    let hearing = waits(&client, &load, "hears", tasks).await;
    proxy.freeze();
    let deaf = waits(&client, &load, "deaf", tasks).await;
    proxy.resume();
    let again = waits(&client, &load, "again", tasks).await;
    let _ = client.ask(Call::new("POST", format!("/v1/tasks/{busy}:cancel"))).await;
    load.see_all_ended(SOON).await;
    let counts = rig::judge(nodes, &load, 2).await;
    assert_eq!((counts.ended, counts.succeeded as u64), (counts.acknowledged, 3 * tasks), "{counts:?}");
    assert_eq!(counts.runs, counts.acknowledged, "each ran once: {counts:?}");
    println!(
        "C3: work for the other node waits {hearing} while it is heard of, {deaf} while the connections that it is heard of \
         over are half open, {again} after that; {counts:?}"
    );
}

/// Gives the only agent of one of the nodes a task until the end of the test. Returns the node and the task.
async fn keep_busy(nodes: &Nodes, load: &Load) -> (usize, String) {
    let task = nodes.node(0).client().submit("work", json!({ "service_s": 600 })).await;
    load.history.borrow_mut().acked("busy", &task);
    let node = eventually("a node is at work", SOON, async || {
        for node in 0..nodes.count() {
            let own = nodes.node(node).client().get("/v1/pools/work/agents").await;
            if own["agents"].as_array().into_iter().flatten().any(|agent| agent["task"] == *task) {
                return Some(node);
            }
        }
        None
    });
    (node.await, task)
}

/// Submits tasks to a node that has no agent free, one after the other; answers how long each waited for the other node.
async fn waits(client: &Client, load: &Load, name: &str, tasks: u64) -> Times {
    let mut waits = Vec::new();
    for number in 0..tasks {
        let task = client.submit("work", json!({ "number": number })).await;
        load.history.borrow_mut().acked(&format!("{name}-{number}"), &task);
        let ended = client.ended(&task).await;
        assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(1)), "{ended}");
        waits.push(Duration::from_secs_f64(ended["wait_s"].as_f64().unwrap_or_default()));
    }
    Times(waits)
}
