//! G1: the model provider of all agents is down for a while.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use forerunner_e2e::{Client, Pool, Site, count, eventually};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Longest time for what needs no outage to end.
pub const SOON: Duration = Duration::from_secs(60);
/// Longest time from the end of an outage to the first task that succeeds: 10 s, and what a busy machine adds.
const FIRST_SUCCESS_S: f64 = 15.0;
/// Five tasks a second.
const PAUSE: Duration = Duration::from_millis(200);
const ERROR: &str = "the provider answers 503";

/// A pool whose agents fail while the file is there.
pub fn pool(down: &Path) -> Pool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/outage_agent.py");
    let text = |path: &Path| path.to_str().expect("a path is text").to_owned();
    Pool::of("work", ["python3".to_owned(), "-I".to_owned(), "-S".to_owned(), text(&script), text(down)])
}

#[expect(clippy::disallowed_methods, reason = "a test compares it with the times of the service")]
fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// Submits tasks for so long, in turn to each node; returns their ids and the most agents that the pool had.
pub async fn load(clients: &[Client], span: Duration, tasks: &mut Vec<String>) -> u64 {
    let (begun, mut most) = (Instant::now(), 0);
    while begun.elapsed() < span {
        let client = &clients[tasks.len() % clients.len()];
        tasks.push(client.submit("work", json!(0.5)).await);
        most = most.max(agents(&clients[0].get("/v1/pools/work").await));
        sleep(PAUSE).await;
    }
    most
}

fn agents(pool: &Value) -> u64 {
    ["starting", "ready", "busy", "cooldown"].iter().map(|state| pool["agents"][state].as_u64().unwrap_or(0)).sum()
}

/// An outage: the file exists.
pub struct Outage {
    down: PathBuf,
}

impl Outage {
    pub fn begin(down: &Path) -> Self {
        fs::write(down, "").expect("the directory of a test can be written");
        Self { down: down.to_owned() }
    }

    /// How many attempts have failed.
    pub fn failures(&self) -> usize {
        let path = format!("{}.failures", self.down.display());
        fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }

    /// Ends it; returns when, in seconds.
    pub fn end(self) -> f64 {
        fs::remove_file(&self.down).expect("the file is there");
        now_s()
    }
}

/// Compares the ends of all tasks with what an outage may cost.
pub async fn judge(client: &Client, tasks: &[String], ended_s: f64) -> f64 {
    let mut first = f64::INFINITY;
    for task in tasks {
        let task = client.ended(task).await;
        assert_eq!(task["state"], "succeeded", "{task}");
        assert!(task["attempt"].as_u64() <= task["max_attempts"].as_u64(), "{task}");
        let at = task["output"].as_f64().expect("when it succeeded");
        if at > ended_s {
            first = first.min(at - ended_s);
        }
    }
    assert!(first <= FIRST_SUCCESS_S, "the first success came {first:.1} s after the end");
    first
}

#[actix_rt::test]
async fn an_outage_costs_no_task_and_no_agent() {
    let (site, seconds) = (Site::new(), count(15, 60));
    let down = site.path("provider.down");
    // Enough agents for the load: more would be for the backlog.
    let site = site.with("log.level = \"warn\"", &[pool(&down).set("min = 8\nmax = 40")]);
    let service = site.serve().await;
    let client = service.client();
    let (clients, mut tasks) = ([client.clone()], Vec::new());
    let before = load(&clients, Duration::from_secs(8), &mut tasks).await;
    let outage = Outage::begin(&down);
    let mut most = load(&clients, Duration::from_secs(seconds), &mut tasks).await;
    let open = client.get("/v1/pools/work").await;
    assert_eq!((&open["state"], &open["reason"]), (&json!("dependency_open"), &json!(ERROR)), "{open}");
    assert!(open["dependency"]["excused_attempts"].as_u64() > Some(0), "{open}");
    assert_eq!(client.metric("forerunner_dependency_circuit_state").await, 2.0);
    let waiting = client.get(format!("/v1/tasks/{}/placement", tasks.last().expect("some"))).await;
    assert!(waiting["why"].as_str().is_some_and(|why| why.contains(ERROR)), "{waiting}");
    let decision = client.get("/v1/pools/work/decisions?limit=1").await;
    assert_eq!(decision["decisions"][0]["reason"], "outage", "{decision}");
    let ended_s = outage.end();
    most = most.max(load(&clients, Duration::from_secs(15), &mut tasks).await);
    let first_s = judge(&client, &tasks, ended_s).await;
    eventually("a closed circuit", 2 * SOON, async || {
        (client.get("/v1/pools/work").await["dependency"]["state"] == "closed").then_some(())
    })
    .await;
    let opened = client.metric("forerunner_dependency_circuit_opened_total").await;
    assert_eq!(opened, 1.0, "no second outage");
    assert!(most <= before + before / 10, "{most} agents, {before} before");
    println!("G1: {seconds} s of outage, {} tasks, first success after {first_s:.1} s, {most} agents", tasks.len());
    assert_eq!(service.stop(SOON).await, 0);
}
