//! B6: tasks that kill whoever runs them.

use std::time::Duration;

use forerunner_e2e::{Client, Pool, Site, count};
use futures_util::future::join_all;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

#[actix_rt::test]
async fn a_task_that_kills_its_agent_is_dead_after_three_and_harms_no_other() {
    let (poisons, neighbours) = (count(3, 30) as usize, count(200, 2_000) as usize);
    let site = Site::new();
    // Deaths are no news here: what a circuit does about them is another test's matter.
    let calm = "restart = { intensity = 100000, window = \"1s\", backoff = \"1ms\", max_backoff = \"5ms\" }";
    let pool = Pool::writing("work", &site.effects()).fixed(4).set(calm).set("task.retry_initial = \"10ms\"");
    let site = site.with("log.level = \"error\"", &[pool]);
    let service = site.serve().await;
    let client = service.client();
    let before = join_all((0..neighbours).map(|_| work(&client))).await;
    let alone = slowest(&client, &before).await;
    let kill = json!({ "kill": true });
    let poisoned = join_all((0..poisons).map(|_| client.submit("work", kill.clone()))).await;
    let beside = join_all((0..neighbours).map(|_| work(&client))).await;
    let together = slowest(&client, &beside).await;
    for task in &poisoned {
        let task = client.ended(task).await;
        assert_eq!(
            (&task["state"], &task["crashes"], &task["error"]["kind"]),
            (&json!("dead"), &json!(3), &json!("agent_lost")),
            "{task}"
        );
    }
    assert!(client.tasks("pool=work&state=succeeded").await.len() == 2 * neighbours, "all neighbours succeeded");
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(Duration::from_secs(2)).await;
    let runs = site.effects().read();
    assert!(runs.iter().all(|run| !poisoned.contains(&run.task)), "poison has no effect");
    assert_eq!(runs.len(), 2 * neighbours, "no neighbour ran twice");
    println!(
        "B6: {poisons} poisonous tasks, {} agents killed, all dead-lettered; slowest of {neighbours} neighbours: \
         {together:.2} s, {alone:.2} s without them",
        3 * poisons,
    );
}

async fn work(client: &Client) -> String {
    client.submit("work", json!({ "service_s": 0.005 })).await
}

/// Waits for the ends of tasks; answers the longest time from submission to end, in seconds.
async fn slowest(client: &Client, tasks: &[String]) -> f64 {
    let mut slowest = 0.0_f64;
    for task in tasks {
        let task: Value = client.ended(task).await;
        assert_eq!(task["state"], "succeeded", "{task}");
        let took = |name: &str| task[name].as_f64().unwrap_or_default();
        slowest = slowest.max(took("wait_s") + took("service_s"));
    }
    slowest
}
