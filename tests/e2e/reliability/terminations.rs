//! D12: SIGTERM under load, again and again.

use std::{cell::RefCell, time::Duration};

use forerunner_e2e::{Call, Client, Event, History, Pool, Seeded, Signal, Site, count};
use futures_util::future::join_all;
use serde_json::json;

const AGENTS: u32 = 4;
const CONNECTIONS: u64 = 6;
const GRACE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(60);
const NODE: &str = "node";

const CHILDREN_GONE: Duration = Duration::from_secs(2);

#[actix_rt::test]
async fn sigterm_at_random_moments_loses_nothing_and_fails_nothing() {
    let rounds = count(10, 100);
    let site = Site::new();
    let pool = Pool::writing("work", &site.effects()).fixed(AGENTS).set("queue.limit = 1000000");
    let site = site.with("log.level = \"error\"\nshutdown.grace = \"10s\"", &[pool]);
    let history = RefCell::new(History::of(&site));
    let mut chance = Seeded::new(0xd12);
    let mut exits = Vec::new();
    for round in 0..rounds {
        let service = site.serve().await;
        let client = service.client();
        let moment = Duration::from_millis(50 + chance.below(400));
        let (history, client) = (&history, &client);
        let load = join_all((0..CONNECTIONS).map(|connection| submit_on(client, history, round, connection)));
        let (_, exit) = futures_util::join!(load, async {
            tokio::time::sleep(moment).await;
            service.signal(Signal::TERM);
            let begun = tokio::time::Instant::now();
            assert_eq!(service.exit(GRACE + Duration::from_secs(2)).await, 0, "round {round}");
            begun.elapsed()
        });
        exits.push(exit);
        // Processes that got SIGKILL with their group may take a moment to end.
        site.empty(CHILDREN_GONE).await;
        history.borrow_mut().orphans(&site);
        history.borrow_mut().node_down(&site.effects(), NODE);
    }
    let service = site.serve().await;
    let client = service.client();
    let mut history = history.into_inner();
    for task in client.settled("work", SOON * 5).await {
        assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(1)), "an attempt was cut short");
        let id = task["id"].as_str().unwrap_or_default();
        history.saw_all(&[client.get(format!("/v1/tasks/{id}")).await]);
    }
    assert_eq!(service.stop(SOON).await, 0);
    history.orphans(&site);
    history.take(&site.effects(), NODE);
    history.count_running("work", AGENTS.into());
    let counts = history.check();
    exits.sort_unstable();
    let last = exits.last().copied().unwrap_or_default();
    println!("D12: {rounds} terminations, {counts:?}; gone after {last:.2?} at most, the grace is {GRACE:?}");
}

/// Submits until a submission is rejected, or the node has stopped.
async fn submit_on(client: &Client, history: &RefCell<History>, round: u64, connection: u64) {
    for number in 0_u64.. {
        let key = format!("{round}-{connection}-{number}");
        let call = Call::submit("work", &json!({ "input": { "service_s": 0.02 } })).header("Idempotency-Key", &key);
        match client.call(call).await {
            Ok(answer) if answer.status == 202 => {
                history.borrow_mut().acked(&key, answer.body["id"].as_str().unwrap_or_default());
            }
            Ok(answer) => {
                assert_eq!((answer.status, answer.problem()), (503, "shutting-down"), "{answer:?}");
                return;
            }
            // The connection was closed with the service, before or after the task was accepted.
            Err(_) => return history.borrow_mut().note(Event::Unanswered { key }),
        }
    }
}
