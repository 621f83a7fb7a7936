//! Tasks whose agents ask something.

use std::{sync::Arc, time::Duration};

use forerunner_core::{AgentRequest, Payload, TaskId, TaskState};
use forerunner_runtime::{
    Error, PoolSettings,
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::{MemoryStore, StateConflict, Store};

use crate::kept_open::KeptOpen;

const HOUR: Duration = Duration::from_secs(3_600);

fn word(text: &str) -> Payload {
    Payload::from_value(text).unwrap()
}

fn one_agent(pool: &mut PoolSettings) {
    (pool.min, pool.max) = (1, 1);
}

/// Asks if the input is `"ask"`, and echoes any other.
fn asking(timeout: Duration) -> Script {
    Script::choosing(move |request| match request.input.as_str() {
        "\"ask\"" => Act::Ask(timeout),
        _ => Act::Echo,
    })
}

async fn ask(rig: &Running) -> TaskId {
    let task = rig.submit("p", "\"ask\"").await;
    rig.until_state(task, TaskState::Waiting).await;
    task
}

#[actix_rt::test]
async fn a_task_that_asks_frees_its_agent_and_goes_on_with_the_answer() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", asking(HOUR), one_agent).start().await;
    let task = ask(&rig).await;
    let shown = rig.handle().task(task).await.unwrap();
    let requests = AgentRequest::list(shown.requests.as_deref());
    assert_eq!((requests.len(), requests[0].prompt.as_str(), shown.attempt), (1, "may I?", 1));
    let other = rig.submit("p", "1").await;
    assert_eq!(rig.ended(other).await.state, TaskState::Succeeded, "the agent is free");
    let pool = rig.handle().pool("p").await.unwrap();
    assert_eq!((pool.depth, pool.running), (0, 0), "it counts neither as running nor as queued");
    rig.handle().answer(task, "r1", &word("allow")).await.unwrap();
    let ended = rig.ended(task).await;
    assert_eq!((ended.state, ended.output, ended.attempt), (TaskState::Succeeded, Some(word("yes")), 1));
    rig.stop().await;
}

#[actix_rt::test]
async fn an_answer_is_idempotent_and_another_one_refused() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", asking(HOUR), one_agent).start().await;
    let task = ask(&rig).await;
    let handle = rig.handle();
    assert!(matches!(handle.answer(task, "r1", &word("maybe")).await, Err(Error::Answer { .. })));
    assert!(matches!(handle.answer(task, "r2", &word("yes")).await, Err(Error::Answer { .. })));
    handle.answer(task, "r1", &word("yes")).await.unwrap();
    handle.answer(task, "r1", &word("allow")).await.unwrap();
    assert!(matches!(handle.answer(task, "r1", &word("no")).await, Err(Error::Answer { .. })));
    assert_eq!(rig.ended(task).await.output, Some(word("yes")));
    handle.answer(task, "r1", &word("yes")).await.unwrap();
    rig.stop().await;
}

#[actix_rt::test]
async fn a_question_that_nobody_answers_ends_its_task() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", asking(Duration::from_secs(5)), one_agent).start().await;
    let (late, cancelled) = (ask(&rig).await, ask(&rig).await);
    assert_eq!(rig.handle().cancel(cancelled).await.unwrap().state, TaskState::Cancelled);
    let ended = rig.ended(late).await;
    assert_eq!(
        (ended.state, ended.error.unwrap().message.as_str()),
        (TaskState::Expired, "nobody answered the agent in time")
    );
    let error = rig.handle().answer(late, "r1", &word("yes")).await.unwrap_err();
    assert!(matches!(error, Error::StateConflict(StateConflict::WrongState { .. })), "{error}");
    rig.stop().await;
}

#[actix_rt::test]
async fn the_time_to_answer_is_no_part_of_the_attempt() {
    tokio::time::pause();
    let limit = |pool: &mut PoolSettings| {
        one_agent(pool);
        pool.task.timeout = Duration::from_secs(10);
    };
    let rig = Rig::new().pool("p", asking(HOUR), limit).start().await;
    let task = ask(&rig).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    rig.handle().answer(task, "r1", &word("no")).await.unwrap();
    let ended = rig.ended(task).await;
    assert_eq!((ended.output, ended.deadline), (Some(word("no")), None));
    rig.stop().await;
}

#[actix_rt::test]
async fn a_thousand_tasks_that_wait_are_answered_once_each_after_a_restart() {
    const TASKS: usize = 1_000;
    tokio::time::pause();
    let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::default()));
    let build = || {
        let script = asking(HOUR);
        let log = script.log();
        let pool = |pool: &mut PoolSettings| (pool.min, pool.max) = (8, 8);
        (Rig::new().store(store.clone()).pool("p", script, pool), log)
    };
    let rig = build().0.start().await;
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        tasks.push(rig.submit("p", "\"ask\"").await);
    }
    for task in &tasks {
        rig.until_state(*task, TaskState::Waiting).await;
    }
    rig.stop().await;
    let (rig, log) = build();
    let rig = rig.start().await;
    // Each is answered ten times, in an order that has nothing to do with that of the questions.
    let mut calls: Vec<TaskId> = (0..TASKS * 10).map(|call| tasks[call * 7_919 % TASKS]).collect();
    calls.rotate_left(TASKS / 3);
    for call in calls {
        rig.handle().answer(call, "r1", &word("yes")).await.unwrap();
    }
    for task in &tasks {
        assert_eq!(rig.ended(*task).await.output, Some(word("yes")));
    }
    let runs = log.runs();
    let distinct: std::collections::HashSet<_> = runs.iter().map(|(_, task)| *task).collect();
    assert_eq!((runs.len(), distinct.len()), (TASKS, TASKS), "each ran once more, and none twice");
    rig.stop().await;
}

#[actix_rt::test]
async fn an_agent_closes_the_question_of_a_task_that_does_not_come_back() {
    tokio::time::pause();
    let script = asking(HOUR);
    let rig = Rig::new().pool("p", script.clone(), one_agent).start().await;
    let (cancelled, answered) = (ask(&rig).await, ask(&rig).await);
    rig.handle().cancel(cancelled).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(script.released(), [cancelled]);
    rig.handle().answer(answered, "r1", &word("allow")).await.unwrap();
    assert_eq!(rig.ended(answered).await.state, TaskState::Succeeded);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(script.released(), [cancelled], "the other one came back");
    rig.stop().await;
}
