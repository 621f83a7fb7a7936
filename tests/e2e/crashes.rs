//! The node is killed, again and again, while tasks come in.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use forerunner_e2e::{Call, Client, History, NoAnswer, Pool, Seeded, Service, Site, eventually, holds};
use futures_util::future::join_all;
use serde_json::{Value, json};

const TASKS: u64 = 10_000;
const KILLS: u64 = 20;
/// Kills while tasks still come in; the others hit a node that only works its backlog off.
const KILLS_UNDER_LOAD: u64 = 15;
const CONNECTIONS: u64 = 12;
const SEED: u64 = 0xf0_4e;
const CHILDREN_GONE: Duration = Duration::from_secs(2);
const RECOVERY: Duration = Duration::from_secs(60);

/// What submitters and killer share. A service that is being replaced leaves a client behind that gets no answers.
struct Shared {
    client: RefCell<Client>,
    history: RefCell<History>,
    submitted: Cell<u64>,
    repeated: Cell<u64>,
}

impl Shared {
    fn client(&self) -> Client {
        self.client.borrow().clone()
    }
}

#[actix_rt::test]
async fn nothing_that_was_acknowledged_is_lost_by_twenty_kills_of_the_node() {
    let site = Site::new();
    let pool = Pool::writing("work", &site.effects()).fixed(8).set("task.retry_initial = \"20ms\"");
    // A task may be hit by several kills; only so many that chance alone cannot reach the limit make it dead here.
    let site = site.with("log.level = \"warn\"", &[pool.set("task.max_crashes = 8\ntask.max_attempts = 20")]);
    let service = site.serve().await;
    let shared = Shared {
        client: RefCell::new(service.client()),
        history: RefCell::default(),
        submitted: Cell::new(0),
        repeated: Cell::new(0),
    };
    let submitters = join_all((0..CONNECTIONS).map(|_| submit(&shared)));
    let (service, _) = futures_util::join!(kill_repeatedly(&site, service, &shared), submitters);
    let client = service.client();
    let listed = client.settled("work", RECOVERY * 2).await;
    let tasks = with_outputs(&client, &listed).await;
    assert_eq!(service.stop(RECOVERY).await, 0);
    site.empty(CHILDREN_GONE).await;

    let counts = shared.history.borrow_mut().check(&tasks, &site.effects().read());
    assert_eq!(counts.acknowledged as u64, TASKS);
    assert_eq!(counts.succeeded + counts.dead, counts.acknowledged, "{counts:?}");
    let crashes: u64 = tasks.iter().filter_map(|task| task["crashes"].as_u64()).sum();
    assert!(tasks.iter().filter(|task| task["state"] == "dead").all(|task| task["crashes"].as_u64() >= Some(8)));
    let repeated = shared.repeated.get();
    println!("{KILLS} kills, {counts:?}, {crashes} attempts lost with their node, {repeated} submissions repeated");
}

/// Submits the next number with its own key until it is acknowledged, until there are no more.
async fn submit(shared: &Shared) {
    while shared.submitted.get() < TASKS {
        let number = shared.submitted.replace(shared.submitted.get() + 1);
        let key = format!("task-{number}");
        let task = eventually("a submission is acknowledged", RECOVERY, async || {
            let body = json!({ "input": { "number": number, "service_s": 0.002 } });
            let call = Call::submit("work", &body).header("Idempotency-Key", &key);
            let outcome = shared.client().call(call).await;
            if outcome.is_err() {
                shared.repeated.set(shared.repeated.get() + 1);
            }
            acknowledged(outcome)
        })
        .await;
        let mut history = shared.history.borrow_mut();
        history.acknowledge(&key, task["id"].as_str().expect("an accepted task has an id"));
        history.saw(&task);
    }
}

/// An accepted task; `None` when the outcome is unknown or the node says to come back.
fn acknowledged(outcome: Result<forerunner_e2e::Answer, NoAnswer>) -> Option<Value> {
    let answer = outcome.ok()?;
    let may_repeat = matches!(answer.status, 500 | 503);
    assert!(matches!(answer.status, 200 | 202) || may_repeat, "{answer:?}");
    (!may_repeat).then_some(answer.body)
}

/// Kills the node at moments that are even on average and random in each case, and starts it again each time.
async fn kill_repeatedly(site: &Site, mut service: Service, shared: &Shared) -> Service {
    let mut chance = Seeded::new(SEED);
    for kill in 0..KILLS {
        let share = TASKS / (KILLS_UNDER_LOAD + 1);
        let after = (share * (kill + 1)).min(TASKS - 1) as usize - chance.below(share / 2) as usize;
        eventually("tasks come in", RECOVERY, async || holds(shared.history.borrow().acknowledged() >= after)).await;
        tokio::time::sleep(Duration::from_micros(chance.below(40_000))).await;
        service.kill();
        site.empty(CHILDREN_GONE).await;
        shared.history.borrow_mut().life_ended(site.effects().read().len());
        service = site.serve().await;
        *shared.client.borrow_mut() = service.client();
        observe(shared).await;
    }
    service
}

/// What has ended stays as it ended, also across the next kill.
async fn observe(shared: &Shared) {
    let page = shared.client().get("/v1/tasks?state=succeeded&limit=500").await;
    let mut history = shared.history.borrow_mut();
    page["tasks"].as_array().into_iter().flatten().for_each(|task| history.saw(task));
}

/// Reads all tasks one by one: only so they come with their output.
async fn with_outputs(client: &Client, listed: &[Value]) -> Vec<Value> {
    let ids: Vec<&str> = listed.iter().filter_map(|task| task["id"].as_str()).collect();
    let mut tasks = Vec::with_capacity(ids.len());
    for some in ids.chunks(16) {
        tasks.extend(join_all(some.iter().map(|id| client.get(format!("/v1/tasks/{id}")))).await);
    }
    tasks
}
