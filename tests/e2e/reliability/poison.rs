//! B6: tasks that kill their agents.

use std::{fmt, time::Duration};

use forerunner_e2e::{Client, Pool, Site, count, eventually, holds};
use futures_util::future::join_all;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const AGENTS: u32 = 4;

/// Neighbours are measured without poison before and after they are measured beside it, as this machine may be busier
/// at one time than at another.
#[actix_rt::test]
async fn a_task_that_kills_its_agent_is_dead_after_three_and_harms_no_other() {
    let (poisons, neighbours) = (count(6, 30) as usize, count(300, 2_000) as usize);
    let site = Site::new();
    // Deaths are no news here: what a circuit does about them is another test's matter.
    let calm = "restart = { intensity = 100000, window = \"1s\", backoff = \"1ms\", max_backoff = \"5ms\" }";
    let pool = Pool::writing("work", &site.effects()).fixed(AGENTS).set(calm).set("task.retry_initial = \"10ms\"");
    let site = site.with("log.level = \"error\"", &[pool]);
    let service = site.serve().await;
    let client = service.client();
    let before = latencies_of(&client, neighbours, Vec::new()).await.0;
    let poison = vec![json!({ "kill": true }); poisons];
    let (beside, poisoned) = latencies_of(&client, neighbours, poison).await;
    let cold_start = client.get("/v1/pools/work").await["cold_start_s"].clone();
    for task in &poisoned {
        let task = client.ended(task).await;
        assert_eq!(
            (&task["state"], &task["crashes"], &task["error"]["kind"]),
            (&json!("dead"), &json!(3), &json!("agent_lost")),
            "{task}"
        );
    }
    let after = latencies_of(&client, neighbours, Vec::new()).await.0;
    assert!(client.tasks("pool=work&state=succeeded").await.len() == 3 * neighbours, "all neighbours succeeded");
    assert_eq!(service.stop(SOON).await, 0);
    site.empty(Duration::from_secs(2)).await;
    let runs = site.effects().read();
    assert!(runs.iter().all(|run| !poisoned.contains(&run.task)), "poison has no effect");
    assert_eq!(runs.len(), 3 * neighbours, "no neighbour ran twice");
    let (alone, ratio) = (before.p99.max(after.p99), beside.p99 / f64::midpoint(before.p99, after.p99));
    println!(
        "B6: {poisons} poisonous tasks, {} agents killed, all dead-lettered; {neighbours} others on {AGENTS} agents \
         took {beside}, {before} before and {after} after: {ratio:.2} times as long (p99); cold starts {cold_start}",
        3 * poisons,
    );
    // First attempts, and one more of each agent, cost a cold start each, and further ones an eighth of the time. Both
    // apply on any machine; half as much again is a tolerance.
    let starts = (poisons + AGENTS as usize + 1) as f64 * cold_start["p90"].as_f64().expect("agents were started");
    let most = (alone + starts / f64::from(AGENTS)) * 8.0 / 7.0;
    assert!(beside.p99 < 1.5 * most, "{:.2} s, where {most:.2} s were to be expected", beside.p99);
}

/// How long tasks took from submission to end, in seconds.
struct Latencies {
    p99: f64,
    most: f64,
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s (p99), {:.2} s (most)", self.p99, self.most)
    }
}

/// Submits so many tasks to warm agents, behind others, and waits for the end of the former; answers the latter too.
async fn latencies_of(client: &Client, tasks: usize, behind: Vec<Value>) -> (Latencies, Vec<String>) {
    eventually("all agents are warm", SOON, async || {
        holds(client.get("/v1/pools/work").await["agents"]["ready"] == AGENTS)
    })
    .await;
    let others = join_all(behind.into_iter().map(|input| client.submit("work", input))).await;
    let tasks = join_all((0..tasks).map(|_| client.submit("work", json!({ "service_s": 0.005 })))).await;
    let mut took = Vec::with_capacity(tasks.len());
    for task in &tasks {
        let task = client.ended(task).await;
        assert_eq!(task["state"], "succeeded", "{task}");
        let seconds = |name: &str| task[name].as_f64().unwrap_or_default();
        took.push(seconds("wait_s") + seconds("service_s"));
    }
    took.sort_unstable_by(f64::total_cmp);
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    (Latencies { p99: at(99), most: at(100) }, others)
}
