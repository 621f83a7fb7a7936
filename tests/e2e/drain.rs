//! A node that stops: accepted tasks are finished or wait for the next start, and clients get correct answers.

use std::{net::TcpListener, os::unix::net::UnixDatagram, time::Duration};

use forerunner_e2e::{Call, Client, PgServer, Pool, Signal, Site, eventually, holds};
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

/// Submits until a submission is rejected, or the node has stopped.
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
    // Far below the grace, and not 0: work was cut short. 128 and the number of the signal, as shells have it.
    assert_eq!(service.exit(SOON).await, 128 + Signal::TERM.as_raw());
    site.empty(Duration::from_secs(2)).await;

    let service = site.serve().await;
    let client = service.client();
    eventually("it runs again", SOON, async || holds(client.get(&path).await["attempt"] == 2)).await;
    client.ask(Call::new("POST", format!("{path}:cancel"))).await;
    assert_eq!(client.ended(&task).await["state"], "cancelled");
    assert_eq!(service.stop(GRACE).await, 0);
}

#[actix_rt::test]
async fn a_task_that_is_waited_for_is_answered_as_it_stands_when_the_node_stops_on_every_store() {
    let server = PgServer::start(false);
    for store in [None, Some("memory:".to_owned()), Some(server.database())] {
        let site = Site::new().with("shutdown.grace = \"300ms\"", &[Pool::builtin("work").fixed(1)]);
        let service = match &store {
            None => site.serve().await,
            Some(store) => site.serve_on(store).await,
        };
        let client = service.client();
        let task = json!({ "input": { "service_s": 300 } });
        let running = client.submit("work", task["input"].clone()).await;
        let path = format!("/v1/tasks/{running}");
        eventually("it runs", SOON, async || holds(client.get(&path).await["state"] == "running")).await;
        let stop = async {
            eventually("another one waits behind it", SOON, async || holds(pool(&client).await["waiting"] == 1)).await;
            // The wait for the first task is registered by the time that the second one is accepted: it was sent before.
            service.signal(Signal::TERM);
        };
        let (shown, submitted, ()) = futures_util::join!(
            client.ask(Call::get(&path).wait(60)),
            client.ask(Call::submit("work", &task).wait(60)),
            stop
        );
        assert_eq!((shown.status, &shown.body["state"]), (200, &json!("queued")), "{store:?}: {}", shown.body);
        assert_eq!((submitted.status, &submitted.body["state"]), (202, &json!("queued")), "{store:?}: {submitted:?}");
        assert!(submitted.header("location").starts_with("/v1/tasks/"), "{submitted:?}");
        assert_eq!(service.exit(GRACE).await, 0);
    }
}

#[actix_rt::test]
async fn a_closed_terminal_and_sigquit_drain_and_other_signals_cost_nothing() {
    let site = Site::new().with("shutdown.grace = \"20s\"", &[Pool::builtin("work").fixed(1)]);
    for signal in [Signal::HUP, Signal::QUIT] {
        let service = site.serve().await;
        let client = service.client();
        let task = client.submit("work", json!({ "service_s": 1 })).await;
        let path = format!("/v1/tasks/{task}");
        eventually("it runs", SOON, async || holds(client.get(&path).await["state"] == "running")).await;
        for other in
            [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::VTALARM, Signal::PROF, Signal::IO, Signal::XFSZ]
        {
            service.signal(other);
        }
        service.signal(signal);
        // A terminal that is closed sends it, and so does the shell.
        service.signal(Signal::HUP);
        assert_eq!(service.exit(GRACE).await, 0, "{signal:?}");
        let service = site.serve().await;
        let task = service.client().ended(&task).await;
        assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(1)), "{signal:?}: {task}");
        assert_eq!(service.stop(GRACE).await, 0);
    }
}

#[actix_rt::test]
async fn a_wait_of_the_command_line_goes_on_over_a_restart() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let lines = format!("shutdown.grace = \"300ms\"\nhttp.listen = \"127.0.0.1:{port}\"");
    let site = Site::new().with_own_address(&lines, &[Pool::builtin("work").fixed(1)]);
    let service = site.serve().await;
    let client = service.client();
    let address = service.address().to_owned();
    let submit = ["submit", "work", "--input", "{\"service_s\": 1.5}", "--wait=60", "--output", "json"];
    let restart = async {
        eventually("it runs", SOON, async || holds(pool(&client).await["running"] == 1)).await;
        assert_eq!(service.stop(GRACE).await, 0);
        site.serve().await
    };
    let run = site.program().env("FORERUNNER_SERVER", &address).run(submit);
    let (submitted, service) = futures_util::join!(run, restart);
    assert_eq!(submitted.ended(0).json()["state"], "succeeded");
    assert_eq!(service.stop(GRACE).await, 0);
}

#[actix_rt::test]
async fn a_service_manager_is_told_when_the_node_is_ready_that_it_lives_and_that_it_stops() {
    let site = Site::new().with("shutdown.grace = \"20s\"", &[Pool::builtin("work").fixed(1)]);
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a fresh directory");
    socket.set_read_timeout(Some(SOON)).expect("a socket has a timeout");
    let heard = || {
        let mut bytes = [0; 200];
        let length = socket.recv(&mut bytes).expect("the manager is told");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let manager = format!("NOTIFY_SOCKET={}", path.display());
    let service = site.serve_under(&["env", &manager, "WATCHDOG_USEC=200000"]).await;
    assert_eq!([heard(), heard(), heard()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    service.signal(Signal::TERM);
    let told = loop {
        match heard() {
            alive if alive == "WATCHDOG=1" => {}
            other => break other,
        }
    };
    assert!(told.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC="), "{told}");
    assert_eq!(service.exit(GRACE).await, 0);
}
