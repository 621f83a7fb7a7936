//! Clients that submit with keys, repeat until they get an answer, and record the answers.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use forerunner_e2e::{Answer, Call, Client, History, NoAnswer, Service, Site, eventually};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// Longest time until a submission is acknowledged, a start of the node included.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// What clients and the fault injector share. A client of a service that is being replaced gets no answers; if there
/// are several, the next one is used.
pub struct Load {
    clients: RefCell<Vec<Client>>,
    turn: Cell<usize>,
    pub history: RefCell<History>,
    submitted: Cell<u64>,
    acknowledged: Cell<u64>,
    /// Submissions without an answer, or with a request to retry.
    pub repeated: Cell<u64>,
}

impl Load {
    pub fn new(site: &Site, service: &Service) -> Self {
        Self::on(vec![service.client()], History::of(site))
    }

    /// Speaks to these in turns.
    pub fn on(clients: Vec<Client>, history: History) -> Self {
        Self {
            clients: RefCell::new(clients),
            turn: Cell::new(0),
            history: RefCell::new(history),
            submitted: Cell::new(0),
            acknowledged: Cell::new(0),
            repeated: Cell::new(0),
        }
    }

    /// The next of those to speak to.
    pub fn client(&self) -> Client {
        let clients = self.clients.borrow();
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        clients[turn % clients.len()].clone()
    }

    /// Speaks to another life of the service from now on.
    pub fn turn_to(&self, service: &Service) {
        *self.clients.borrow_mut() = vec![service.client()];
    }

    /// Speaks to these in turns from now on.
    pub fn turn_to_all(&self, clients: Vec<Client>) {
        assert!(!clients.is_empty(), "somebody is left");
        *self.clients.borrow_mut() = clients;
    }

    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.get()
    }

    /// Submits numbers below `until` over this many connections, each with its own key, until all are acknowledged.
    pub async fn submit_all(&self, connections: u64, until: u64, service_s: f64) {
        join_all((0..connections).map(|_| self.submit(until, service_s))).await;
    }

    async fn submit(&self, until: u64, service_s: f64) {
        while self.submitted.get() < until {
            let number = self.submitted.replace(self.submitted.get() + 1);
            let input = json!({ "number": number, "service_s": service_s });
            self.submit_one(&format!("task-{number}"), &input, || self.client()).await;
            self.acknowledged.set(self.acknowledged.get() + 1);
        }
    }

    /// Submits an input under a key until it is acknowledged, each time to a client of the caller's choice; answers the task's
    /// id.
    pub async fn submit_one(&self, key: &str, input: &Value, client: impl Fn() -> Client) -> String {
        let task = eventually("a submission is acknowledged", TIMEOUT, async || {
            let call = Call::submit("work", &json!({ "input": input })).header("Idempotency-Key", key);
            let task = accepted(client().call(call).await);
            self.repeated.set(self.repeated.get() + u64::from(task.is_none()));
            task
        })
        .await;
        let id = task["id"].as_str().expect("an accepted task has an id").to_owned();
        let mut history = self.history.borrow_mut();
        history.acked(key, &id);
        history.saw(&task);
        id
    }

    /// Submits tasks one by one while the pool is paused, each through the next client.
    pub async fn submit_waiting(&self, tasks: u64) {
        for number in 0..tasks {
            self.submit_one(&format!("waits-{number}"), &json!({ "waits": number }), || self.client()).await;
        }
    }

    /// Waits for the end of all tasks and records their final states, with results.
    pub async fn see_all_ended(&self, limit: Duration) -> Vec<Value> {
        let client = self.client();
        let listed = client.settled("work", limit).await;
        let tasks = with_outputs(&client, &listed).await;
        self.history.borrow_mut().saw_all(&tasks);
        tasks
    }
}

/// An accepted task; `None` when the outcome is unknown or the node requests a retry.
fn accepted(outcome: Result<Answer, NoAnswer>) -> Option<Value> {
    let answer = outcome.ok()?;
    let may_repeat = matches!(answer.status, 500 | 503 | 507);
    assert!(matches!(answer.status, 200 | 202) || may_repeat, "{answer:?}");
    (!may_repeat).then_some(answer.body)
}

/// Reads all tasks one by one, since lists have no outputs.
async fn with_outputs(client: &Client, listed: &[Value]) -> Vec<Value> {
    let ids: Vec<&str> = listed.iter().filter_map(|task| task["id"].as_str()).collect();
    let mut tasks = Vec::with_capacity(ids.len());
    for some in ids.chunks(16) {
        tasks.extend(join_all(some.iter().map(|id| client.get(format!("/v1/tasks/{id}")))).await);
    }
    tasks
}
