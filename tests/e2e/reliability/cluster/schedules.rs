//! B5: the node that leads is killed, again and again, while a schedule submits tasks.

use std::collections::BTreeSet;

use forerunner_e2e::{Call, Client, Nodes, PgServer, count, eventually, holds};
use serde_json::json;

use super::rig::{self, RESCUED, SOON};

const NODES: usize = 3;
const AGENTS: u32 = 6;
/// Seconds between two occurrences.
const EVERY_S: i64 = 2;

#[actix_rt::test]
async fn each_occurrence_of_a_schedule_comes_once_though_its_leaders_are_killed() {
    let kills = count(2, 50);
    let server = PgServer::start(true);
    let mut nodes = rig::start(&server.database(), NODES, AGENTS).await;
    let schedule = json!({
        "name": "beat", "pool": "work", "every": format!("{EVERY_S}s"), "input": { "service_s": 0.01 }, "overlap": "queue",
        "catch_up": "all",
    });
    let _ = nodes.node(0).client().ask(Call::new("POST", "/v1/schedules").json(&schedule)).await.expect(201);
    for _ in 0..kills {
        let victim = leader(&nodes).await;
        nodes.kill(victim);
        let rest = nodes.clients();
        let fired = fired(&rest[0]).await;
        eventually("another node submits", RESCUED, async || holds(self::fired(&rest[0]).await > fired + 2)).await;
        nodes.restart(victim).await;
        rig::balanced(&rest[0], NODES, AGENTS).await;
    }
    let client = nodes.node(0).client();
    let _ = client.ask(Call::new("POST", "/v1/schedules/beat:pause")).await.expect(200);
    let tasks = client.settled("work", SOON).await;
    let mut keys = Vec::new();
    for task in &tasks {
        let task = client.get(format!("/v1/tasks/{}", task["id"].as_str().expect("an id"))).await;
        assert_eq!(task["state"], "succeeded", "{task}");
        keys.push(task["idempotency_key"].as_str().expect("a task of the schedule").to_owned());
    }
    let occurrences: BTreeSet<i64> = keys.iter().map(|key| seconds(key)).collect();
    assert_eq!(occurrences.len(), keys.len(), "none twice");
    let (first, last) = (occurrences.first().expect("some came"), occurrences.last().expect("some came"));
    assert_eq!((last - first) / EVERY_S + 1, occurrences.len() as i64, "none left out: {occurrences:?}");
    let shown = client.get("/v1/schedules/beat").await;
    assert_eq!((shown["fired"].as_u64(), shown["skipped"].as_u64()), (Some(keys.len() as u64), Some(0)), "{shown}");
    println!("B5: {kills} kills of the leader, {} occurrences, each submitted once", keys.len());
    for node in 0..NODES {
        assert_eq!(nodes.take(node).stop(SOON).await, 0);
    }
}

async fn fired(client: &Client) -> u64 {
    client.get("/v1/schedules/beat").await["fired"].as_u64().expect("a number")
}

/// The place of the node that leads: one of those that live.
async fn leader(nodes: &Nodes) -> usize {
    eventually("a living node leads", RESCUED, async || {
        for place in 0..NODES {
            let answer = nodes.node(place).client().get("/v1/nodes").await;
            let mut known = answer["nodes"].as_array().expect("a list").iter();
            if known.any(|node| node["this"] == true && node["leads"] == true) {
                return Some(place);
            }
        }
        None
    })
    .await
}

/// The second of the occurrence that a key is of: `schedule:beat:2027-01-31T12:00:00.000000Z`.
fn seconds(key: &str) -> i64 {
    let time = key.strip_prefix("schedule:beat:").expect("a key of the schedule");
    let number = |range: std::ops::Range<usize>| time[range].parse::<i64>().expect("RFC 3339");
    // Days since 0000-03-01 in the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let year = if month <= 2 { year - 1 } else { year };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day;
    days * 86_400 + number(11..13) * 3_600 + number(14..16) * 60 + number(17..19)
}
