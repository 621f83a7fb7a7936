//! What an embedder does with the crate, through its public names only.

use std::{
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use forerunner::{
    Agent, AgentContext, AgentError, ContextId, Error, ErrorKind, Pool, Runtime, RuntimeBuilder, TaskState,
    ThreadPlacement,
    agents::{ProcessSpec, SimulatedFactory, SimulatedSpec},
    node::ShutdownReport,
    policy::PolicyKind,
    status::{PoolPatch, TaskEventKind},
    store::{MemoryOptions, MemoryStore, TaskFilter},
};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

/// Longest time that a test waits for anything, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Turn {
    text: String,
}

/// Counts the turns of its conversation; some inputs make it do something else.
struct Counter {
    panicked: Arc<AtomicBool>,
}

impl Agent for Counter {
    type Input = String;
    type Output = usize;

    async fn run(&mut self, text: String, cx: &mut AgentContext) -> Result<usize, AgentError> {
        match text.as_str() {
            "wait until cancelled" => {
                cx.progress("waiting");
                cx.cancelled().await;
                return Err(AgentError::cancelled());
            }
            "refuse" => return Err(AgentError::fatal("this agent refuses")),
            "panic once" if !self.panicked.swap(true, Ordering::Relaxed) => panic!("the test asks for this panic"),
            _ => cx.push(&Turn { text })?,
        }
        Ok(cx.read::<Turn>()?.len())
    }
}

fn counters() -> Pool {
    let panicked = Arc::new(AtomicBool::new(false));
    let make = move || {
        let panicked = Arc::clone(&panicked);
        async move { Ok(Counter { panicked }) }
    };
    Pool::new("counter", make).size(1..=2).settings(|settings| settings.task.retry_initial = Duration::from_millis(1))
}

/// A runtime on the thread of the test.
fn builder() -> RuntimeBuilder {
    Runtime::builder().pool(counters()).placement(ThreadPlacement::Current)
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("nothing here takes a minute")
}

async fn stop(runtime: Runtime) {
    let ShutdownReport { clean, store, .. } = soon(runtime.shutdown_within(SOON)).await;
    assert!(clean && store.is_none(), "a runtime stops cleanly: {store:?}");
}

async fn submit(runtime: &Runtime, text: &str) -> forerunner::TaskHandle {
    runtime.submit("counter", text.to_owned()).await.expect("there is room")
}

#[actix_rt::test]
async fn a_task_is_submitted_and_its_result_read() {
    let runtime = builder().start().await.expect("valid settings");
    let task = submit(&runtime, "hello").await;
    assert!(task.is_new());
    assert_eq!(soon(task.result::<usize>()).await.expect("it succeeds"), 1);
    stop(runtime).await;
}

#[actix_rt::test]
async fn a_conversation_goes_on_and_its_context_is_warm_in_an_agent() {
    let runtime = builder().start().await.expect("valid settings");
    for turn in 1..=3 {
        let task = runtime.submit("counter", format!("turn {turn}")).context("trip").await.expect("there is room");
        assert_eq!(soon(task.result::<usize>()).await.expect("it succeeds"), turn);
    }
    let context =
        runtime.handle().context(Some("counter"), ContextId::new("trip").expect("an id")).await.expect("it is stored");
    assert_eq!((context.version, context.items), (3, 3));
    assert_eq!(context.warm_on.len(), 1, "one agent has the conversation");
    let elsewhere = runtime.submit("counter", "alone".to_owned()).await.expect("there is room");
    assert_eq!(soon(elsewhere.result::<usize>()).await.expect("it succeeds"), 1, "no other task sees it");
    stop(runtime).await;
}

#[actix_rt::test]
async fn a_task_that_runs_is_followed_and_cancelled() {
    let runtime = builder().start().await.expect("valid settings");
    let task = submit(&runtime, "wait until cancelled").await;
    let mut events = runtime.handle().events(task.id(), 0).await.expect("the task is there");
    let mut progressed = false;
    while !progressed {
        let event = soon(events.next()).await.expect("the task has not ended");
        progressed = matches!(&event.kind, TaskEventKind::Progress { text } if text == "waiting");
    }
    assert_eq!(task.cancel().await.expect("it runs").state, TaskState::Running, "it is asked to stop");
    let error = soon(task.result::<usize>()).await.expect_err("it was cancelled");
    assert!(matches!(&error, Error::Task { error, .. } if error.kind == ErrorKind::Cancelled), "{error}");
    stop(runtime).await;
}

#[actix_rt::test]
async fn an_error_of_the_agent_is_an_error_with_its_message() {
    let runtime = builder().start().await.expect("valid settings");
    let error = soon(submit(&runtime, "refuse").await.result::<usize>()).await.expect_err("it refuses");
    assert!(error.to_string().contains("this agent refuses"), "{error}");
    let ended = soon(submit(&runtime, "refuse").await.ended()).await.expect("it ends");
    assert_eq!((ended.state, ended.attempt), (TaskState::Failed, 1));
    stop(runtime).await;
}

#[actix_rt::test]
async fn an_agent_that_panics_is_replaced_and_its_task_runs_again() {
    let runtime = builder().start().await.expect("valid settings");
    let ended = soon(submit(&runtime, "panic once").await.ended()).await.expect("it ends");
    assert_eq!((ended.state, ended.attempt, ended.crashes), (TaskState::Succeeded, 2, 1));
    stop(runtime).await;
}

#[actix_rt::test]
async fn settings_of_a_task_are_checked_before_it_is_sent() {
    let runtime = builder().start().await.expect("valid settings");
    let refused = |error: Result<forerunner::TaskHandle, Error>| error.err().expect("not valid").to_string();
    assert!(refused(runtime.submit("counter", "a").priority(10).await).contains("priority"));
    assert!(refused(runtime.submit("counter", "a").context("").await).contains("context"));
    assert!(refused(runtime.submit("Counter", "a").await).contains("Counter"));
    assert!(refused(runtime.submit("nobody", "a").await).contains("nobody"));
    let input = runtime.submit("counter", 3).max_attempts(1).await.expect("any JSON is accepted");
    let error = soon(input.result::<usize>()).await.expect_err("a number is no text");
    assert!(matches!(&error, Error::Task { error, .. } if error.kind == ErrorKind::InvalidInput), "{error}");
    stop(runtime).await;
}

#[actix_rt::test]
async fn a_key_makes_one_task_and_a_label_finds_it() {
    let runtime = builder().start().await.expect("valid settings");
    let send = || runtime.submit("counter", "once".to_owned()).idempotency_key("k").label("team", "blue");
    let first = send().await.expect("there is room");
    let (id, again) = (first.id(), send().await.expect("a known key"));
    assert!(!again.is_new() && again.id() == id);
    assert_eq!(soon(first.result::<usize>()).await.expect("it succeeds"), 1);
    let labels = [("team".to_owned(), "blue".to_owned())].into();
    let filter = TaskFilter { labels, ..TaskFilter::default() };
    let found = runtime.handle().tasks(filter).await.expect("the store answers");
    assert_eq!(found.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [id]);
    stop(runtime).await;
}

#[actix_rt::test]
async fn a_pool_is_resized_paused_and_resumed() {
    let runtime = builder().start().await.expect("valid settings");
    let handle = runtime.handle();
    let patch = PoolPatch { min: Some(2), max: Some(3), ..PoolPatch::default() };
    let pool = handle.configure("counter", patch).await.expect("valid bounds");
    assert_eq!((pool.min, pool.max), (2, 3));
    let too_many = PoolPatch { max: Some(400), ..PoolPatch::default() };
    assert!(handle.configure("counter", too_many).await.is_err(), "beyond twice the configured size");
    handle.pause("counter").await.expect("a pool");
    let task = submit(&runtime, "later").await;
    let waiting = handle.wait(task.id(), Duration::from_millis(50)).await.expect("the task is there");
    assert_eq!(waiting.state, TaskState::Queued, "a paused pool starts nothing");
    handle.resume("counter").await.expect("a pool");
    assert_eq!(soon(task.result::<usize>()).await.expect("it succeeds"), 1);
    stop(runtime).await;
}

#[actix_rt::test]
async fn a_policy_and_a_simulated_agent_are_chosen_by_an_embedder() {
    let spec =
        SimulatedSpec { cold_start: Duration::ZERO, service: Duration::from_millis(1), ..SimulatedSpec::default() };
    let policy: PolicyKind = "fixed:2".parse().expect("a policy");
    let pool = Pool::of("simulated", Arc::new(SimulatedFactory::new(spec).expect("valid settings")))
        .size(0..=4)
        .on_time(0.9, Duration::from_secs(2))
        .settings(|settings| settings.policy = policy);
    let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
    let runtime = Runtime::builder().pool(pool).store(store).start().await.expect("valid settings");
    let task = runtime.submit("simulated", serde_json::json!({})).await.expect("there is room");
    assert_eq!(soon(task.ended()).await.expect("it ends").state, TaskState::Succeeded);
    let pool = runtime.handle().pool("simulated").await.expect("a pool");
    assert_eq!((pool.policy, pool.desired), ("fixed", 2));
    stop(runtime).await;
}

#[actix_rt::test]
async fn what_cannot_run_is_refused_before_a_runtime_starts() {
    assert!(Pool::process("empty", ProcessSpec::new(Vec::<String>::new())).is_err(), "no program");
    let wrong = Runtime::builder().pool(counters().settings(|settings| settings.min = 30)).start().await;
    assert!(wrong.err().expect("min above max").to_string().contains("min"));
    let twice = builder().pool(counters()).start().await;
    assert!(twice.err().expect("one name, two pools").to_string().contains("counter"));
}

async fn on_file(path: &Path) -> Runtime {
    builder().sqlite(path).start().await.expect("a file of one's own")
}

#[actix_rt::test]
async fn tasks_and_contexts_in_a_file_outlive_the_runtime() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tasks.db");
    let first = on_file(&path).await;
    let task = first.submit("counter", "one".to_owned()).context("trip").await.expect("there is room");
    let id = task.id();
    assert_eq!(soon(task.result::<usize>()).await.expect("it succeeds"), 1);
    first.handle().pause("counter").await.expect("a pool");
    let waiting = first.submit("counter", "two".to_owned()).context("trip").await.expect("there is room").id();
    stop(first).await;

    let second = on_file(&path).await;
    assert_eq!(second.handle().task(id).await.expect("it is stored").state, TaskState::Succeeded);
    second.handle().resume("counter").await.expect("a pool");
    let ended = soon(second.handle().wait(waiting, SOON)).await.expect("it is stored");
    assert_eq!(ended.output.expect("it succeeded").read::<usize>().expect("a number"), 2, "the conversation goes on");
    stop(second).await;
}

#[actix_rt::test]
async fn a_waiter_is_told_when_the_runtime_stops() {
    let runtime = builder().start().await.expect("valid settings");
    let task = submit(&runtime, "wait until cancelled").await;
    let waits = actix_rt::spawn(task.result::<usize>());
    let _ = soon(runtime.shutdown_within(Duration::ZERO)).await;
    let error = soon(waits).await.expect("the waiter does not panic").expect_err("the task has not ended");
    assert!(matches!(error, Error::Stopped { .. }), "{error}");
}
