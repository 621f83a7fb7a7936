//! B8: one key on all nodes at once.

use std::collections::BTreeSet;

use forerunner_e2e::{Call, PgServer, count};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::rig;

/// Submissions of one key under way at once.
const AT_ONCE: usize = 100;

#[actix_rt::test]
async fn a_key_makes_one_task_however_many_nodes_are_told_it_at_once() {
    let (rounds, submissions) = (count(2, 100), count(300, 1_000));
    let server = PgServer::start(false);
    let nodes = rig::start(&server.database(), 3, 3).await;
    let clients = nodes.clients();
    for round in 0..rounds {
        let submit = |number: u64| {
            let call = Call::submit("work", &json!({ "input": round }));
            let client = clients[number as usize % clients.len()].clone();
            async move {
                let answer = client.ask(call.header("Idempotency-Key", format!("round-{round}"))).await;
                assert!(matches!(answer.status, 200 | 202), "{answer:?}");
                answer.body["id"].as_str().expect("an accepted task has an id").to_owned()
            }
        };
        let tasks: BTreeSet<String> =
            stream::iter(0..submissions).map(submit).buffer_unordered(AT_ONCE).collect().await;
        assert_eq!(tasks.len(), 1, "round {round}: {tasks:?}");
    }
    let known = clients[0].tasks("pool=work").await;
    assert_eq!(known.len() as u64, rounds);
    println!("B8: {rounds} keys, {submissions} submissions of each over 3 nodes, {} tasks", known.len());
}
