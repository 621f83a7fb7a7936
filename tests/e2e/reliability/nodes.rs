//! The rig for several nodes, on stores of their own: what kill, pause and resume do.

use std::time::Duration;

use forerunner_e2e::{Call, Nodes, Pool, eventually, holds};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

#[actix_rt::test]
async fn nodes_are_killed_paused_and_resumed_one_by_one() {
    let mut nodes =
        Nodes::start("memory:", 3, "log.level = \"error\"", |effects| vec![Pool::writing("work", effects).fixed(1)])
            .await;
    nodes.pause(1);
    nodes.kill(2);
    assert!(!nodes.lives(2));
    let task = nodes.node(0).client().submit("work", json!("here")).await;
    assert_eq!(nodes.node(0).client().ended(&task).await["state"], "succeeded", "the first one goes on");
    let client = nodes.node(1).client();
    let ready = client.call(Call::get("/readyz"));
    let mut ready = std::pin::pin!(ready);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut ready).await.is_err(), "a paused node is silent");
    nodes.resume(1);
    assert_eq!(ready.await.expect("it answers what it was asked before").status, 200);
    nodes.restart(2).await;
    let again = nodes.node(2).client();
    eventually("it is back", SOON, async || holds(again.get("/readyz").await["status"] == "ready")).await;
    assert_eq!(nodes.effects().read().len(), 1, "all write into one file");
    assert_eq!(nodes.take(0).stop(SOON).await, 0);
    for node in 0..nodes.count() {
        nodes.kill(node);
        nodes.site(node).empty(SOON).await;
    }
}
