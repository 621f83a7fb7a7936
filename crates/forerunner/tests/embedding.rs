//! The ways in which a program embeds a runtime, and what its compiler checks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use forerunner::{Agent, AgentContext, AgentError, Error, Pool, PoolRef, Runtime, Task, ThreadPlacement};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

/// Longest time that a test waits for anything, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Turn {
    text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    text: String,
    turns: usize,
}

/// Counts the turns of a conversation, and its own starts and stops.
#[derive(Default)]
struct Chat {
    started: Arc<AtomicUsize>,
    stopped: Arc<AtomicUsize>,
}

impl Agent for Chat {
    type Input = Turn;
    type Output = Answer;

    async fn run(&mut self, turn: Turn, cx: &mut AgentContext) -> Result<Answer, AgentError> {
        if turn.text == "wait" {
            cx.progress("waiting");
            cx.cancelled().await;
            return Err(AgentError::cancelled());
        }
        cx.push(&turn)?;
        Ok(Answer { text: turn.text, turns: cx.read::<Turn>()?.len() })
    }

    async fn start(&mut self) -> Result<(), AgentError> {
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn stop(&mut self) {
        self.stopped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Numbers in, numbers out.
struct Square;

impl Agent for Square {
    type Input = u64;
    type Output = u64;

    async fn run(&mut self, number: u64, _: &mut AgentContext) -> Result<u64, AgentError> {
        Ok(number * number)
    }
}

fn turn(text: &str) -> Turn {
    Turn { text: text.to_owned() }
}

async fn runtime(placement: ThreadPlacement) -> Runtime {
    let chat = Pool::new("chat", || async { Ok(Chat::default()) }).size(1..=4);
    let square = Pool::new("square", || async { Ok(Square) }).size(1..=4);
    Runtime::builder().pool(chat).pool(square).placement(placement).start().await.expect("valid settings")
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("nothing here takes a minute")
}

/// Works with a runtime from its start to its stop.
async fn converse(placement: ThreadPlacement) {
    let runtime = runtime(placement).await;
    let chat: PoolRef<Chat> = runtime.pool("chat").expect("a pool of this type");
    for turns in 1..=3 {
        let task = chat.submit(turn("hello")).context("trip").await.expect("there is room");
        assert_eq!(soon(task).await.expect("it succeeds"), Answer { text: "hello".to_owned(), turns });
    }
    let report = soon(runtime.clone().shutdown_within(SOON)).await;
    assert!(report.clean, "{report:?}");
    assert_eq!(soon(runtime.shutdown()).await, report, "a second stop reports the first");
    assert!(chat.submit(turn("late")).await.is_err(), "a runtime that stopped accepts nothing");
}

#[test]
fn a_runtime_starts_in_every_kind_of_program() {
    for placement in [ThreadPlacement::Spread(2), ThreadPlacement::Current] {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(converse(placement));
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(converse(placement));
        actix_rt::System::new().block_on(converse(placement));
    }
}

#[tokio::main]
async fn below_tokio_main() -> Answer {
    let runtime = runtime(ThreadPlacement::Spread(1)).await;
    let chat: PoolRef<Chat> = runtime.pool("chat").expect("a pool of this type");
    // From another task, on another thread.
    let answer = tokio::spawn(async move { chat.submit(turn("hello")).await?.await });
    let answer = soon(answer).await.expect("no panic").expect("it succeeds");
    runtime.shutdown().await;
    answer
}

#[actix_rt::main]
async fn below_actix_main() -> Answer {
    let runtime = runtime(ThreadPlacement::Spread(1)).await;
    let chat: PoolRef<Chat> = runtime.pool("chat").expect("a pool of this type");
    let answer = soon(chat.submit(turn("hello")).await.expect("there is room")).await.expect("it succeeds");
    runtime.shutdown().await;
    answer
}

#[test]
fn a_runtime_starts_below_the_macros_of_both_frameworks() {
    let expected = Answer { text: "hello".to_owned(), turns: 1 };
    assert_eq!((below_tokio_main(), below_actix_main()), (expected.clone(), expected));
}

#[tokio::test]
async fn settings_that_are_not_valid_are_refused_without_a_system() {
    let pool = Pool::new("square", || async { Ok(Square) }).settings(|settings| settings.min = 900);
    let wrong = Runtime::builder().pool(pool).start().await;
    assert!(wrong.err().expect("min above max").to_string().contains("min"));
}

#[tokio::test]
async fn a_task_is_awaited_by_reference_as_often_as_one_likes() {
    let runtime = runtime(ThreadPlacement::Spread(1)).await;
    let squares: PoolRef<Square> = runtime.pool("square").expect("a pool of this type");
    let mut task: Task<u64> = squares.submit(12).priority(9).label("kind", "test").await.expect("there is room");
    let also = task.clone();
    let (first, second) = soon(async { tokio::join!(task.output(), also) }).await;
    assert_eq!((first.unwrap(), second.unwrap()), (144, 144));
    assert_eq!((soon(async { (&task).await }).await.unwrap(), soon(&mut task).await.unwrap()), (144, 144));
    assert_eq!(soon(&mut task).await.unwrap(), 144, "also after it was ready");
    assert_eq!(task.ended().await.unwrap().labels.get("kind").map(String::as_str), Some("test"));
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_task_that_runs_is_followed_and_cancelled_in_a_select() {
    let runtime = runtime(ThreadPlacement::Spread(1)).await;
    let chat: PoolRef<Chat> = runtime.pool("chat").expect("a pool of this type");
    let mut task = chat.submit(turn("wait")).await.expect("there is room");
    let mut events = task.events().await.expect("the task is there");
    let mut cancelled = false;
    let ended = loop {
        tokio::select! {
            ended = &mut task => break ended,
            Some(_) = soon(events.next()), if !cancelled => {
                cancelled = true;
                task.cancel().await.expect("it runs or waits");
            }
        }
    };
    assert!(matches!(ended, Err(Error::Task { task: id, .. }) if id == task.id()), "{ended:?}");
    runtime.shutdown().await;
}

#[tokio::test]
async fn many_tasks_are_submitted_at_once_in_order() {
    let runtime = runtime(ThreadPlacement::Spread(1)).await;
    let squares: PoolRef<Square> = runtime.pool("square").expect("a pool of this type");
    let tasks = squares.submit_many((0..200).collect()).await;
    for (number, task) in tasks.into_iter().enumerate() {
        let square = soon(task.expect("there is room")).await.expect("it succeeds");
        assert_eq!(square, (number * number) as u64);
    }
    assert!(squares.submit_many(Vec::new()).await.is_empty());
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_type_that_does_not_fit_is_named() {
    let runtime = runtime(ThreadPlacement::Spread(1)).await;
    let wrong = runtime.pool::<Square>("chat").expect_err("agents of another type").to_string();
    assert!(wrong.contains("`chat`") && wrong.contains("::Chat`") && wrong.contains("::Square`"), "{wrong}");
    let none = runtime.pool::<Square>("cube").expect_err("no such pool").to_string();
    assert!(none.contains("`cube`") && none.contains("`square`"), "{none}");
    let task = runtime.submit("square", 3).await.expect("there is room");
    let wrong = soon(task.result::<Answer>()).await.expect_err("a number is no answer").to_string();
    assert!(wrong.contains("Answer`") && wrong.contains("as the type that the agent returns"), "{wrong}");
    let task = runtime.submit("square", "three").await.expect("there is room");
    let wrong = soon(task.result::<u64>()).await.expect_err("a text is no number").to_string();
    assert!(wrong.contains("invalid type: string \"three\", expected u64"), "{wrong}");
    runtime.shutdown().await;
}

#[tokio::test]
async fn an_agent_hears_of_its_start_and_its_stop() {
    let (started, stopped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let counters = (started.clone(), stopped.clone());
    let make = move || {
        let (started, stopped) = counters.clone();
        async move { Ok(Chat { started, stopped }) }
    };
    let runtime = Runtime::builder().pool(Pool::new("chat", make).size(3..=3)).start().await.expect("valid settings");
    let chat: PoolRef<Chat> = runtime.pool("chat").expect("a pool of this type");
    soon(chat.submit(turn("hello")).await.expect("there is room")).await.expect("it succeeds");
    assert!(started.load(Ordering::Relaxed) >= 1, "it started before its first task");
    soon(runtime.shutdown_within(SOON)).await;
    let (started, stopped) = (started.load(Ordering::Relaxed), stopped.load(Ordering::Relaxed));
    assert!(started == stopped && started <= 3, "{started} started, {stopped} stopped");
}

#[tokio::test]
async fn a_panic_and_a_wait_without_end_in_a_stop_hold_up_nobody() {
    struct Bad;
    impl Agent for Bad {
        type Input = ();
        type Output = ();

        async fn run(&mut self, (): (), _: &mut AgentContext) -> Result<(), AgentError> {
            Ok(())
        }

        async fn stop(&mut self) {
            static STOPS: AtomicUsize = AtomicUsize::new(0);
            assert!(STOPS.fetch_add(1, Ordering::Relaxed) > 0, "the test asks for this panic");
            std::future::pending::<()>().await;
        }
    }
    let runtime = Runtime::builder().pool(Pool::new("bad", || async { Ok(Bad) }).size(2..=2)).start().await.unwrap();
    let bad: PoolRef<Bad> = runtime.pool("bad").expect("a pool of this type");
    soon(bad.submit(()).await.expect("there is room")).await.expect("it succeeds");
    soon(runtime.shutdown_within(Duration::from_millis(200))).await;
}

#[test]
fn a_runtime_and_its_pools_can_be_shared() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Runtime>();
    shared::<PoolRef<Chat>>();
    fn sent<T: Send + 'static>() {}
    sent::<Task<Answer>>();
}

#[cfg(feature = "test-util")]
#[actix_rt::test]
async fn own_agents_run_in_a_rig_of_the_test_kit() {
    use forerunner::testkit::Rig;

    let pool = Pool::new("square", || async { Ok(Square) });
    let running = Rig::new().pool_of("square", pool.factory(), |settings| settings.min = 1).start().await;
    let task = running.submit("square", "7").await;
    let ended = running.ended(task).await;
    assert_eq!(ended.output.map(|output| output.read::<u64>().unwrap()), Some(49));
    running.stop().await;
}
