use std::{future::Future, sync::Arc, time::Duration};

use super::lab::{at, node};
use crate::{ClusterState, Heartbeat, Plan, Store};

/// A lease of a hundred microseconds, which is what the cases' clock counts in.
const LEASE: Duration = Duration::from_micros(100);

fn beat(number: u128, now: i64) -> Heartbeat {
    Heartbeat { node: node(number), now: at(now), lease: LEASE, report: format!("\"{number} at {now}\""), plan: None }
}

fn alive(beaten: &ClusterState) -> Vec<(forerunner_core::NodeId, &str)> {
    beaten.nodes.iter().map(|one| (one.node, one.report.as_str())).collect()
}

/// Nodes learn of each other, and forget those that fell silent or deregistered.
pub async fn nodes_that_beat_are_known_until_their_lease_ends<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let store = open().await;
    store.heartbeat(beat(1, 1)).await.unwrap();
    let both = store.heartbeat(beat(2, 50)).await.unwrap();
    assert_eq!(alive(&both), [(node(1), "\"1 at 1\""), (node(2), "\"2 at 50\"")]);
    let alone = store.heartbeat(beat(2, 102)).await.unwrap();
    assert_eq!(alive(&alone), [(node(2), "\"2 at 102\"")]);
    store.heartbeat(beat(3, 103)).await.unwrap();
    store.deregister(node(2)).await.unwrap();
    assert_eq!(alive(&store.heartbeat(beat(3, 104)).await.unwrap()), [(node(3), "\"3 at 104\"")]);
}

/// One node leads, as long as it beats; the next one does so under a greater term.
pub async fn one_node_leads_under_a_term_that_only_grows<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let store = open().await;
    let first = store.heartbeat(beat(1, 1)).await.unwrap().leader;
    assert_eq!(first.node, node(1));
    assert_eq!(store.heartbeat(beat(2, 2)).await.unwrap().leader, first);
    assert_eq!(store.heartbeat(beat(1, 60)).await.unwrap().leader, first, "it goes on");
    assert_eq!(store.heartbeat(beat(2, 126)).await.unwrap().leader, first);
    let beaten = store.heartbeat(beat(2, 127)).await.unwrap();
    let second = beaten.leader;
    assert_eq!(second.node, node(2), "two thirds of a lease without a beat");
    assert_eq!(alive(&beaten).len(), 2, "the tasks of the one before are its own still");
    assert!(second.term > first.term);
    assert_eq!(store.heartbeat(beat(1, 128)).await.unwrap().leader, second, "who comes back follows");
    store.deregister(node(2)).await.unwrap();
    let third = store.heartbeat(beat(1, 129)).await.unwrap().leader;
    assert!(third.node == node(1) && third.term > second.term, "{third:?}");
}

/// The plan of a leader is stored under its own term only.
pub async fn a_plan_is_the_leader_s_under_its_term<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let store = open().await;
    let plan = |term, text: &str| Some(Plan { term, text: format!("\"{text}\"") });
    let with = |number, now, plan| Heartbeat { plan, ..beat(number, now) };
    let first = store.heartbeat(beat(1, 1)).await.unwrap();
    assert_eq!(first.plan, None);
    let kept = store.heartbeat(with(1, 2, plan(first.leader.term, "four"))).await.unwrap();
    assert_eq!(kept.plan, plan(first.leader.term, "four"));
    let follower = store.heartbeat(with(2, 3, plan(first.leader.term, "forty"))).await.unwrap();
    assert_eq!(follower.plan, kept.plan, "a follower plans nothing");
    let second = store.heartbeat(beat(2, 200)).await.unwrap();
    assert_eq!(second.plan, kept.plan, "a plan outlives its leader");
    let late = store.heartbeat(with(1, 201, plan(first.leader.term, "late"))).await.unwrap();
    assert_eq!(late.plan, kept.plan, "who has lost the lead plans nothing");
    let renewed = store.heartbeat(with(2, 202, plan(second.leader.term, "two"))).await.unwrap();
    assert_eq!(renewed.plan, plan(second.leader.term, "two"));
}

/// Beating renews the leases of the node's tasks, and leaving does not end them before their time.
pub async fn a_beat_renews_the_leases_of_the_node<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = super::lab::Lab::new(open().await);
    let (task, _) = lab.enqueue(lab.task(1)).await;
    lab.claim_for(node(1), 1, 2).await;
    lab.store.heartbeat(beat(1, 500)).await.unwrap();
    let rescue = async |now| lab.store.rescue(crate::Rescue::Expired { now: at(now) }).await.unwrap();
    assert_eq!(rescue(600).await.requeued, []);
    assert_eq!(rescue(601).await.requeued, [task]);
}
