//! Schedules from the command line, over a restart, and under a clock that is set.

use std::{collections::BTreeSet, time::Duration};

use forerunner_e2e::{Call, Client, Pool, SetClock, Site, eventually, holds};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

async fn schedule(client: &Client, name: &str) -> Value {
    client.get(format!("/v1/schedules/{name}")).await
}

async fn until_fired(client: &Client, name: &str, times: u64) {
    eventually("the schedule submits", SOON * 2, async || {
        holds(schedule(client, name).await["fired"].as_u64() >= Some(times))
    })
    .await;
}

#[actix_rt::test]
async fn a_schedule_is_made_steered_and_removed_from_the_command_line() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let run = async |line: &[&str]| {
        let line = [&["schedule"], line, &["--output", "json"]].concat();
        site.program().env("FORERUNNER_SERVER", service.address()).run(line).await
    };
    let input = r#"{"service_s":0}"#;
    let made = run(&[
        "create",
        "nightly",
        "--pool",
        "work",
        "--cron",
        "30 2 * * *",
        "--time-zone",
        "Europe/Berlin",
        "--input",
        input,
        "--label",
        "team=docs",
    ])
    .await;
    let made: Value = serde_json::from_str(&made.ended(0).stdout).expect("JSON");
    assert_eq!(made["next_runs"].as_array().map(Vec::len), Some(5), "{made}");
    let _ = run(&["create", "often", "--pool", "work", "--every", "1s", "--overlap", "queue", "--input", input])
        .await
        .ended(0);
    let client = service.client();
    until_fired(&client, "often", 2).await;
    let listed: Value = serde_json::from_str(&run(&["list"]).await.ended(0).stdout).expect("JSON");
    assert_eq!(listed["schedules"].as_array().map(Vec::len), Some(2), "{listed}");
    let task = run(&["run-now", "nightly"]).await.ended(0);
    let task: Value = serde_json::from_str(&task.stdout).expect("JSON");
    assert_eq!(client.ended(task["id"].as_str().expect("an id")).await["state"], "succeeded");
    let explained = site.program().env("FORERUNNER_SERVER", service.address());
    let explained = explained.run(["explain", "task", task["id"].as_str().expect("an id")]).await.ended(0);
    assert!(explained.stdout.contains("Schedule nightly submitted it."), "{}", explained.stdout);
    let _ = run(&["pause", "often"]).await.ended(0);
    assert_eq!(schedule(&client, "often").await["next_runs"], json!([]));
    let _ = run(&["resume", "often"]).await.ended(0);
    let _ = run(&["update", "nightly", "--every", "1h"]).await.ended(0);
    assert_eq!(schedule(&client, "nightly").await["cron"], Value::Null);
    let refused = run(&["create", "never", "--pool", "work", "--cron", "0 0 30 2 *"]).await.ended(1);
    assert!(refused.stderr.contains("cron `0 0 30 2 *` is not valid: no date matches it"), "{}", refused.stderr);

    // The answer of a listing creates the same schedules again.
    let _ = run(&["delete", "often"]).await.ended(0);
    let _ = run(&["delete", "nightly"]).await.ended(0);
    let again = site.program().env("FORERUNNER_SERVER", service.address()).input(&listed.to_string());
    let _ = again.run(["schedule", "create", "--file", "-"]).await.ended(0);
    assert_eq!(schedule(&client, "nightly").await["cron"], "30 2 * * *");

    // It continues after a kill.
    let fired = schedule(&client, "often").await["fired"].as_u64().expect("a number");
    service.kill();
    let service = site.serve().await;
    let client = service.client();
    until_fired(&client, "often", fired + 2).await;
    assert_eq!(service.stop(SOON).await, 0);
}

#[actix_rt::test]
async fn a_clock_that_is_set_to_and_fro_doubles_no_occurrence() {
    let site = Site::new().with("", &[Pool::builtin("work").fixed(1)]);
    let clock = SetClock::of(&site).expect("tests/run.sh installs faketime");
    let service = site.serve_under(&clock.wrapper().each_ref().map(String::as_str)).await;
    let client = service.client();
    let often = json!({
        "name": "often", "pool": "work", "every": "1s", "overlap": "queue", "catch_up": "latest", "input": { "service_s": 0 },
    });
    let _ = client.ask(Call::new("POST", "/v1/schedules").json(&often)).await.expect(201);
    let mut fired = 0;
    for offset in ["+0", "+30", "+10", "+1h", "+59m"] {
        clock.set(offset);
        // Set back, it waits until the clock is where it was; forward, it continues at once.
        let waits = offset == "+10" || offset == "+59m";
        if waits {
            tokio::time::sleep(Duration::from_secs(4)).await;
        } else {
            until_fired(&client, "often", fired + 3).await;
        }
        fired = schedule(&client, "often").await["fired"].as_u64().expect("a number");
    }
    let _ = client.ask(Call::new("POST", "/v1/schedules/often:pause")).await.expect(200);
    let shown = schedule(&client, "often").await;
    let mut keys = BTreeSet::new();
    let tasks = client.tasks("pool=work").await;
    for task in &tasks {
        let task = client.get(format!("/v1/tasks/{}", task["id"].as_str().expect("an id"))).await;
        keys.insert(task["idempotency_key"].as_str().expect("a task of the schedule").to_owned());
    }
    assert_eq!((keys.len(), tasks.len() as u64), (tasks.len(), shown["fired"].as_u64().expect("a number")), "{shown}");
    assert!(shown["skipped"].as_u64() >= Some(3_000), "an hour that was jumped over was missed: {shown}");
    assert_eq!(service.stop(SOON).await, 0);
}
