//! Pools with tasks that are no longer in the configuration.

use std::{sync::Arc, time::Duration};

use forerunner_core::{ContextId, NewTask, TaskState};
use forerunner_runtime::{
    UnconfiguredPool,
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::{MemoryOptions, MemoryStore, Store, TaskFilter};

use crate::kept_open::KeptOpen;

async fn start(store: &Arc<dyn Store>, pools: &[&str]) -> Running {
    let rig = pools.iter().fold(Rig::new().store(store.clone()), |rig, name| {
        rig.pool(name, Script::always(Act::Remember).service("1s"), |pool| (pool.min, pool.max) = (1, 1))
    });
    rig.start().await
}

async fn unconfigured(rig: &Running, count: u64) -> UnconfiguredPool {
    for _ in 0..100 {
        if let [pool] = &rig.handle().unconfigured_pools()[..]
            && pool.unfinished() == count
        {
            return pool.clone();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{count} tasks in one pool are expected, found {:?}", rig.handle().unconfigured_pools());
}

#[actix_rt::test]
async fn tasks_of_a_pool_that_left_the_configuration_are_told_of_cancelled_retried_and_expire() {
    tokio::time::pause();
    let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::new(MemoryOptions::default())));
    let rig = start(&store, &["new", "old"]).await;
    let context = ContextId::new("talk").unwrap();
    let turn = NewTask { context: Some(context.clone()), ..Running::task("old", "1") };
    let turn = rig.handle().submit(turn).await.unwrap().task.id;
    assert_eq!(rig.ended(turn).await.state, TaskState::Succeeded);
    rig.handle().pause("old").await.unwrap();
    let (first, second) = (rig.submit("old", "1").await, rig.submit("old", "2").await);
    let deadline = rig.ended(turn).await.submitted_at + Duration::from_secs(600);
    let late =
        rig.handle().submit(NewTask { deadline: Some(deadline), ..Running::task("old", "3") }).await.unwrap().task.id;
    rig.stop().await;

    let rig = start(&store, &["new"]).await;
    let handle = rig.handle();
    let found = unconfigured(&rig, 3).await;
    assert_eq!((found.name.as_str(), found.configured, found.queued), ("old", false, 3));
    let readiness = handle.readiness().await;
    assert!(readiness.ready && readiness.warnings[0].contains("`old` (3 tasks)"), "{readiness:?}");
    let page = handle.tasks(TaskFilter { pool: Some(found.name), limit: 10, ..TaskFilter::default() }).await.unwrap();
    assert_eq!(page.tasks.len(), 4);
    assert_eq!(handle.cancel(first).await.unwrap().state, TaskState::Cancelled);
    assert_eq!(handle.retry(first).await.unwrap().state, TaskState::Queued);
    assert_eq!(handle.cancel(first).await.unwrap().state, TaskState::Cancelled);
    unconfigured(&rig, 2).await;
    assert_eq!(rig.ended(late).await.state, TaskState::Expired, "whoever waits is told");
    assert!(rig.ended(late).await.finished_at.unwrap().since(deadline) < Duration::from_secs(1));
    assert_eq!(handle.contexts(None, Some("old"), None, 10).await.unwrap().contexts.len(), 1);
    handle.delete_context(Some("old"), context.clone()).await.unwrap();
    assert!(handle.delete_context(Some("old"), context).await.is_err(), "it is gone");
    assert!(handle.contexts(None, Some("none"), None, 10).await.is_err(), "there was no such pool");
    rig.stop().await;

    let rig = start(&store, &["new", "old"]).await;
    assert!(rig.handle().unconfigured_pools().is_empty());
    rig.handle().resume("old").await.unwrap();
    assert_eq!(rig.ended(second).await.state, TaskState::Succeeded, "back in the configuration it runs");
    rig.stop().await;
}
