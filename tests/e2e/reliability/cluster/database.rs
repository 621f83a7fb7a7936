//! C1, C2 and C4: the database crashes, cannot be reached, or hangs.

use std::{cell::Cell, rc::Rc, time::Duration};

use forerunner_e2e::{Call, Client, History, Nodes, PgServer, count, eventually, holds};
use serde_json::json;
use tokio::time::Instant;

use super::{
    super::load::Load,
    rig::{self, RESCUED, SOON, Times},
};

/// Longest time of a call while the database is unreachable: the node gives it up after 5 s of silence, and a busy
/// machine may add to that.
const ANSWERED: Duration = Duration::from_secs(20);

#[actix_rt::test]
async fn crashes_of_the_database_lose_nothing_and_leave_no_call_hanging() {
    let (crashes, tasks) = (count(2, 20), count(600, 10_000));
    let server = PgServer::start(true);
    let nodes = rig::start(&server.database(), 2, 4).await;
    let load = Load::on(nodes.clients(), History::of(nodes.site(0)));
    let crash_repeatedly = async {
        let mut back = Vec::new();
        for crash in 0..crashes {
            let after = tasks * (crash + 1) / (crashes + 2);
            eventually("tasks come in", RESCUED * 10, async || holds(load.acknowledged() >= after)).await;
            server.stop();
            // A claim that the crash lost is repeated, as the same attempt.
            load.history.borrow_mut().node_down(&nodes.effects(), rig::CLUSTER);
            server.start_again();
            let begun = Instant::now();
            submitted(&nodes.node(0).client()).await;
            back.push(begun.elapsed());
        }
        back
    };
    let submitting = load.submit_all(6, tasks, 0.005);
    let (back, ()) = futures_util::join!(crash_repeatedly, submitting);
    let counts = finish(nodes, &load, 4).await;
    assert!(counts.acknowledged as u64 >= tasks);
    println!(
        "C1: {crashes} crashes of the database, {counts:?}, {} submissions repeated; the first is accepted after {}",
        load.repeated.get(),
        Times(back),
    );
}

#[actix_rt::test]
async fn a_database_that_answers_no_more_is_told_in_time_and_used_again() {
    let silence = Duration::from_secs(count(12, 60));
    let server = PgServer::start(false);
    let (proxy, through) = rig::way(&server.database()).await;
    let nodes = rig::start_each(vec![through], 2).await;
    let client = nodes.node(0).client();
    let load = Load::on(nodes.clients(), History::of(nodes.site(0)));
    load.submit_all(2, 20, 0.005).await;
    proxy.freeze();
    let (answers, slowest) = ask_for(&client, silence).await;
    assert!(answers > 0 && slowest <= ANSWERED, "{answers} answers, one after {slowest:?}");
    proxy.resume();
    let begun = Instant::now();
    submitted(&client).await;
    let healed = begun.elapsed();
    load.submit_all(2, 40, 0.005).await;
    let counts = finish(nodes, &load, 2).await;
    println!(
        "C2: {silence:?} of silence, {answers} calls refused, the slowest after {slowest:.2?}; healed after {healed:.2?}; {counts:?}"
    );
}

#[actix_rt::test]
async fn a_database_that_hangs_makes_no_node_grow() {
    let hang = Duration::from_secs(count(8, 30));
    let server = PgServer::start(false);
    let nodes = rig::start(&server.database(), 1, 2).await;
    let client = nodes.node(0).client();
    let load = Load::on(nodes.clients(), History::of(nodes.site(0)));
    load.submit_all(4, 200, 0.001).await;
    let before = resident_kib(&nodes);
    let hang_of_it = server.hang();
    let (answers, slowest) = ask_for(&client, hang).await;
    let after = resident_kib(&nodes);
    drop(hang_of_it);
    submitted(&client).await;
    assert!(slowest <= ANSWERED, "{answers} answers, one after {slowest:?}");
    assert!(after < before + before / 4, "{before} KiB before, {after} KiB after");
    load.submit_all(4, 240, 0.001).await;
    let counts = finish(nodes, &load, 2).await;
    println!(
        "C4: {hang:?} without an answer, {answers} calls refused; {before} KiB before, {after} KiB after; {counts:?}"
    );
}

/// Submits repeatedly for some time. Returns the number of rejections, and the longest time of one.
async fn ask_for(client: &Client, time: Duration) -> (u64, Duration) {
    let until = Instant::now() + time;
    let refused = Rc::new(Cell::new((0, Duration::ZERO)));
    let ask = || {
        let (client, refused) = (client.clone(), refused.clone());
        async move {
            while Instant::now() < until {
                let begun = Instant::now();
                let answer =
                    client.ask(Call::submit("work", &json!({ "input": null })).header("Idempotency-Key", "lost")).await;
                assert!(matches!(answer.status, 200 | 202 | 500 | 503), "{answer:?}");
                if answer.status == 503 {
                    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
                }
                let (count, slowest) = refused.get();
                refused.set((count + u64::from(answer.status >= 500), slowest.max(begun.elapsed())));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    futures_util::future::join_all((0..4).map(|_| ask())).await;
    refused.get()
}

/// Waits until a submission is accepted.
async fn submitted(client: &Client) {
    eventually("a submission is accepted again", SOON, async || {
        let call = Call::submit("work", &json!({ "input": null })).header("Idempotency-Key", "lost");
        holds(client.call(call).await.is_ok_and(|answer| matches!(answer.status, 200 | 202)))
    })
    .await;
}

/// Waits for the ends of all tasks, stops the nodes, and checks the history against the invariants.
async fn finish(nodes: Nodes, load: &Load, agents: u32) -> forerunner_e2e::Counts {
    rig::note_depths(&nodes, load).await;
    let tasks = load.see_all_ended(RESCUED * 4).await;
    if let Some(lost) = tasks.iter().find(|task| task["input"].is_null()) {
        load.history.borrow_mut().acked("lost", lost["id"].as_str().unwrap_or_default());
    }
    let counts = rig::judge(nodes, load, agents).await;
    assert_eq!(counts.succeeded, counts.acknowledged, "{counts:?}");
    counts
}

/// The memory of the first node's own process.
fn resident_kib(nodes: &Nodes) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", nodes.node(0).pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).expect("a process that lives has memory")
}
