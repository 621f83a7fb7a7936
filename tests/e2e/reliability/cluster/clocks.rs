//! B3: the clock of one node is wrong, and is set while it runs.

use std::{cell::Cell, process::Command};

use forerunner_e2e::{Call, Client, History, Nodes, PgServer, SetClock, count};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{
    super::load::Load,
    rig::{self, SOON},
};

const NODES: usize = 3;
const AGENTS: u32 = 6;
/// The node whose clock it is.
const WRONG: usize = 2;
/// How far off it is set, by turns; before that it is wrong from the start.
const OFFSETS: [&str; 5] = ["+1d", "-1d", "+1h", "-1h", "+0"];
/// Seconds of a task that runs while the clock is set; the clock is checked once a second.
const LONG_S: f64 = 4.0;

#[actix_rt::test]
async fn a_clock_that_is_wrong_or_set_ends_nothing_early_and_holds_nothing_up() {
    let rounds = count(1, 10);
    let server = PgServer::start(false);
    let mut nodes = rig::start(&server.database(), NODES, AGENTS).await;
    let clock = SetClock::of(nodes.site(WRONG)).expect("tests/run.sh installs faketime");
    clock.set("+1h");
    assert_eq!(nodes.take(WRONG).stop(SOON).await, 0);
    nodes.restart_under(WRONG, &clock.wrapper().each_ref().map(String::as_str)).await;
    rig::balanced(&nodes.node(0).client(), NODES, AGENTS).await;
    assert!(is_off(&nodes).await, "the clock of the node is wrong");
    let load = Load::on(nodes.clients(), History::of(nodes.site(0)));
    let leader = rig::leader(&nodes.node(0).client()).await;
    let mut tasks = Vec::new();
    for round in 0..rounds {
        for offset in OFFSETS {
            tasks.extend(one_setting(&nodes, &load, &clock, &format!("{round}:{offset}")).await);
        }
    }
    assert_eq!(rig::leader(&nodes.node(0).client()).await, leader, "the lead has not changed");
    load.see_all_ended(SOON).await;
    let counts = rig::judge(nodes, &load, AGENTS).await;
    assert_eq!((counts.succeeded, counts.runs), (tasks.len(), tasks.len()), "each ran once: {counts:?}");
    println!("B3: one of {NODES} nodes an hour off, then set {} times to {OFFSETS:?}: {counts:?}", rounds * 5);
}

/// Sets the clock while every agent works and tasks with a deadline wait; answers the tasks, all of which have succeeded at
/// their first attempt.
async fn one_setting(nodes: &Nodes, load: &Load, clock: &SetClock, name: &str) -> Vec<String> {
    let clients = nodes.clients();
    let number = Cell::new(0);
    let submit = |input: Value, deadline: Option<&str>| {
        number.set(number.get() + 1);
        let key = format!("{name}:{}", number.get());
        let mut body = json!({ "input": input });
        if let Some(deadline) = deadline {
            body["deadline"] = deadline.into();
        }
        let client = clients[number.get() % NODES].clone();
        async move { (accepted(&client, &body, &key).await, key) }
    };
    let long = join_all((0..AGENTS).map(|_| submit(json!({ "service_s": LONG_S }), None))).await;
    clock.set(name.rsplit(':').next().unwrap_or_default());
    // Within all that the clock is set to, were it believed.
    let soon = in_half_an_hour();
    let waiting = join_all((0..12).map(|_| submit(json!({ "service_s": 0.01 }), Some(&soon)))).await;
    let mut tasks = Vec::new();
    for (task, key) in long.into_iter().chain(waiting) {
        load.history.borrow_mut().acked(&key, &task);
        let ended = clients[0].ended(&task).await;
        assert_eq!((&ended["state"], &ended["attempt"]), (&json!("succeeded"), &json!(1)), "{name}: {ended}");
        tasks.push(task);
    }
    assert_eq!(rig::sizes(&clients[0]).await.len(), NODES, "{name}: all nodes live");
    tasks
}

async fn accepted(client: &Client, body: &Value, key: &str) -> String {
    let task = client.ask(Call::submit("work", body).header("Idempotency-Key", key)).await;
    assert!(matches!(task.status, 200 | 202), "{task:?}");
    task.body["id"].as_str().expect("an accepted task has an id").to_owned()
}

/// Whether the wrong node dates its answers an hour later than another one: those are dated by its own clock.
async fn is_off(nodes: &Nodes) -> bool {
    let (right, wrong) = (nodes.node(0).client(), nodes.node(WRONG).client());
    let date = async |client: &Client| client.ask(Call::get("/readyz")).await.header("Date").to_owned();
    let (right, wrong) = (date(&right).await, date(&wrong).await);
    // `Wed, 25 Nov 2026 12:00:00 GMT` to the hour.
    let hour =
        |date: &str| date.rsplit_once(':').and_then(|(rest, _)| rest.rsplit_once(':')).map(|(hour, _)| hour.to_owned());
    !right.is_empty() && hour(&right) != hour(&wrong)
}

/// In the form of the API.
fn in_half_an_hour() -> String {
    let date = Command::new("date").args(["-u", "-d", "+30 minutes", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    let date = date.expect("every system has `date`");
    String::from_utf8_lossy(&date.stdout).trim().to_owned()
}
