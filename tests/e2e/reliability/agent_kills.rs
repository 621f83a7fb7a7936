//! A3: agents are killed while they work.

use std::time::Duration;

use forerunner_e2e::{Client, Pool, Service, Signal, Site, count, eventually, holds, is_alive, send};
use futures_util::future::join_all;
use serde_json::{Value, json};

const AGENTS: u32 = 16;
/// Tasks that wait or run at any time, so that no agent is ever idle for long.
const UNDER_WAY: usize = 64;
const LIMIT: Duration = Duration::from_secs(100);

#[actix_rt::test]
async fn kills_of_working_agents_harm_no_task_and_leave_the_pool_whole() {
    let kills = count(1_000, 1_000) as usize;
    let site = Site::new();
    let pool = Pool::builtin("work").fixed(AGENTS);
    // Kills must not count here: replacement is not delayed, and no task is given up.
    let site = site.with(
        "log.level = \"error\"",
        &[pool
            .set("restart = { intensity = 100000, window = \"1s\", backoff = \"1ms\", max_backoff = \"5ms\" }")
            .set("task = { max_crashes = 1000, max_attempts = 1000, retry_initial = \"10ms\", retry_max = \"50ms\" }")],
    );
    let mut service = site.serve().await;
    let client = service.client();
    let killed = kill_working_agents(&client, kills).await;
    let tasks = client.settled("work", LIMIT).await;
    eventually("all agents are back", LIMIT, async || {
        holds(client.get("/v1/pools/work").await["agents"]["ready"] == AGENTS)
    })
    .await;
    let crashes: u64 = tasks.iter().map(crashes).sum();
    for task in &tasks {
        assert_eq!(task["state"], "succeeded", "{task}");
        // Each attempt except for the last ended with a crash of its own agent: no other agent's crash cost one.
        assert_eq!(task["attempt"].as_u64(), Some(crashes_and_one(task)), "{task}");
    }
    // An agent may finish its task, or get another, between the check and the kill. So not each kill costs an attempt,
    // and none costs two.
    assert!(crashes <= killed as u64, "{crashes} crashes of {killed} kills");
    assert!(crashes >= killed as u64 / 2, "most kills are to hit a task: {crashes} of {killed}");
    assert!(service.is_running());
    assert_eq!(pids(&client).await.len(), AGENTS as usize);
    assert_eq!(stop(service).await, 0);
    site.empty(Duration::from_secs(2)).await;
    println!("A3: {killed} kills, {crashes} of them cost an attempt, {} tasks, all succeeded", tasks.len());
}

/// How long it takes until the kill is known, and until the task runs again on a warm agent. It is only reported, since
/// the machine may be busy.
#[actix_rt::test]
async fn a_killed_agent_is_noticed_and_its_task_goes_to_a_warm_one() {
    let site = Site::new();
    let pool = Pool::builtin("work").fixed(4);
    let calm = "restart = { intensity = 100000, window = \"1s\", backoff = \"1ms\", max_backoff = \"5ms\" }";
    let site = site.with("log.level = \"error\"", &[pool.set(calm).set("task.max_crashes = 1000")]);
    let service = site.serve().await;
    let client = service.client();
    let (mut noticed, mut retried) = (Vec::new(), Vec::new());
    for _ in 0..count(20, 200) {
        eventually("all agents are warm", LIMIT, async || {
            holds(client.get("/v1/pools/work").await["agents"]["ready"] == 4)
        })
        .await;
        let task = client.submit("work", json!({ "service_s": 30 })).await;
        let path = format!("/v1/tasks/{task}");
        // Another agent may still be busy with the task that was cancelled before.
        let pid = eventually("it runs", LIMIT, async || {
            agents(&client).await.iter().find(|agent| agent["task"] == task.as_str()).and_then(pid)
        })
        .await;
        let killed = tokio::time::Instant::now();
        assert!(send(pid, Signal::KILL));
        let running_again = async |noticed: &mut Option<Duration>| {
            let seen = client.get(&path).await;
            if seen["crashes"] == 1 {
                noticed.get_or_insert_with(|| killed.elapsed());
            }
            holds(seen["crashes"] == 1 && seen["state"] == "running")
        };
        let mut first = None;
        while running_again(&mut first).await.is_none() {
            assert!(killed.elapsed() < LIMIT, "never retried: {}", client.get(&path).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        retried.push(killed.elapsed());
        noticed.extend(first);
        assert!(!is_alive(pid));
        client.ask(forerunner_e2e::Call::new("POST", format!("{path}:cancel"))).await;
        assert_eq!(client.ended(&task).await["state"], "cancelled");
    }
    assert_eq!(stop(service).await, 0);
    println!("A3: noticed after {}, running again after {}", spread(&mut noticed), spread(&mut retried));
}

fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    format!("{:.1?} (p50), {:.1?} (p99)", at(50), at(99))
}

fn crashes(task: &Value) -> u64 {
    task["crashes"].as_u64().unwrap_or(0)
}

fn crashes_and_one(task: &Value) -> u64 {
    crashes(task) + 1
}

/// Keeps the pool busy and kills every working agent that it sees, until there were enough.
async fn kill_working_agents(client: &Client, kills: usize) -> usize {
    let mut killed = 0;
    let kill = eventually("enough agents are killed", LIMIT, async || {
        let waiting = client.get("/v1/pools/work").await["waiting"].as_u64().unwrap_or(0) as usize;
        let missing = UNDER_WAY.saturating_sub(waiting);
        join_all((0..missing).map(|_| client.submit("work", json!({ "service_s": 0.3 })))).await;
        let busy = busy_pids(client).await;
        let hit = busy.into_iter().take(kills - killed).filter(|pid| send(*pid, Signal::KILL));
        killed += hit.count();
        holds(killed == kills)
    });
    kill.await;
    killed
}

async fn agents(client: &Client) -> Vec<Value> {
    client.get("/v1/pools/work/agents").await["agents"].as_array().cloned().unwrap_or_default()
}

fn pid(agent: &Value) -> Option<u32> {
    u32::try_from(agent["pid"].as_u64()?).ok()
}

async fn pids(client: &Client) -> Vec<u32> {
    agents(client).await.iter().filter_map(pid).collect()
}

async fn busy_pids(client: &Client) -> Vec<u32> {
    agents(client).await.iter().filter(|agent| agent["state"] == "busy").filter_map(pid).collect()
}

async fn stop(service: Service) -> i32 {
    service.stop(Duration::from_secs(30)).await
}
