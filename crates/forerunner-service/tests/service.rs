//! The service layer on a real node with scripted agents, as any front calls it.

use std::time::Duration;

use forerunner_core::{NewTask, TaskId, TaskState};
use forerunner_runtime::testkit::{Rig, Running, Script};
use forerunner_service::{ErrorClass, Limits, ProblemKind, Service, status::TaskEventKind};
use futures_util::StreamExt;
use tokio::time::Instant;

const MAX_WAIT: Duration = Duration::from_secs(50);

/// A node with one agent, whose tasks take this long.
async fn rig(service: &str) -> (Running, Service) {
    tokio::time::pause();
    let rig = Rig::new().pool("coder", Script::answers("1").service(service), |pool| pool.min = 1).start().await;
    let service = Service::new(rig.handle(), Limits { max_wait: MAX_WAIT, memory_bytes: 16 << 20 });
    (rig, service)
}

fn new() -> NewTask {
    Running::task("coder", "{}")
}

async fn submitted(service: &Service) -> TaskId {
    service.submit(new(), None).await.unwrap().task.id
}

#[actix_rt::test]
async fn a_submission_with_a_wait_is_answered_with_the_end_of_its_task() {
    let (rig, service) = rig("2s").await;
    let accepted = service.submit(new(), Some(Duration::from_secs(10))).await.unwrap();
    assert!(accepted.created && !accepted.task.state.is_terminal());
    let waited = service.completion(accepted).await.unwrap();
    assert_eq!((waited.task.state, waited.waited, waited.is_whole), (TaskState::Succeeded, true, true));
    assert_eq!(service.open_waits(), 0);
    rig.stop().await;
}

#[actix_rt::test]
async fn a_wait_is_no_longer_than_the_operator_allows() {
    let (rig, service) = rig("1h").await;
    let (id, begun) = (submitted(&service).await, Instant::now());
    let waited = service.task(id, Some(Duration::from_secs(u64::MAX))).await.unwrap();
    assert!(!waited.task.state.is_terminal());
    assert!(begun.elapsed() >= MAX_WAIT && begun.elapsed() < MAX_WAIT * 2, "{:?}", begun.elapsed());
    rig.stop().await;
}

#[actix_rt::test]
async fn waits_and_event_streams_are_counted_and_end_with_the_service() {
    let (rig, service) = rig("1h").await;
    let id = submitted(&service).await;
    let mut events = service.follow(id, 0).await.unwrap().expect("the task goes on");
    let waiting = actix_rt::spawn({
        let service = service.clone();
        async move { service.task(id, Some(MAX_WAIT)).await }
    });
    while service.open_waits() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    service.end_waits();
    assert!(!waiting.await.unwrap().unwrap().task.state.is_terminal());
    // Past events come first.
    let first = events.next().await.expect("the task was accepted");
    assert!(matches!(first.kind, TaskEventKind::State { .. }), "{first:?}");
    while events.next().await.is_some() {}
    drop(events);
    assert_eq!(service.open_waits(), 0);
    assert!(begun.elapsed() < MAX_WAIT, "{:?}", begun.elapsed());
    let refused = service.submit(new(), None).await.err().expect("it takes nothing new");
    assert_eq!((refused.kind(), refused.class()), (ProblemKind::ShuttingDown, ErrorClass::Unavailable));
    assert!(refused.is_closing() && refused.retry_after_s() == Some(5));
    rig.stop().await;
}

#[actix_rt::test]
async fn a_task_that_has_ended_has_no_events_to_follow_behind_its_last() {
    let (rig, service) = rig("1s").await;
    let accepted = service.submit(new(), Some(MAX_WAIT)).await.unwrap();
    let id = service.completion(accepted).await.unwrap().task.id;
    let events: Vec<_> = service.follow(id, 0).await.unwrap().expect("some are kept").collect().await;
    let last = events.last().expect("it went through states").seq;
    assert!(service.follow(id, last).await.unwrap().is_none());
    let nobody = service.follow(TaskId::from_parts(service.time(), 7), 0).await.err().expect("there is no such task");
    assert_eq!((nobody.kind(), nobody.class()), (ProblemKind::NoTask, ErrorClass::NotFound));
    rig.stop().await;
}

#[actix_rt::test]
async fn each_task_of_a_batch_is_refused_in_its_own_place() {
    let (rig, service) = rig("1s").await;
    let wrong = |attempts| NewTask { max_attempts: Some(attempts), ..new() };
    let elsewhere = Running::task("nobody", "{}");
    let outcomes = service.submit_batch(vec![wrong(0), new(), elsewhere, wrong(0), wrong(2)]).await.unwrap();
    let told: Vec<_> =
        outcomes.iter().map(|one| one.as_ref().map_or_else(|error| error.kind().name(), |_| "")).collect();
    assert_eq!(told, ["invalid-value", "", "no-pool", "invalid-value", ""]);
    let many = service.submit_batch(vec![new(); 1_001]).await.unwrap_err();
    assert_eq!((many.kind(), many.class()), (ProblemKind::BatchTooLarge, ErrorClass::TooLarge));
    service.drain();
    let down = service.submit_batch(vec![new(), new()]).await.unwrap_err();
    assert_eq!(down.kind(), ProblemKind::ShuttingDown, "the node takes none: that is the answer to the whole");
    rig.stop().await;
}
