//! Moves of tasks to another pool.

use std::sync::Arc;

use forerunner_core::{ContextId, NewTask, TaskId, TaskState};
use forerunner_runtime::{
    BulkRequest, Error,
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::{BulkAction, MemoryOptions, MemoryStore, Obstacle, StateConflict, Store, TaskFilter};

use crate::kept_open::KeptOpen;

async fn start(store: &Arc<dyn Store>, pools: &[&str], limit: usize) -> Running {
    let rig = pools.iter().fold(Rig::new().store(store.clone()), |rig, name| {
        rig.pool(name, Script::always(Act::Echo).service("1s"), |pool| {
            (pool.min, pool.max, pool.queue.limit) = (1, 1, limit);
        })
    });
    rig.start().await
}

fn store() -> Arc<dyn Store> {
    Arc::new(KeptOpen(MemoryStore::new(MemoryOptions::default())))
}

fn of(pool: &str, to: &str, dry_run: bool) -> BulkRequest {
    let filter = TaskFilter { pool: Some(pool.parse().unwrap()), limit: 100, ..TaskFilter::default() };
    BulkRequest { action: BulkAction::Move { to: to.parse().unwrap(), dry_run }, filter, dry_run, by: None }
}

async fn waiting(rig: &Running, pool: &str) -> u64 {
    rig.handle().pool(pool).await.unwrap().waiting
}

#[actix_rt::test]
async fn tasks_of_a_pool_that_left_the_configuration_run_in_another() {
    tokio::time::pause();
    let store = store();
    let rig = start(&store, &["new", "old"], 100).await;
    rig.handle().pause("old").await.unwrap();
    let tasks = [rig.submit("old", "1").await, rig.submit("old", "2").await, rig.submit("old", "3").await];
    rig.stop().await;

    let rig = start(&store, &["new"], 100).await;
    let moved = rig.handle().move_task(tasks[0], "new").await.unwrap();
    assert_eq!((moved.pool.as_str(), moved.state), ("new", TaskState::Queued));
    let look = rig.handle().bulk(of("old", "new", true)).await.unwrap();
    assert_eq!((look.matched, look.done), (2, 2));
    let report = rig.handle().bulk(of("old", "new", false)).await.unwrap();
    assert_eq!((report.matched, report.done, report.refused.len()), (2, 2, 0));
    for task in tasks {
        assert_eq!(rig.ended(task).await.state, TaskState::Succeeded, "the queue was told");
    }
    assert_eq!(waiting(&rig, "new").await, 0, "each has left the place that it took");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_move_takes_places_in_the_other_pool_and_leaves_those_it_had() {
    tokio::time::pause();
    let rig = start(&store(), &["old", "new"], 3).await;
    for pool in ["old", "new"] {
        rig.handle().pause(pool).await.unwrap();
    }
    let first = rig.submit("new", "1").await;
    for input in ["2", "3", "4"] {
        rig.submit("old", input).await;
    }
    let report = rig.handle().bulk(of("old", "new", false)).await.unwrap();
    let room = report.refused.get(&(TaskState::Queued, Obstacle::Room)).map(|(count, _)| *count);
    assert_eq!((report.matched, report.done, room), (3, 2, Some(1)));
    assert_eq!((waiting(&rig, "old").await, waiting(&rig, "new").await), (1, 3));
    let page = rig.handle().tasks(of("old", "new", false).filter).await.unwrap();
    let left = page.tasks[0].id;
    assert!(matches!(rig.handle().move_task(left, "new").await, Err(Error::QueueFull { depth: 3, .. })));
    rig.handle().cancel(first).await.unwrap();
    assert_eq!(rig.handle().move_task(left, "new").await.unwrap().pool.as_str(), "new");
    assert_eq!((waiting(&rig, "old").await, waiting(&rig, "new").await), (0, 3));
    assert_eq!(rig.handle().move_task(left, "new").await.unwrap().pool.as_str(), "new", "it is there already");
    rig.stop().await;
}

#[actix_rt::test]
async fn moves_of_many_keep_to_the_bytes_and_the_sizes_of_the_other_pool() {
    tokio::time::pause();
    let rig = Rig::new().pool("old", Script::always(Act::Echo), |_| {});
    let rig = rig.pool("new", Script::always(Act::Echo), |pool| {
        (pool.queue.limit_bytes, pool.queue.max_input_bytes) = (300, 200);
    });
    let rig = rig.start().await;
    for pool in ["old", "new"] {
        rig.handle().pause(pool).await.unwrap();
    }
    for length in [98, 298, 98, 98, 98] {
        rig.submit("old", &format!("\"{}\"", "x".repeat(length))).await;
    }
    let look = rig.handle().bulk(of("old", "new", true)).await.unwrap();
    let pool = rig.handle().pool("new").await.unwrap();
    assert_eq!((pool.waiting, pool.input_bytes), (0, 0), "a look takes no places");
    let report = rig.handle().bulk(of("old", "new", false)).await.unwrap();
    assert_eq!(look, report, "a look says what is done then");
    let refused = |obstacle| report.refused.get(&(TaskState::Queued, obstacle)).map(|(count, _)| *count);
    assert_eq!((report.matched, report.done), (5, 3));
    assert_eq!((refused(Obstacle::TooLarge), refused(Obstacle::Room)), (Some(1), Some(1)));
    let pool = rig.handle().pool("new").await.unwrap();
    assert_eq!((pool.waiting, pool.input_bytes), (3, 300), "nothing stays reserved");
    rig.stop().await;
}

/// For one task and for many: obstacles of the task itself are reported first, however full the pool is. A task that is
/// in the pool already needs no place.
#[actix_rt::test]
async fn a_full_pool_is_blamed_for_nothing_that_the_task_itself_rules_out() {
    tokio::time::pause();
    let rig = start(&store(), &["old", "new"], 1).await;
    for pool in ["old", "new"] {
        rig.handle().pause(pool).await.unwrap();
    }
    let there = rig.submit("new", "1").await;
    let talk = NewTask { context: Some(ContextId::new("talk").unwrap()), ..Running::task("old", "1") };
    let talk = rig.handle().submit(talk).await.unwrap().task.id;
    let everywhere = TaskFilter { limit: 100, ..TaskFilter::default() };
    for dry_run in [true, false] {
        let report = rig.handle().bulk(BulkRequest { filter: everywhere.clone(), ..of("old", "new", dry_run) }).await;
        let refused = report.unwrap().refused.into_keys().map(|(_, obstacle)| obstacle).collect::<Vec<_>>();
        assert_eq!(refused, [Obstacle::Context, Obstacle::SamePool], "dry run: {dry_run}");
    }
    assert!(matches!(rig.handle().move_task(talk, "new").await, Err(Error::NotMovable { .. })));
    assert_eq!(rig.handle().move_task(there, "new").await.unwrap().pool.as_str(), "new");
    assert_eq!((waiting(&rig, "old").await, waiting(&rig, "new").await), (1, 1), "no place was taken or lost");
    rig.stop().await;
}

#[actix_rt::test]
async fn what_cannot_go_to_another_pool_says_why() {
    tokio::time::pause();
    let rig = start(&store(), &["old", "new"], 100).await;
    rig.handle().pause("old").await.unwrap();
    let task = Running::task("old", "1");
    let talk = NewTask { context: Some(ContextId::new("talk").unwrap()), ..task.clone() };
    let talk = rig.handle().submit(talk).await.unwrap().task.id;
    let refused = async |task: TaskId, to: &str| rig.handle().move_task(task, to).await.unwrap_err();
    let error = refused(talk, "new").await.to_string();
    assert!(error.contains("context `talk` of pool `old`") && error.contains("cancel the task"), "{error}");
    assert!(matches!(rig.handle().bulk(of("new", "none", false)).await, Err(Error::NoPool { .. })), "none match it");
    let error = refused(talk, "none").await.to_string();
    assert!(error.contains("`none`") && error.contains("new, old"), "{error}");
    let done = rig.submit("new", "1").await;
    rig.ended(done).await;
    let error = refused(done, "old").await;
    assert!(
        matches!(error, Error::StateConflict(StateConflict::WrongState { state: TaskState::Succeeded, .. })),
        "{error}"
    );
    assert_eq!((waiting(&rig, "old").await, waiting(&rig, "new").await), (1, 0), "no place was lost");
    rig.stop().await;
}
