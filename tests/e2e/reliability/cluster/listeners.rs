//! C3: nodes that no longer hear each other, over connections that look alive.

use std::time::Duration;

use forerunner_e2e::{Call, Client, History, Nodes, PgServer, count, eventually, holds};
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
    let client = nodes.node(0).client();
    let busy = keep_busy(&nodes, &load).await;
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

/// Gives the only agent of the first node a task that it works on to the end of the test; answers which.
async fn keep_busy(nodes: &Nodes, load: &Load) -> String {
    let client = nodes.node(0).client();
    let own = async || client.metric("forerunner_tasks_running").await > 0.0;
    let mut number = 0;
    eventually("the first node is at work", SOON, async || {
        number += 1;
        let task = client.submit("work", json!({ "service_s": 300 })).await;
        load.history.borrow_mut().acked(&format!("busy-{number}"), &task);
        eventually("somebody is at work", SOON, async || holds(state(&client, &task).await == "running")).await;
        if own().await {
            return Some(task);
        }
        // The other node was faster.
        let _ = client.ask(Call::new("POST", format!("/v1/tasks/{task}:cancel"))).await;
        let ended = client.ended(&task).await;
        let mut history = load.history.borrow_mut();
        history.take(&nodes.effects(), rig::CLUSTER);
        history.saw(&ended);
        None
    })
    .await
}

async fn state(client: &Client, task: &str) -> String {
    client.get(format!("/v1/tasks/{task}")).await["state"].as_str().unwrap_or_default().to_owned()
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
