//! B7: tasks are cancelled at random moments.

use std::time::Duration;

use forerunner_e2e::{Call, Client, History, Pool, Seeded, Site, count};
use futures_util::{StreamExt, stream};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 24;

#[actix_rt::test]
async fn a_task_cancelled_at_any_moment_has_one_end_and_stops_for_good() {
    let cancels = count(600, 10_000);
    let site = Site::new();
    let pool = Pool::builtin("work").fixed(8).set("queue.limit = 1000000");
    let site = site.with("log.level = \"error\"", &[pool]);
    let service = site.serve().await;
    let client = service.client();
    let mut chance = Seeded::new(0xca_9ce1);
    let moments: Vec<u64> = (0..cancels).map(|_| chance.below(40_000)).collect();
    let lives = stream::iter(moments).map(|micros| live(&client, Duration::from_micros(micros)));
    let ends: Vec<(String, serde_json::Value, u16)> = lives.buffer_unordered(AT_ONCE).collect().await;

    let mut history = History::of(&site);
    for (number, (task, end, _)) in ends.iter().enumerate() {
        history.acked(&format!("task-{number}"), task);
        history.saw(end);
    }
    let settled = client.settled("work", SOON).await;
    // What was seen to end is as it was, also when all is over.
    for task in settled.iter().filter(|task| task["state"] != "succeeded") {
        history.saw(task);
    }
    let ended = |state: &str| ends.iter().filter(|(_, end, _)| end["state"] == state).count();
    let (cancelled, succeeded) = (ended("cancelled"), ended("succeeded"));
    assert_eq!((cancelled + succeeded) as u64, cancels, "{ends:?}");
    let waiting = ends.iter().filter(|(.., status)| *status == 202).count();
    assert!(cancelled > 0 && succeeded > 0 && waiting > 0, "moments were of all kinds");
    assert_eq!(client.get("/v1/pools/work").await["running"], 0);
    assert_eq!(service.stop(SOON).await, 0);
    history.orphans(&site);
    // The program's own agents do not write down their runs.
    assert_eq!(history.check_clients().ended as u64, cancels);
    println!("B7: {cancels} cancellations, {waiting} of running tasks; {cancelled} cancelled, {succeeded} were faster");
}

/// Submits a task, cancels it after a moment, and answers its end with the status of the cancellation.
async fn live(client: &Client, moment: Duration) -> (String, serde_json::Value, u16) {
    let task = client.submit("work", json!({ "service_s": 0.02 })).await;
    tokio::time::sleep(moment).await;
    let answer = client.ask(Call::new("POST", format!("/v1/tasks/{task}:cancel"))).await;
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    let end = client.ended(&task).await;
    (task, end, answer.status)
}
