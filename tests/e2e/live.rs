//! A replay of what a service recorded is what happened, by the clock on the wall.

use std::time::Duration;

use forerunner_e2e::{Client, Site, count, eventually};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

const SOON: Duration = Duration::from_secs(30);
const SETTINGS: &str = r#"
[pools.live]
min = 2
max = 60
tick = "250ms"
cold_start = "1s"
cooldown = "1s"
agent = { kind = "simulated", cold_start = "1s" }
"#;
/// How far replay and reality may be apart.
const SHARE: f64 = 0.05;
/// Waits that are less than a tick apart are alike: ticks of the service and of the replay are not the same moments.
const TICK_S: f64 = 0.25;

/// Arrivals and durations in seconds: four tasks per second, and twelve more for two seconds of every ten. It is an
/// hour of a day in which each minute takes a second.
fn load(span_s: u64) -> Vec<(f64, f64)> {
    let mut tasks = Vec::new();
    for second in 0..span_s {
        let n = if second % 10 >= 8 { 16 } else { 4 };
        // Spread and mixed, but the same in each run.
        let task = |k: u64| (second as f64 + k as f64 / n as f64, 0.4 + 0.1 * ((second * 7 + k * 5) % 13) as f64);
        tasks.extend((0..n).map(task));
    }
    tasks
}

/// Submits each task when it is due, and waits until all have ended. Returns the final status of the pool.
async fn live(client: &Client, tasks: &[(f64, f64)]) -> Value {
    let begun = Instant::now();
    for &(due_s, service_s) in tasks {
        sleep_until(begun + Duration::from_secs_f64(due_s)).await;
        let client = client.clone();
        actix_rt::spawn(async move { client.submit("live", json!({ "service_s": service_s })).await });
    }
    pool_when(client, "all tasks have ended", |pool| number(pool, "finished") >= tasks.len() as f64).await
}

/// The status of the pool once it matches.
async fn pool_when(client: &Client, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, async || Some(client.get("/v1/pools/live").await).filter(&is)).await
}

fn number(of: &Value, name: &str) -> f64 {
    of[name].as_f64().unwrap_or_else(|| panic!("no {name}: {of}"))
}

/// The wait that a share of the tasks did not exceed, by nearest rank as the replay has it.
fn percentile(waits: &[f64], share: f64) -> f64 {
    waits[((share * waits.len() as f64).ceil() as usize).clamp(1, waits.len()) - 1]
}

/// Thirty seconds; ten minutes with `FORERUNNER_FULL`. A short load of the machine makes the two differ, so a
/// difference is measured again: a wrong replay is wrong each time.
#[actix_rt::test]
async fn a_replay_of_what_a_service_recorded_is_what_happened() {
    let tasks = load(count(30, 600));
    for last in [false, false, true] {
        match compared(&tasks).await {
            Ok(()) => return,
            Err(apart) => assert!(!last, "{apart}"),
        }
    }
}

/// Runs a load and replays its recording. Returns how the two differ, if they do.
async fn compared(tasks: &[(f64, f64)]) -> Result<(), String> {
    let site = Site::new().with(SETTINGS, &[]);
    let service = site.serve().await;
    let client = service.client();
    let before = pool_when(&client, "the agents are warm", |pool| pool["agents"]["ready"] == 2).await;
    let after = live(&client, tasks).await;
    let lived_s = number(&after, "agent_seconds") - number(&before, "agent_seconds");
    let seconds = |task: &Value| number(task, "wait_s");
    let mut waits: Vec<f64> = client.tasks("pool=live").await.iter().map(seconds).collect();
    waits.sort_by(f64::total_cmp);

    let export = ["history", "export", "--pool", "live", "-o", "past.csv.gz", "--output", "json"];
    site.program().env("FORERUNNER_SERVER", service.address()).run(export).await.ended(0).json();
    let cold_start = number(&after["cold_start_s"], "p90").to_string();
    let line = ["replay", "past.csv.gz", "--policy", "predictive", "--min", "2", "--max", "60", "--tick", "250ms"];
    let as_live = ["--as-live=1s", "--warmup", "0s", "--cold-start", &cold_start, "--output", "json"];
    let rows = site.program().run([&line[..], &as_live[..]].concat()).await.ended(0).json();
    let row = rows.as_array().into_iter().flatten().find(|row| row["policy"] == "predictive").expect("it was replayed");
    println!("lived: p50 {} s, p95 {} s, agents {lived_s:.1} s", percentile(&waits, 0.5), percentile(&waits, 0.95));
    println!("replayed: {} agents {:.1} s", row["wait_s"], number(row, "instance_s"));
    assert_eq!(row["tasks"], waits.len() as u64);
    assert_eq!(service.stop(SOON).await, 0);
    let apart = number(row, "instance_s") / lived_s - 1.0;
    if apart.abs() > SHARE {
        return Err(format!("agent-seconds are {apart:.3} apart"));
    }
    for (name, share) in [("p50", 0.5), ("p95", 0.95)] {
        let (was, is) = (percentile(&waits, share), number(&row["wait_s"], name));
        if (is - was).abs() > f64::max(SHARE * was, TICK_S) {
            return Err(format!("{name}: {was} s lived, {is} s replayed"));
        }
    }
    Ok(())
}
