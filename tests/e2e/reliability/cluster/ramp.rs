//! Three nodes, one pool, a ramp: all agents together follow one forecast, also while nodes join and leave.

use std::{cell::Cell, time::Duration};

use forerunner_e2e::{Client, Nodes, PgServer, Pool, count, eventually, holds};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::rig::{self, SOON};

const MAX: u64 = 24;
/// Tasks per second at the end of the ramp, each of this many seconds.
const RATE: f64 = 12.0;
const SERVICE_S: f64 = 0.5;
/// Interval between two samples.
const LOOK: Duration = Duration::from_millis(500);

/// What was seen of a pool in one run.
#[derive(Default)]
struct Seen {
    wanted: Vec<u64>,
    held: Vec<u64>,
}

async fn start(server: &PgServer, count: usize) -> Nodes {
    let pool = |_: &_| vec![Pool::builtin("work").set(&format!("min = 1\nmax = {MAX}"))];
    let nodes = Nodes::start(&server.database(), count, "log.level = \"error\"", pool).await;
    let client = nodes.node(0).client();
    eventually("the nodes know each other", SOON, async || holds(rig::sizes(&client).await.len() == count)).await;
    nodes
}

#[actix_rt::test]
async fn three_nodes_together_follow_one_forecast() {
    let time = Duration::from_secs(count(20, 120));
    let server = PgServer::start(false);
    let alone = start(&server, 1).await;
    let mut three = start(&server, 3).await;
    let (one, all) = (alone.clients(), three.clients());
    let done = Cell::new(false);
    // At the same time, so that the machine is as busy for both.
    let ramps = async {
        futures_util::join!(ramp(&one, time), ramp(&all, time));
        done.set(true);
    };
    let (seen_alone, seen, ()) = futures_util::join!(watch(&one[0], &done), watch(&all[0], &done), ramps);
    let (single, together) = (seen_alone.usual(), seen.usual());
    assert!(seen.held.iter().chain(&seen.wanted).all(|agents| *agents <= MAX), "{:?} {:?}", seen.held, seen.wanted);
    // A node joins: the third one returns. Then it leaves for good.
    let mut overshoot = 0;
    for joins in [false, true] {
        if joins {
            three.restart(2).await;
        } else {
            assert_eq!(three.take(2).stop(SOON).await, 0);
        }
        done.set(false);
        let clients = three.clients();
        let steady = async {
            steady(&clients, Duration::from_secs(6)).await;
            done.set(true);
        };
        let (seen, ()) = futures_util::join!(watch(&clients[0], &done), steady);
        overshoot += seen.overshoot();
    }
    println!(
        "ramp: one forecast: {together:.1} agents on three nodes at the median, {single:.1} on one, {:.0} % apart; at a leave and a \
         join {overshoot} looks of more agents than were wanted",
        (together / single - 1.0).abs() * 100.0,
    );
    // In the short run a pool of some five agents is a second or two late, since nodes exchange reports once a second.
    let apart = if count(0, 1) == 0 { 2.0 } else { (single * 0.1).max(1.0) };
    assert!((together - single).abs() <= apart, "{together:.2} on three, {single:.2} on one");
    assert_eq!(overshoot, 0);
}

impl Seen {
    /// Number of agents at the median sample. The mean would depend on the sample at which a surge was answered.
    fn usual(&self) -> f64 {
        let mut held = self.held.clone();
        held.sort_unstable();
        let middle = held.len() / 2;
        (held[middle] + held[held.len().div_ceil(2) - 1]) as f64 / 2.0
    }

    /// Samples with more agents than were wanted within the last three seconds.
    fn overshoot(&self) -> usize {
        let window = (3.0 / LOOK.as_secs_f64()) as usize;
        let wanted = |place: usize| self.wanted[place.saturating_sub(window)..=place].iter().max().copied();
        self.held.iter().enumerate().filter(|(place, held)| Some(**held) > wanted(*place)).count()
    }
}

/// Records what the pool wants and has on all nodes.
async fn watch(client: &Client, done: &Cell<bool>) -> Seen {
    let mut seen = Seen::default();
    while !done.get() {
        let held = rig::sizes(client).await.iter().sum();
        let pool = client.get("/v1/pools/work").await;
        seen.wanted.push(pool["desired"].as_u64().unwrap_or_default());
        seen.held.push(held);
        sleep(LOOK).await;
    }
    seen
}

/// Submits more and more.
async fn ramp(clients: &[Client], time: Duration) {
    let begun = Instant::now();
    submit(clients, time, || RATE * (0.1 + 0.9 * begun.elapsed().as_secs_f64() / time.as_secs_f64())).await;
}

/// Submits as at the end of the ramp.
async fn steady(clients: &[Client], time: Duration) {
    submit(clients, time, || RATE).await;
}

/// Submits at a rate, to all nodes in turns, without waiting for answers.
async fn submit(clients: &[Client], time: Duration, rate: impl Fn() -> f64) {
    let begun = Instant::now();
    let (mut due, mut number) = (Duration::ZERO, 0);
    while begun.elapsed() < time {
        due += Duration::from_secs_f64(1.0 / rate());
        sleep(due.saturating_sub(begun.elapsed())).await;
        let client = clients[number % clients.len()].clone();
        number += 1;
        actix_rt::spawn(async move { client.submit("work", json!({ "service_s": SERVICE_S })).await });
    }
}
