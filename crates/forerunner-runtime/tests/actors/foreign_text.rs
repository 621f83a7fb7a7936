//! Text from agents that some readers cannot read: the node repairs or rejects it, for every kind of agent.

use std::sync::{Arc, Mutex};

use forerunner_core::{ContextId, ErrorKind, NewTask, Payload, Task, TaskState};
use forerunner_runtime::{
    agent::{AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, StartRequest},
    testkit::{Rig, Running},
};
use futures_util::future::LocalBoxFuture;

/// What an agent does with its context and returns.
type Turn = fn(&mut AgentContext) -> Result<Payload, AgentError>;

/// A kind of agent that checks nothing: the driver runs the next turn in each attempt.
struct Unchecked {
    turns: Arc<Mutex<Vec<Turn>>>,
}

struct UncheckedDriver {
    turns: Arc<Mutex<Vec<Turn>>>,
}

impl DriverFactory for Unchecked {
    fn kind(&self) -> &'static str {
        "unchecked"
    }

    fn start(&self, _: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let driver = UncheckedDriver { turns: self.turns.clone() };
        Box::pin(async move { Ok(Box::new(driver) as Box<dyn Driver>) })
    }
}

impl Driver for UncheckedDriver {
    fn run<'a>(
        &'a mut self,
        _: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        let turn = self.turns.lock().unwrap().remove(0);
        Box::pin(async move { turn(cx) })
    }
}

/// Runs the turns in order in one context, one attempt each. No turn may cost the agent.
async fn run(turns: Vec<Turn>) -> Vec<Task> {
    tokio::time::pause();
    let count = turns.len();
    let agents = Arc::new(Unchecked { turns: Arc::new(Mutex::new(turns)) });
    let rig = Rig::new().pool_of("p", agents, |pool| {
        (pool.min, pool.max) = (1, 1);
        pool.task.max_attempts = 1;
    });
    let rig = rig.start().await;
    rig.until_ready("p", 1).await;
    let agent = rig.handle().agents("p").await.unwrap()[0].id;
    let mut ended = Vec::new();
    for _ in 0..count {
        let task = NewTask { context: Some(ContextId::new("talk").unwrap()), ..Running::task("p", "1") };
        let task = rig.handle().submit(task).await.unwrap().task.id;
        ended.push(rig.ended(task).await);
    }
    assert_eq!(rig.handle().agents("p").await.unwrap()[0].id, agent, "no turn costs the agent");
    rig.stop().await;
    ended
}

/// The output of a task that succeeded.
#[track_caller]
fn output(task: &Task) -> &str {
    assert_eq!(task.state, TaskState::Succeeded, "{:?}", task.error);
    task.output.as_ref().expect("a task that succeeded has an output").as_str()
}

/// The items that the agent sees, as one JSON text.
fn items(cx: &AgentContext) -> Payload {
    let items: Vec<&str> = cx.items().iter().map(|item| std::str::from_utf8(item.bytes()).unwrap()).collect();
    Payload::trusted(format!("[{}]", items.join(",")))
}

#[actix_rt::test]
async fn half_of_a_surrogate_pair_in_an_output_is_replaced_whatever_kind_of_agent_returned_it() {
    let ended = run(vec![
        |_| Ok(Payload::trusted(r#""\ud800""#)),
        |_| Ok(Payload::trusted(r#"{"\uDFFF":["cut \ud83d","\ud83d\ude00 whole","\\ud83d"]}"#)),
        |_| Ok(Payload::trusted(r#""\ud83d\ud83d\ude00\ude00""#)),
    ])
    .await;
    let outputs: Vec<&str> = ended.iter().map(output).collect();
    assert_eq!(
        outputs,
        [r#""\ufffd""#, r#"{"\ufffd":["cut \ufffd","\ud83d\ude00 whole","\\ud83d"]}"#, r#""\ufffd\ud83d\ude00\ufffd""#,]
    );
    for text in outputs {
        Payload::parse(text).expect("what clients may send, clients can read");
    }
}

#[actix_rt::test]
async fn an_output_that_is_nested_too_deep_is_refused_and_costs_no_agent() {
    let ended = run(vec![|_| Ok(Payload::trusted(format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))))]).await;
    let error = ended[0].error.as_ref().expect("it is refused");
    assert_eq!((ended[0].state, error.kind), (TaskState::Failed, ErrorKind::TooLarge));
    assert_eq!(ended[0].output, None);
}

#[actix_rt::test]
async fn what_an_agent_adds_to_its_context_does_not_spoil_the_next_turn() {
    let ended = run(vec![
        |cx| {
            cx.push_bytes(br#"{"text":"cut \ud83d"}"#.to_vec())?;
            Ok(Payload::null())
        },
        |cx| {
            let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
            cx.push_bytes(deep.into_bytes())?;
            Ok(Payload::null())
        },
        |cx| {
            cx.push_bytes(b"no JSON".to_vec())?;
            Ok(Payload::null())
        },
        |cx| {
            cx.splice(0..0, [br#""\udc00""#.to_vec()])?;
            Ok(Payload::null())
        },
        |cx| Ok(items(cx)),
    ])
    .await;
    let states: Vec<TaskState> = ended.iter().map(|task| task.state).collect();
    use TaskState::{Failed, Succeeded};
    assert_eq!(states, [Succeeded, Failed, Failed, Succeeded, Succeeded]);
    assert_eq!(output(&ended[4]), r#"["\ufffd",{"text":"cut \ufffd"}]"#);
}
