//! SIGTERM: what was accepted is finished or waits for the next start.

use std::time::Duration;

use forerunner_e2e::{Call, Client, Pool, Signal, Site, eventually, holds};
use futures_util::future::join_all;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(30);

async fn pool(client: &Client) -> Value {
    client.get("/v1/pools/work").await
}

/// What a submission under way met.
#[derive(Debug, PartialEq)]
enum Met {
    Accepted(String),
    Refused,
    Nothing,
}

async fn submit(client: &Client, input: &Value) -> Met {
    match client.call(Call::submit("work", &json!({ "input": input }))).await {
        Ok(answer) if answer.status == 202 => Met::Accepted(answer.body["id"].as_str().unwrap_or_default().to_owned()),
        Ok(answer) => {
            assert_eq!((answer.status, answer.problem()), (503, "shutting-down"), "{answer:?}");
            assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer:?}");
            Met::Refused
        }
        // The connection was closed with the service.
        Err(_) => Met::Nothing,
    }
}

/// Submits until it is refused, or nobody is there any more.
async fn submit_on(client: &Client) -> (Vec<String>, Met) {
    let mut accepted = Vec::new();
    loop {
        match submit(client, &json!({ "service_s": 0.2 })).await {
            Met::Accepted(task) => accepted.push(task),
            other => return (accepted, other),
        }
    }
}

#[actix_rt::test]
async fn sigterm_under_load_loses_nothing_and_fails_nothing() {
    let site = Site::new().with("shutdown.grace = \"30s\"", &[Pool::builtin("work").fixed(4)]);
    let service = site.serve().await;
    let client = service.client();
    let slow = client.submit("work", json!({ "service_s": 1.5 })).await;
    eventually("a slow task runs", SOON, async || {
        holds(client.get(format!("/v1/tasks/{slow}")).await["state"] == "running")
    })
    .await;
    let load = join_all((0..6).map(|_| submit_on(&client)));
    let (submitted, ()) = futures_util::join!(load, async {
        eventually("a queue builds up", SOON, async || holds(pool(&client).await["waiting"].as_u64() > Some(50))).await;
        service.signal(Signal::TERM);
        let drained = eventually("readiness fails", SOON, async || {
            let answer = client.ask(Call::get("/readyz")).await;
            (answer.status == 503).then_some(answer)
        })
        .await;
        assert_eq!(drained.problem(), "not-ready");
        assert_eq!(client.ask(Call::get("/livez")).await.status, 200, "draining is no reason to be restarted");
    });
    assert_eq!(service.exit(GRACE).await, 0);
    site.empty(Duration::from_secs(2)).await;
    assert!(submitted.iter().any(|(_, met)| *met == Met::Refused), "somebody was told to go elsewhere");

    let mut accepted: Vec<String> = submitted.into_iter().flat_map(|(accepted, _)| accepted).collect();
    accepted.push(slow.clone());
    let service = site.serve().await;
    let client = service.client();
    let listed = client.tasks("pool=work").await;
    let found = |task: &String| listed.iter().find(|known| known["id"] == **task);
    assert!(accepted.iter().all(|task| found(task).is_some_and(|task| task["error"].is_null())));
    assert_eq!(found(&slow).expect("known")["state"], "succeeded", "a running task may finish");
    let left = listed.iter().filter(|task| task["finished_at"].is_null()).count();
    assert!(left > 0, "there was more than the grace is for");
    let tasks = client.settled("work", GRACE * 2).await;
    assert_eq!(tasks.len(), accepted.len());
    let once = tasks.iter().all(|task| task["state"] == "succeeded" && task["attempt"] == 1);
    assert!(once, "an attempt was cut short although all would have ended within the grace");
    assert_eq!(service.stop(GRACE).await, 0);
    println!("{} tasks accepted, {left} of them after the restart, none lost, none failed", accepted.len());
}

#[actix_rt::test]
async fn a_task_that_outlasts_the_grace_runs_again_after_the_restart() {
    let site = Site::new().with("shutdown.grace = \"300ms\"", &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let client = service.client();
    let task = client.submit("work", json!({ "service_s": 4 })).await;
    let path = format!("/v1/tasks/{task}");
    eventually("it runs", SOON, async || holds(client.get(&path).await["state"] == "running")).await;
    assert_eq!(service.stop(GRACE).await, 0);
    site.empty(Duration::from_secs(2)).await;

    let service = site.serve().await;
    let task = service.client().ended(&task).await;
    assert_eq!(task["state"], "succeeded", "{task}");
    assert!(task["crashes"].is_null(), "a handed back task did nothing wrong: {task}");
    assert_eq!(service.stop(GRACE).await, 0);
}

#[actix_rt::test]
async fn a_second_sigterm_stops_at_once() {
    let site = Site::new().with("shutdown.grace = \"10m\"", &[Pool::builtin("work")]);
    let service = site.serve().await;
    let client = service.client();
    let task = client.submit("work", json!({ "service_s": 300 })).await;
    let path = format!("/v1/tasks/{task}");
    eventually("it runs", SOON, async || holds(client.get(&path).await["state"] == "running")).await;
    service.signal(Signal::TERM);
    eventually("readiness fails", SOON, async || holds(client.ask(Call::get("/readyz")).await.status == 503)).await;
    service.signal(Signal::TERM);
    // Far below the grace, and not 0: work was cut short.
    assert_eq!(service.exit(SOON).await, 1);
    site.empty(Duration::from_secs(2)).await;

    let service = site.serve().await;
    let client = service.client();
    eventually("it runs again", SOON, async || holds(client.get(&path).await["attempt"] == 2)).await;
    client.ask(Call::new("POST", format!("{path}:cancel"))).await;
    assert_eq!(client.ended(&task).await["state"], "cancelled");
    assert_eq!(service.stop(GRACE).await, 0);
}
