//! A restarted service continues where it was.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use forerunner_e2e::{Call, Client, Pool, Seeded, Signal, Site, binary, count, eventually, holds, send};
use futures_util::future::join_all;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// Submits a task with a key and more members than an input.
async fn keyed(client: &Client, key: &str, task: &Value) -> (bool, Value) {
    let answer = client.ask(Call::submit("work", task).header("Idempotency-Key", key)).await;
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    (answer.header("idempotency-replayed") == "true", answer.body)
}

/// The time in `seconds` seconds, on the clock of the service, as its own tasks show it.
async fn in_seconds(client: &Client, seconds: u32) -> String {
    let probe = client.submit("work", json!({ "service_s": 0 })).await;
    let now = client.ended(&probe).await["finished_at"].as_str().expect("it ended").to_owned();
    later(&now, seconds)
}

/// Adds seconds to an RFC 3339 time in UTC, at most into the next day.
fn later(time: &str, seconds: u32) -> String {
    let number = |range: std::ops::Range<usize>| time[range].parse::<u32>().expect("RFC 3339");
    let total = number(11..13) * 3_600 + number(14..16) * 60 + number(17..19) + seconds;
    // Midnight is waited out rather than calculated: a time of the same day is simply due at once.
    let total = total.min(86_399);
    format!("{}{:02}:{:02}:{:02}Z", &time[..11], total / 3_600, total / 60 % 60, total % 60)
}

#[actix_rt::test]
async fn queued_and_scheduled_tasks_results_and_keys_survive_a_restart() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(2)]);
    let service = site.serve().await;
    let client = service.client();
    let (_, done) = keyed(&client, "done", &json!({ "input": { "number": 1 } })).await;
    let done = client.ended(done["id"].as_str().expect("an id")).await;
    let run_at = in_seconds(&client, 3).await;
    client.ask(Call::new("POST", "/v1/pools/work:pause")).await.expect(200);
    let queued = join_all((0..20).map(|number| client.submit("work", json!({ "number": number })))).await;
    let (_, scheduled) = keyed(&client, "later", &json!({ "input": null, "run_at": run_at })).await;
    assert_eq!(scheduled["state"], "scheduled", "{scheduled}");
    service.kill();

    let service = site.serve().await;
    let client = service.client();
    assert_eq!(client.get(format!("/v1/tasks/{}", done["id"].as_str().expect("an id"))).await, done);
    let (replayed, again) = keyed(&client, "done", &json!({ "input": { "number": 1 } })).await;
    assert!(replayed && again["id"] == done["id"] && again["output"] == done["output"], "{again}");
    let (replayed, again) = keyed(&client, "later", &json!({ "input": null, "run_at": run_at })).await;
    assert!(replayed && again["id"] == scheduled["id"], "{again}");
    let pool = client.get("/v1/pools/work").await;
    assert!(pool["state"] == "paused" && pool["waiting"].as_u64() >= Some(20), "a pause is kept: {pool}");
    client.ask(Call::new("POST", "/v1/pools/work:resume")).await.expect(200);
    for (number, task) in queued.iter().enumerate() {
        let task = client.ended(task).await;
        assert_eq!((&task["state"], &task["output"]["echo"]), (&json!("succeeded"), &json!({ "number": number })));
    }
    let fired = client.ended(scheduled["id"].as_str().expect("an id")).await;
    assert_eq!(fired["state"], "succeeded", "{fired}");
    assert!(fired["started_at"].as_str() >= Some(run_at.trim_end_matches('Z')), "not before its time: {fired}");
    assert_eq!(client.tasks("pool=work").await.len(), 23, "nothing was made twice");
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn a_pool_remembers_its_load_and_does_not_shrink_at_a_restart() {
    let pool = Pool::builtin("work").set("min = 1\nmax = 40\ncold_start = \"200ms\"\ntick = \"200ms\"");
    let site = Site::new().with("", &[pool]);
    let service = site.serve().await;
    let client = service.client();
    eventually("load makes the pool grow", SOON, async || {
        join_all((0..4).map(|_| client.submit("work", json!({ "service_s": 0.5 })))).await;
        holds(client.get("/v1/pools/work").await["desired"].as_u64() >= Some(8))
    })
    .await;
    // There is no backlog that would need agents by itself: the wanted size was restored.
    let before = eventually("all tasks end", SOON, async || {
        let pool = client.get("/v1/pools/work").await;
        let idle = pool["waiting"] == 0 && pool["running"] == 0;
        pool["desired"].as_u64().filter(|_| idle)
    })
    .await;
    assert_eq!(service.stop(SOON).await, 0);

    let service = site.serve().await;
    let client = service.client();
    let first = eventually("it decides again", SOON, async || {
        let pool = client.get("/v1/pools/work").await;
        (!pool["decision"].is_null()).then_some(pool)
    })
    .await;
    assert_eq!(first["waiting"], 0, "{first}");
    let now = first["desired"].as_u64().expect("a decision was made");
    assert!(now * 10 >= before * 7, "{before} agents were wanted, {now} are after the restart: {}", first["decision"]);
    assert!(first["decision"]["seq"].as_u64() > Some(1), "decisions are counted on: {}", first["decision"]);
    eventually("they are started", SOON, async || {
        let agents = client.get("/v1/pools/work").await["agents"].clone();
        let count: u64 =
            ["starting", "ready", "busy", "cooldown"].iter().filter_map(|name| agents[name].as_u64()).sum();
        holds(count >= now)
    })
    .await;
    assert_eq!(service.stop(SOON).await, 0);
    println!("{before} agents were wanted before the restart, {now} right after it");
}

/// Signals and kills while the service opens its store: the next start accepts whatever remains.
#[actix_rt::test]
async fn starts_that_are_cut_off_at_any_moment_leave_a_store_that_opens() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let mut chance = Seeded::new(41);
    for round in 0..count(60, 600) {
        // A store that is being created is interrupted as well as an existing one.
        if round % 10 == 0 {
            ["", "-wal", "-shm", "-lock", "-reserve", "-journal"].iter().for_each(|suffix| {
                let _ = std::fs::remove_file(site.path(&format!("tasks.db{suffix}")));
            });
        }
        let mut start = Command::new(binary());
        start.arg("serve").arg("--config").arg(site.config()).arg("--store");
        start.arg(format!("sqlite:{}", site.store().display())).current_dir(site.directory());
        let log = std::fs::File::create(site.path("start.log")).expect("it can be written");
        let mut start = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        let signal = if chance.below(2) == 0 { Signal::TERM } else { Signal::KILL };
        tokio::time::sleep(Duration::from_micros(chance.below(80_000))).await;
        send(start.id(), signal);
        let ended = eventually("it ends", SOON, async || start.try_wait().expect("a child can be waited for")).await;
        // Without a code: the signal arrived before the program could handle it, or cannot be handled.
        let log = std::fs::read_to_string(site.path("start.log")).unwrap_or_default();
        assert!(matches!(ended.code(), None | Some(0)), "round {round}, {signal:?}: {ended}\n{log}");
    }
    let service = site.serve().await;
    let client = service.client();
    let task = client.submit("work", json!(1)).await;
    assert_eq!(client.ended(&task).await["state"], "succeeded");
    assert_eq!(service.stop(SOON).await, 0);
}
