use std::{future::Future, sync::Arc};

use forerunner_core::{AgentId, LeaseEpoch, TaskState};
use proptest::prelude::*;

use super::{
    lab::{Lab, at, node, retry, succeeded},
    property::{cases, check, ensure},
};
use crate::{Start, Store, TaskFilter};

/// Epochs that are old, or never were.
pub async fn a_stale_epoch_settles_nothing<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    lab.enqueue(lab.task(1)).await;
    let first = lab.claim(1, 2).await.remove(0);
    lab.settle(&first, 3, retry(at(3))).await.unwrap();
    assert!(lab.settle(&first, 4, succeeded()).await.is_err(), "it waits");
    let second = lab.claim(1, 5).await.remove(0);
    assert!(second.epoch > first.epoch);
    let mut stale = second.clone();
    for epoch in [first.epoch, second.epoch.next(), LeaseEpoch(0)] {
        stale.epoch = epoch;
        let lost = lab.settle(&stale, 6, succeeded()).await.unwrap_err();
        assert_eq!((lost.task, lost.epoch), (first.id, epoch));
    }
    assert_eq!(lab.get(first.id).await, second);
    lab.settle(&second, 7, succeeded()).await.unwrap();
    assert!(lab.settle(&second, 8, retry(at(9))).await.is_err(), "once is enough");
    assert_eq!(lab.get(first.id).await.finished_at, Some(at(7)));
}

/// Results of a node that lost its lease.
pub async fn a_settle_after_cancel_or_rescue_is_lost<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    lab.enqueue(lab.task(1)).await;
    let first = lab.claim_for(node(1), 1, 2).await.remove(0);
    lab.rescue_all_but(node(2), 3).await;
    assert!(lab.settle(&first, 4, succeeded()).await.is_err());
    lab.cancel(first.id, 5).await;
    assert!(lab.settle(&first, 6, succeeded()).await.is_err());
    assert_eq!(lab.get(first.id).await.state, TaskState::Cancelled);
    lab.store.retry(first.id, at(7)).await.unwrap().unwrap();
    let second = lab.claim_for(node(2), 1, 8).await.remove(0);
    assert!(lab.settle(&first, 9, succeeded()).await.is_err());
    lab.settle(&second, 10, succeeded()).await.unwrap();
}

/// Settles of all leases a task ever had, in any order: only the newest is accepted, once.
pub async fn the_newest_epoch_alone_is_accepted<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let leases = 2..6_usize;
    let plan = leases.prop_flat_map(|leases| (Just(leases), prop::collection::vec(0..leases, 1..20)));
    check(cases(200, 10_000), plan, async |(leases, order)| {
        lab.enqueue(lab.task(1)).await;
        let mut held = Vec::new();
        for _ in 0..leases {
            lab.rescue_all_but(node(9), 2).await;
            held.extend(lab.claim(1, 3).await);
        }
        // The default policy lets a task crash twice.
        ensure!(held.len() == leases.min(3), "{} leases", held.len());
        let mut accepted = Vec::new();
        for pick in order {
            let lease = &held[pick.min(held.len() - 1)];
            if lab.settle(lease, 4, succeeded()).await.is_ok() {
                accepted.push(lease.epoch);
            }
        }
        let newest = held.last().map(|task| task.epoch);
        let alive = leases <= 3;
        ensure!(accepted.is_empty() || (alive && accepted == [newest.unwrap()]), "accepted {accepted:?} of {held:?}");
        if let Some(last) = held.last().filter(|_| alive && accepted.is_empty()) {
            ensure!(lab.settle(last, 5, succeeded()).await.is_ok(), "the newest was refused");
        }
        Ok(())
    })
    .await;
}

/// Which agent runs what.
pub async fn agents_are_noted_under_their_lease_only<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let agent = |number: u128| AgentId::from_parts(at(0), number << 64);
    let start = |number: u128| Start { agent: agent(number), at: at(2) };
    lab.enqueue(lab.task(1)).await;
    let task = lab.claim(1, 2).await.remove(0);
    lab.store.assign(vec![(task.id, LeaseEpoch(task.epoch.0 + 1), start(1))]);
    assert_eq!(lab.get(task.id).await.agent, None);
    lab.store.assign(vec![(task.id, task.epoch, start(2))]);
    assert_eq!(lab.get(task.id).await.agent, Some(agent(2)));
    let listed = lab.store.tasks(TaskFilter { limit: 9, ..TaskFilter::default() }).await.unwrap();
    assert_eq!(listed.tasks[0].agent, Some(agent(2)));
    lab.settle(&task, 3, retry(at(3))).await.unwrap();
    assert_eq!(lab.get(task.id).await.agent, Some(agent(2)));
    lab.store.assign(vec![(task.id, task.epoch, start(3))]);
    assert_eq!(lab.get(task.id).await.agent, Some(agent(2)));
    let task = lab.claim(1, 4).await.remove(0);
    assert_eq!(task.agent, None);
    lab.settle(&task, 5, succeeded()).await.unwrap();
    assert_eq!(lab.get(task.id).await.agent, None);
}
