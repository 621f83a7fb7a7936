//! Submission, order, retries, cancellation, limits.

use std::time::Duration;

use forerunner_core::{ContextId, ErrorKind, IdempotencyKey, NewTask, Priority, Task, TaskState};
use forerunner_runtime::{
    Error,
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::{Refusal, TaskFilter};
use futures_util::{FutureExt, StreamExt};

#[actix_rt::test]
async fn a_task_is_accepted_run_and_answered() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Echo).service("2s"), |_| {}).start().await;
    let task = rig.submit("p", r#"{"n":1}"#).await;
    let ended = rig.ended(task).await;
    assert_eq!(ended.state, TaskState::Succeeded);
    assert_eq!(ended.output.unwrap().as_str(), r#"{"n":1}"#);
    assert_eq!(ended.attempt, 1);
    rig.stop().await;
}

#[actix_rt::test]
async fn urgent_tasks_go_first_and_equals_in_order() {
    tokio::time::pause();
    let rig = Rig::new()
        .pool("p", Script::always(Act::Echo).service("1s"), |pool| (pool.min, pool.max) = (1, 1))
        .start()
        .await;
    rig.until_ready("p", 1).await;
    rig.handle().pause("p").await.unwrap();
    let mut wanted = Vec::new();
    for (name, priority) in [("c", 1), ("b", 5), ("a", 9), ("d", 1)] {
        let mut task = Running::task("p", &format!("\"{name}\""));
        task.priority = Priority::new(priority).unwrap();
        wanted.push((name, rig.handle().submit(task).await.unwrap().task.id));
    }
    rig.handle().resume("p").await.unwrap();
    for (_, task) in &wanted {
        rig.ended(*task).await;
    }
    wanted.sort_by_key(|(name, _)| *name);
    let order: Vec<_> = rig.log("p").runs().into_iter().map(|(_, task)| task).collect();
    assert_eq!(order, wanted.into_iter().map(|(_, task)| task).collect::<Vec<_>>());
    rig.stop().await;
}

#[actix_rt::test]
async fn a_failed_attempt_is_tried_again_with_backoff_and_then_dead_and_can_be_redriven() {
    tokio::time::pause();
    let script = Script::choosing(|request| if request.attempt < 3 { Act::Fail("busy".into()) } else { Act::Echo });
    let rig = Rig::new().pool("p", script, |pool| pool.task.max_attempts = 2).start().await;
    let task = rig.submit("p", "1").await;
    let begun = tokio::time::Instant::now();
    let dead = rig.ended(task).await;
    assert_eq!((dead.state, dead.attempt), (TaskState::Dead, 2));
    assert_eq!(dead.error.unwrap().kind, ErrorKind::AgentError);
    assert!(begun.elapsed() >= Duration::from_millis(500), "half of the first delay at least");
    let filter = TaskFilter { states: vec![TaskState::Dead], limit: 10, ..TaskFilter::default() };
    assert_eq!(rig.handle().tasks(filter).await.unwrap().tasks.len(), 1);
    assert_eq!(rig.handle().retry(task).await.unwrap().state, TaskState::Queued);
    assert_eq!(rig.ended(task).await.attempt, 2, "retried with fresh attempts");
    rig.stop().await;
}

#[actix_rt::test]
async fn an_error_that_no_retry_cures_ends_the_task_at_once() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Reject("no such order".into())), |_| {}).start().await;
    let task = rig.submit("p", "1").await;
    let ended = rig.ended(task).await;
    assert_eq!((ended.state, ended.attempt), (TaskState::Failed, 1));
    assert_eq!(ended.error.unwrap().message, "no such order");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_delayed_task_starts_when_it_is_due() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Echo), |_| {}).start().await;
    let mut new = Running::task("p", "1");
    let now = rig.handle().submit(Running::task("p", "0")).await.unwrap().task.submitted_at;
    new.run_at = Some(now + Duration::from_secs(60));
    let task = rig.handle().submit(new).await.unwrap().task;
    assert_eq!(task.state, TaskState::Scheduled);
    let ended = rig.ended(task.id).await;
    let late = ended.started_at.unwrap().since(now + Duration::from_secs(60));
    assert!(ended.started_at.unwrap() >= task.run_at && late < Duration::from_millis(250), "{late:?}");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_task_past_its_deadline_expires_waiting_or_running() {
    tokio::time::pause();
    let rig = Rig::new()
        .pool("p", Script::always(Act::Echo).service("10s"), |pool| (pool.min, pool.max) = (1, 1))
        .start()
        .await;
    rig.until_ready("p", 1).await;
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let mut new = Running::task("p", "1");
        let now = rig.handle().pool("p").await.unwrap().decision.map(|decision| decision.at);
        new.deadline = now.map(|now| now + Duration::from_secs(5));
        tasks.push(rig.handle().submit(new).await.unwrap().task.id);
    }
    for task in tasks {
        assert_eq!(rig.ended(task).await.state, TaskState::Expired);
    }
    rig.stop().await;
}

#[actix_rt::test]
async fn a_waiting_task_is_cancelled_at_once_and_a_running_one_is_stopped() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Hang), |pool| (pool.min, pool.max) = (1, 1)).start().await;
    let running = rig.submit("p", "1").await;
    let waiting = rig.submit("p", "2").await;
    rig.until_state(running, TaskState::Running).await;
    assert_eq!(rig.handle().cancel(waiting).await.unwrap().state, TaskState::Cancelled);
    assert_eq!(rig.handle().cancel(running).await.unwrap().state, TaskState::Running);
    assert_eq!(rig.ended(running).await.state, TaskState::Cancelled);
    assert_eq!(rig.handle().cancel(running).await.unwrap().state, TaskState::Cancelled, "unchanged");
    rig.until_ready("p", 1).await;
    rig.stop().await;
}

#[actix_rt::test]
async fn whoever_waits_for_a_task_is_answered_when_the_node_stops_and_an_event_stream_ends() {
    tokio::time::pause();
    let hour = Duration::from_secs(3_600);
    let rig = Rig::new().pool("p", Script::always(Act::Hang), |pool| (pool.min, pool.max) = (1, 1)).start().await;
    let ending = rig.handle().submit_watched(Running::task("p", "1")).await.unwrap();
    let (task, handle) = (ending.id(), rig.handle());
    rig.until_state(task, TaskState::Running).await;
    let events = handle.events(task, 0).await.unwrap().collect::<Vec<_>>();
    let (waited, ended, events, ()) = futures_util::join!(handle.wait(task, hour), ending.task(), events, rig.stop());
    // The store closed right after the node, so the read at the end of a wait may come too late.
    let in_time = |task: &Task| task.state == TaskState::Queued;
    assert!(matches!(&waited, Ok(task) if in_time(task)) || matches!(waited, Err(Error::Store(_))), "{waited:?}");
    assert!(matches!(ended, Err(Error::Stopped { task: of }) if of == task), "{ended:?}");
    assert!(!events.is_empty());
    assert!(handle.wait(task, hour).await.is_err(), "a wait that comes too late is answered at once as well");
}

#[actix_rt::test]
async fn the_same_key_and_body_is_the_same_task_and_another_body_is_refused() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Echo), |_| {}).start().await;
    let keyed = |input| {
        let mut task = Running::task("p", input);
        task.idempotency_key = Some(IdempotencyKey::new("order-7").unwrap());
        task
    };
    let first = rig.handle().submit(keyed("1")).await.unwrap();
    let again = rig.handle().submit(keyed("1")).await.unwrap();
    assert!(first.created && !again.created);
    assert_eq!(first.task.id, again.task.id);
    assert!(matches!(rig.handle().submit(keyed("2")).await, Err(Error::Refused(_))));
    let ending = rig.handle().submit_watched(keyed("1")).await.unwrap();
    assert!(!ending.is_new());
    assert_eq!(ending.task().await.unwrap().state, TaskState::Succeeded);
    let (known, ending) = rig.handle().submit_and_watch(keyed("1")).await.unwrap();
    assert_eq!((known.created, known.task.id, ending.is_none()), (false, first.task.id, true));
    assert_eq!(rig.handle().pool("p").await.unwrap().waiting, 0);
    rig.stop().await;
}

#[actix_rt::test]
async fn a_submission_that_is_watched_is_answered_as_it_is_accepted_and_as_it_ends_or_stands() {
    tokio::time::pause();
    let script = Script::always(Act::Echo).service("10s");
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (1, 1)).start().await;
    rig.until_ready("p", 1).await;
    let (submitted, ending) = rig.handle().submit_and_watch(Running::task("p", "1")).await.unwrap();
    assert!(submitted.created && submitted.task.state == TaskState::Queued);
    let ending = ending.expect("the task is new");
    assert_eq!(ending.id(), submitted.task.id);
    assert_eq!(ending.within(Duration::from_secs(60)).await.unwrap().state, TaskState::Succeeded);
    let (submitted, ending) = rig.handle().submit_and_watch(Running::task("p", "2")).await.unwrap();
    let stands = ending.expect("the task is new").within(Duration::from_secs(1)).await.unwrap();
    assert_eq!((stands.id, stands.state), (submitted.task.id, TaskState::Running));
    rig.stop().await;
}

#[actix_rt::test]
async fn a_full_queue_refuses_and_loses_nothing() {
    tokio::time::pause();
    let rig = Rig::new()
        .pool("p", Script::always(Act::Echo).service("1s"), |pool| {
            (pool.min, pool.max) = (1, 1);
            pool.queue.limit = 3;
        })
        .start()
        .await;
    rig.handle().pause("p").await.unwrap();
    let mut accepted = Vec::new();
    for _ in 0..10 {
        match rig.handle().submit(Running::task("p", "1")).await {
            Ok(submitted) => accepted.push(submitted.task.id),
            Err(Error::QueueFull { depth, limit, retry_after, .. }) => {
                assert_eq!((depth, limit), (3, 3));
                assert!(retry_after >= Duration::from_secs(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(accepted.len(), 3);
    rig.handle().resume("p").await.unwrap();
    for task in accepted {
        assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    }
    rig.stop().await;
}

#[actix_rt::test]
async fn a_batch_is_answered_task_by_task_in_its_order() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Echo), |pool| pool.queue.max_input_bytes = 8).start().await;
    let keyed = |key: &str, input: &str| NewTask {
        idempotency_key: Some(IdempotencyKey::new(key).unwrap()),
        ..Running::task("p", input)
    };
    let batch = vec![
        Running::task("p", "1"),
        Running::task("p", "\"far too long\""),
        keyed("k", "2"),
        Running::task("nobody", "3"),
        keyed("k", "2"),
        keyed("k", "4"),
        Running::task("p", "5"),
    ];
    let outcomes = rig.handle().submit_batch(batch).await;
    assert!(matches!(&outcomes[1], Err(Error::TooLarge { size: 14, limit: 8, .. })), "{:?}", outcomes[1]);
    assert!(matches!(&outcomes[3], Err(Error::NoPool { .. })), "{:?}", outcomes[3]);
    assert!(matches!(&outcomes[5], Err(Error::Refused(_))), "{:?}", outcomes[5]);
    let [first, known] = [2, 4].map(|place| outcomes[place].clone().unwrap());
    assert_eq!((first.created, known.created, known.task.id), (true, false, first.task.id));
    for (place, input) in [(0, "1"), (2, "2"), (6, "5")] {
        let ended = rig.ended(outcomes[place].as_ref().unwrap().task.id).await;
        assert_eq!((ended.state, ended.output.unwrap().as_str()), (TaskState::Succeeded, input));
    }
    assert_eq!(rig.handle().submit_batch(Vec::new()).await.len(), 0);
    assert_eq!(rig.handle().pool("p").await.unwrap().waiting, 0, "every place was given back");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_batch_that_does_not_fit_is_taken_from_its_begin() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Echo), |pool| pool.queue.limit = 5).start().await;
    rig.handle().pause("p").await.unwrap();
    rig.submit("p", "0").await;
    let batch = (0..9).map(|number| Running::task("p", &number.to_string())).collect();
    let outcomes = rig.handle().submit_batch(batch).await;
    let taken: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, true, true, true, false, false, false, false, false]);
    for refused in &outcomes[4..] {
        assert!(matches!(refused, Err(Error::QueueFull { depth: 5, limit: 5, .. })), "{refused:?}");
    }
    rig.handle().resume("p").await.unwrap();
    rig.until("p", "nothing waits", |status| status.waiting == 0 && status.running == 0).await;
    rig.stop().await;
}

#[actix_rt::test]
async fn a_known_key_is_answered_beside_a_full_queue_and_needs_no_room_in_a_batch() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Echo), |pool| pool.queue.limit = 2).start().await;
    rig.handle().pause("p").await.unwrap();
    let keyed = |key: &str, input: &str| NewTask {
        idempotency_key: Some(IdempotencyKey::new(key).unwrap()),
        ..Running::task("p", input)
    };
    let first = rig.handle().submit(keyed("k", r#"{"a":1,"b":2}"#)).await.unwrap().task.id;
    rig.submit("p", "1").await;
    let again = rig.handle().submit(keyed("k", r#"{ "b": 2, "a": 1.0 }"#)).await.unwrap();
    assert_eq!((again.task.id, again.created), (first, false));
    let other = rig.handle().submit(keyed("k", "3")).await;
    assert!(matches!(other, Err(Error::Refused(Refusal::KeyReused { task, .. })) if task == first), "{other:?}");
    assert!(matches!(rig.handle().submit(keyed("new", "3")).await, Err(Error::QueueFull { .. })));
    let batch = vec![Running::task("p", "2"), keyed("k", r#"{"b":2,"a":1}"#), keyed("new", "3")];
    let outcomes = rig.handle().submit_batch(batch).await;
    assert!(matches!(&outcomes[1], Ok(known) if known.task.id == first && !known.created), "{outcomes:?}");
    assert!(outcomes[0].is_err() && outcomes[2].is_err(), "{outcomes:?}");
    assert_eq!(rig.handle().pool("p").await.unwrap().waiting, 2, "a known key takes no place");
    rig.handle().resume("p").await.unwrap();
    rig.until("p", "nothing waits", |status| status.waiting == 0 && status.running == 0).await;
    rig.stop().await;
}

#[actix_rt::test]
async fn tasks_of_one_context_run_one_at_a_time_in_order() {
    tokio::time::pause();
    let rig = Rig::new()
        .pool("p", Script::always(Act::Echo).service("1s"), |pool| (pool.min, pool.max) = (4, 4))
        .start()
        .await;
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let mut new = Running::task("p", "1");
        new.context = Some(ContextId::new("repo-42").unwrap());
        tasks.push(rig.handle().submit(new).await.unwrap().task.id);
    }
    let mut before = None;
    for task in &tasks {
        let ended = rig.ended(*task).await;
        assert!(before <= ended.started_at, "the one before had ended");
        before = ended.finished_at;
    }
    let order: Vec<_> = rig.log("p").runs().into_iter().map(|(_, task)| task).collect();
    assert_eq!(order, tasks);
    rig.stop().await;
}

#[actix_rt::test]
async fn events_tell_what_happened_and_end_with_the_task() {
    use futures_util::StreamExt;
    tokio::time::pause();
    let act = Act::Report("reading".into(), Box::new(Act::Echo));
    let rig = Rig::new().pool("p", Script::always(act).service("1s"), |_| {}).start().await;
    let task = rig.submit("p", "1").await;
    let events: Vec<_> = rig.handle().events(task, 0).await.unwrap().collect().await;
    let shown: Vec<_> = events.iter().map(|event| serde_json::to_value(&event.kind).unwrap()).collect();
    assert_eq!(shown.last().unwrap()["state"], "succeeded");
    assert!(shown.iter().any(|event| event["text"] == "reading"));
    let resumed: Vec<_> = rig.handle().events(task, events[0].seq).await.unwrap().collect().await;
    assert_eq!(resumed, events[1..]);
    let heard_all: Vec<_> = rig.handle().events(task, events.last().unwrap().seq).await.unwrap().collect().await;
    assert_eq!(heard_all, []);
    assert!(events.iter().all(|event| event.seq < 1 << 53), "{events:?}");
    let unknown: Vec<_> = rig.handle().events(task, u64::MAX).await.unwrap().collect().await;
    assert_eq!(unknown, events, "a number that was never given out");
    let old: Vec<_> = rig.handle().events(task, 4).await.unwrap().collect().await;
    assert_eq!(old, events, "a number of a node that ran before");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_closed_node_takes_nothing_new_and_hands_back_what_does_not_end_in_time() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::IgnoreCancel), |_| {}).start().await;
    let task = rig.submit("p", "1").await;
    rig.until_state(task, TaskState::Running).await;
    rig.handle().close_intake();
    assert!(matches!(rig.handle().submit(Running::task("p", "1")).await, Err(Error::ShuttingDown)));
    assert!(!rig.handle().readiness().await.ready);
    rig.stop().await;
}

#[actix_rt::test]
async fn a_store_in_memory_answers_a_submission_at_once() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Echo).service("2s"), |pool| pool.queue.limit = 1).start().await;
    let answer = rig.handle().submit_watched(Running::task("p", "1")).now_or_never();
    let ending = answer.expect("answered at the first poll").unwrap();
    let second = rig.handle().submit_watched(Running::task("p", "2")).now_or_never();
    assert!(matches!(second, Some(Err(Error::QueueFull { depth: 1, .. }))), "the first one has the only place");
    assert_eq!(ending.task().await.unwrap().output.as_ref().unwrap().as_str(), "1");
    rig.stop().await;
}
