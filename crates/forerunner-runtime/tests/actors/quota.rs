//! Limits of bytes: of inputs, and of stored contexts.

use std::{sync::Arc, time::Duration};

use forerunner_core::{ContextId, NewTask, TaskState};
use forerunner_runtime::{
    Error,
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::{MemoryOptions, MemoryStore, Refusal, Store};

use crate::kept_open::KeptOpen;

/// Inputs of 10 bytes, of which three are within the limit.
async fn start(store: Arc<dyn Store>, act: Act) -> Running {
    let script = Script::always(act).service("1s");
    let edit = |pool: &mut forerunner_runtime::PoolSettings| {
        (pool.min, pool.max) = (1, 1);
        (pool.queue.max_input_bytes, pool.queue.limit_bytes) = (10, 30);
        pool.contexts.limit_bytes = 1;
    };
    Rig::new().store(store).pool("p", script, edit).start().await
}

fn store() -> Arc<dyn Store> {
    Arc::new(KeptOpen(MemoryStore::new(MemoryOptions::default())))
}

const WIDE: &str = "\"12345678\"";

async fn bytes(rig: &Running) -> u64 {
    rig.handle().pool("p").await.unwrap().input_bytes
}

async fn refused(rig: &Running) -> bool {
    matches!(rig.handle().submit(Running::task("p", WIDE)).await, Err(Error::BytesFull { size: 10, limit: 30, .. }))
}

#[actix_rt::test]
async fn inputs_count_until_their_tasks_have_ended_however_that_comes() {
    tokio::time::pause();
    let store = store();
    let rig = start(store.clone(), Act::Echo).await;
    let handle = rig.handle();
    handle.pause("p").await.unwrap();
    let (first, second) = (rig.submit("p", WIDE).await, rig.submit("p", WIDE).await);
    let deadline = handle.task(first).await.unwrap().submitted_at + Duration::from_secs(60);
    let late = NewTask { deadline: Some(deadline), ..Running::task("p", WIDE) };
    let late = handle.submit(late).await.unwrap().task.id;
    assert_eq!((bytes(&rig).await, refused(&rig).await), (30, true));
    handle.cancel(second).await.unwrap();
    assert_eq!(bytes(&rig).await, 20);
    handle.retry(second).await.unwrap();
    assert_eq!(bytes(&rig).await, 30);
    assert_eq!(rig.ended(late).await.state, TaskState::Expired);
    assert_eq!((bytes(&rig).await, refused(&rig).await), (20, false));
    rig.stop().await;

    let rig = start(store, Act::Echo).await;
    let handle = rig.handle();
    assert_eq!((bytes(&rig).await, refused(&rig).await), (30, true), "the store knows them");
    handle.resume("p").await.unwrap();
    for task in [first, second] {
        assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    }
    rig.until("p", "all have ended", |pool| pool.input_bytes == 0).await;
    rig.stop().await;
}

/// Once one input has no room, all later ones of the batch are rejected, each with its own size.
#[actix_rt::test]
async fn what_a_batch_has_no_room_for_is_refused_by_its_own_size() {
    tokio::time::pause();
    let rig = start(store(), Act::Echo).await;
    rig.handle().pause("p").await.unwrap();
    let batch = [WIDE, WIDE, "\"234567\"", WIDE, "4", "\"56\""].map(|input| Running::task("p", input)).to_vec();
    let outcomes = rig.handle().submit_batch(batch).await;
    let sizes: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Err(Error::BytesFull { size, bytes: 28, limit: 30, .. }) => Some(*size),
            outcome => outcome.is_err().then_some(0),
        })
        .collect();
    assert_eq!(sizes, [None, None, None, Some(10), Some(1), Some(4)], "{outcomes:?}");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_full_pool_begins_no_context_and_goes_on_with_those_it_has() {
    tokio::time::pause();
    let rig = start(store(), Act::Remember).await;
    let handle = rig.handle();
    let turn = |context: &str| {
        let context = Some(ContextId::new(context).unwrap());
        handle.submit(NewTask { context, ..Running::task("p", "1") })
    };
    let first = turn("one").await.unwrap().task.id;
    assert_eq!(rig.ended(first).await.state, TaskState::Succeeded);
    let error = turn("two").await.unwrap_err();
    assert!(matches!(error, Error::Refused(Refusal::ContextsFull { .. })) && error.is_retryable(), "{error}");
    assert!(error.to_string().ends_with("or raise contexts.limit_bytes"), "{error}");
    let again = turn("one").await.unwrap().task.id;
    assert_eq!(rig.ended(again).await.state, TaskState::Succeeded);
    assert_eq!(bytes(&rig).await, 0, "what was refused took nothing");
    rig.handle().delete_context(Some("p"), ContextId::new("one").unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert!(turn("two").await.is_ok(), "it was measured anew");
    rig.stop().await;
}
