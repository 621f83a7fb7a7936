use std::{future::Future, sync::Arc};

use forerunner_core::{Payload, Task};
use futures_util::future::join_all;

use super::lab::{Lab, at, id, key, pool, submission, succeeded};
use crate::{EnqueueOutcome, Refusal, Store};

/// Repeating a submission.
pub async fn the_same_key_and_body_is_the_same_task<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let with = |body: &str| Task { idempotency_key: Some(key("k")), input: Payload::trusted(body), ..lab.task(1) };
    let (first, _) = lab.enqueue(with("1")).await;
    let known = lab.try_enqueue(with("1")).await.unwrap();
    assert_eq!(known, EnqueueOutcome::Known(Box::new(lab.get(first).await)));
    let refused = lab.try_enqueue(with("2")).await.unwrap_err();
    assert_eq!(refused, Refusal::KeyReused { key: key("k"), task: first });
    assert_eq!((lab.counts().await.claimable, lab.counts().await.waiting()), (1, 1));

    let task = lab.claim(9, 2).await.remove(0);
    lab.settle(&task, 3, succeeded()).await.unwrap();
    let EnqueueOutcome::Known(known) = lab.try_enqueue(with("1")).await.unwrap() else { panic!("the key lasts") };
    assert_eq!(*known, lab.get(first).await);
    let elsewhere = Task { pool: pool("other"), ..with("2") };
    assert!(matches!(lab.try_enqueue(elsewhere).await, Ok(EnqueueOutcome::New { .. })), "a key belongs to its pool");
}

/// Duplicates that arrive together.
pub async fn one_key_in_one_batch_is_one_task<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let with = |body: &str| Task { idempotency_key: Some(key("k")), input: Payload::trusted(body), ..lab.task(1) };
    let batch = [with("1"), with("1"), with("2"), lab.task(1)].map(submission).to_vec();
    let first = batch[0].task.id;
    let answers = lab.store.enqueue(batch).await.unwrap();
    assert!(matches!(&answers[0], Ok(EnqueueOutcome::New { task, .. }) if *task == first));
    assert!(matches!(&answers[1], Ok(EnqueueOutcome::Known(task)) if task.id == first));
    assert!(matches!(&answers[2], Err(Refusal::KeyReused { task, .. }) if *task == first));
    assert!(matches!(&answers[3], Ok(EnqueueOutcome::New { .. })));
    assert_eq!(lab.counts().await.claimable, 2);
}

/// Duplicates that race.
pub async fn one_key_at_once_from_many_is_one_task<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let with = || Task { idempotency_key: Some(key("k")), input: Payload::null(), ..lab.task(1) };
    let answers = join_all((0..200).map(|_| lab.store.enqueue(vec![submission(with())]))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().remove(0).unwrap()).collect();
    let new: Vec<_> = answers.iter().filter(|answer| matches!(answer, EnqueueOutcome::New { .. })).collect();
    assert_eq!(new.len(), 1);
    let known = answers.iter().filter_map(|answer| match answer {
        EnqueueOutcome::Known(task) => Some(task.id),
        EnqueueOutcome::New { .. } => None,
    });
    let claimed = lab.claim_ids(9, 2).await;
    assert_eq!(claimed.len(), 1);
    assert!(known.into_iter().all(|id| id == claimed[0]));
}

/// The task that has a key is found, with the body of its submission.
pub async fn the_task_of_a_key_is_found<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    assert_eq!(lab.store.keyed(pool("coder"), key("k")).await.unwrap(), None);
    let task = Task { idempotency_key: Some(key("k")), ..lab.task(1) };
    let fingerprint = submission(task.clone()).fingerprint;
    let (first, _) = lab.enqueue(task).await;
    let holder = lab.store.keyed(pool("coder"), key("k")).await.unwrap().unwrap();
    assert_eq!((holder.task, holder.fingerprint), (lab.get(first).await, fingerprint));
    assert_eq!(lab.store.keyed(pool("coder"), key("other")).await.unwrap(), None);
    assert_eq!(lab.store.keyed(pool("other"), key("k")).await.unwrap(), None);
    let task = lab.claim(9, 2).await.remove(0);
    lab.settle(&task, 3, succeeded()).await.unwrap();
    assert_eq!(lab.store.keyed(pool("coder"), key("k")).await.unwrap().unwrap().task, lab.get(first).await);
}

/// The life of a key ends with its task.
pub async fn a_purged_key_is_free_again<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let with = |body: &str| Task { idempotency_key: Some(key("k")), input: Payload::trusted(body), ..lab.task(1) };
    let (first, _) = lab.enqueue(with("1")).await;
    let task = lab.claim(9, 2).await.remove(0);
    lab.settle(&task, 3, succeeded()).await.unwrap();
    assert_eq!(lab.store.purge(at(4), 9).await.unwrap(), 1);
    let (second, _) = lab.enqueue(with("2")).await;
    assert_ne!(first, second);
}

/// A submission whose answer was lost can be made again, key or not.
pub async fn the_same_id_is_the_same_task<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    let task = lab.task(1);
    lab.enqueue(task.clone()).await;
    let again = Task { input: Payload::null(), ..task.clone() };
    assert_eq!(lab.try_enqueue(again).await.unwrap(), EnqueueOutcome::Known(Box::new(task.clone())));
    assert_eq!((task.id, lab.counts().await.claimable), (id(1), 1));
}
