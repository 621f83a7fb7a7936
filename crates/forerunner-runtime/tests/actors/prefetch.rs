//! Contexts that are restored while their tasks wait for a busy agent, and handed off when an agent stops.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use forerunner_agents::{SimulatedFactory, SimulatedSpec};
use forerunner_core::{ContextId, ContextSource, Task, TaskId, TaskState};
use forerunner_runtime::testkit::{Act, Rig, Running, Script, ScriptedForecast};
use forerunner_store::{
    MemoryStore, Store,
    faulty::{Fault, FaultyStore, Schedule, Verb},
};

/// How long a read of a context takes.
const READ: Duration = Duration::from_secs(2);

/// A store with contexts of another node. Reading one takes `READ`; the calls are recorded in order.
struct OtherNode {
    store: Arc<dyn Store>,
    calls: Arc<Mutex<Vec<Verb>>>,
    /// It accepts no tasks any more. Stopping it would close the store.
    _other: Running,
}

impl OtherNode {
    async fn with(contexts: &[&str]) -> Self {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let rig = Rig::new().store(memory.clone()).pool("p", script("0s"), |pool| (pool.min, pool.max) = (1, 1));
        let rig = rig.start().await;
        for context in contexts {
            let task = submit(&rig, Some(context)).await;
            assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
        }
        rig.handle().pause("p").await.unwrap();
        let calls: Arc<Mutex<Vec<Verb>>> = Arc::default();
        let noted = calls.clone();
        let schedule = Schedule::of(move |verb, _| {
            noted.lock().push(verb);
            (verb == Verb::Context).then_some(Fault::Slow(READ))
        });
        Self { store: Arc::new(FaultyStore::new(memory, schedule)), calls, _other: rig }
    }

    /// A node with one agent, whose tasks take 10 s.
    async fn second_node(&self) -> Running {
        let rig = Rig::new().store(self.store.clone()).pool("p", script("10s"), |pool| (pool.min, pool.max) = (1, 1));
        let rig = rig.start().await;
        // The pause of the other node is stored.
        rig.handle().resume("p").await.unwrap();
        rig.until_ready("p", 1).await;
        self.calls.lock().clear();
        rig
    }

    fn count(&self, verb: Verb) -> usize {
        self.calls.lock().iter().filter(|call| **call == verb).count()
    }
}

fn script(service: &str) -> Script {
    Script::always(Act::Remember).service(service)
}

async fn submit(rig: &Running, context: Option<&str>) -> TaskId {
    // Simulated agents give their context this size and new content; scripted agents append it.
    let mut new = Running::task("p", r#"{"context_bytes": 400}"#);
    new.context = context.map(|context| ContextId::new(context).unwrap());
    rig.handle().submit(new).await.unwrap().task.id
}

/// Seconds from the task's arrival to its end, and the source of its context.
fn measured(task: &Task) -> (f64, ContextSource) {
    assert_eq!((task.state, task.attempt), (TaskState::Succeeded, 1), "{:?}", task.error);
    let took = task.finished_at.unwrap().since(task.submitted_at).as_secs_f64();
    (took, task.context_cost.as_ref().unwrap().source)
}

#[actix_rt::test]
async fn the_context_of_a_waiting_task_is_read_before_the_task_is_claimed() {
    tokio::time::pause();
    let left = OtherNode::with(&["red"]).await;
    let rig = left.second_node().await;
    let busy = submit(&rig, None).await;
    rig.until_state(busy, TaskState::Running).await;
    left.calls.lock().clear();
    let task = submit(&rig, Some("red")).await;
    let (waited, source) = measured(&rig.ended(task).await);
    let calls = left.calls.lock().clone();
    let at = |verb| calls.iter().position(|call| *call == verb);
    assert!(at(Verb::Context).unwrap() < at(Verb::Claim).or(at(Verb::ClaimIds)).unwrap(), "{calls:?}");
    assert_eq!((source, left.count(Verb::Context)), (ContextSource::Node, 1), "read once, and found on the node");
    // The busy agent's 10 s and its own; the context was read meanwhile.
    println!("a cold context behind a busy agent: {waited:.2} s to the end, of which 20 s are service");
    assert!(waited < 20.0 + READ.as_secs_f64() / 2.0, "{waited} s");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_task_that_is_claimed_meanwhile_waits_for_the_rest_of_the_restore_alone() {
    tokio::time::pause();
    let left = OtherNode::with(&["red"]).await;
    let rig = left.second_node().await;
    let busy = submit(&rig, None).await;
    rig.until_state(busy, TaskState::Running).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    let task = submit(&rig, Some("red")).await;
    let (waited, source) = measured(&rig.ended(task).await);
    assert_eq!((source, left.count(Verb::Context)), (ContextSource::Node, 1));
    assert!((12.0..12.2).contains(&waited), "read in 2 s, from its arrival on, then 10 s: {waited} s");
    rig.stop().await;
}

#[actix_rt::test]
async fn no_more_than_a_few_are_restored_at_once_and_none_twice() {
    tokio::time::pause();
    let names: Vec<String> = (0..12).map(|number| format!("c{number}")).collect();
    let contexts: Vec<&str> = names.iter().map(String::as_str).collect();
    let left = OtherNode::with(&contexts).await;
    let rig = left.second_node().await;
    let busy = submit(&rig, None).await;
    rig.until_state(busy, TaskState::Running).await;
    let mut tasks = Vec::new();
    for context in &contexts {
        tasks.push(submit(&rig, Some(context)).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(left.count(Verb::Context), 4, "as many at once");
    for task in tasks {
        assert_eq!(measured(&rig.ended(task).await).1, ContextSource::Node);
    }
    assert_eq!(left.count(Verb::Context), contexts.len(), "each once");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_restore_is_given_up_when_its_task_is_cancelled() {
    tokio::time::pause();
    let left = OtherNode::with(&["red", "blue"]).await;
    let rig = left.second_node().await;
    let busy = submit(&rig, None).await;
    rig.until_state(busy, TaskState::Running).await;
    let task = submit(&rig, Some("red")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    rig.handle().cancel(task).await.unwrap();
    let other = submit(&rig, Some("blue")).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(left.count(Verb::Context), 2);
    // A cancelled prefetch leaves nothing in the cache, so the task reads the context.
    let again = submit(&rig, Some("red")).await;
    rig.ended(other).await;
    assert_eq!(measured(&rig.ended(again).await).1, ContextSource::Node);
    assert_eq!(left.count(Verb::Context), 3);
    rig.stop().await;
}

#[actix_rt::test]
async fn the_contexts_of_an_agent_that_stops_are_at_hand_for_the_others() {
    tokio::time::pause();
    let calls: Arc<Mutex<Vec<Verb>>> = Arc::default();
    let noted = calls.clone();
    let schedule = Schedule::of(move |verb, _| {
        noted.lock().push(verb);
        None
    });
    let reads = || calls.lock().iter().filter(|verb| **verb == Verb::Context).count();
    let spec =
        SimulatedSpec { service: Duration::from_millis(10), context_memory_bytes: 1 << 20, ..SimulatedSpec::default() };
    let forecast = ScriptedForecast::wanting(2);
    // Room for about ten contexts, of which a quarter is for unused prefetched ones.
    let rig = Rig::new()
        .forecast(&forecast)
        .context_cache(4_000)
        .store(Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()), schedule)));
    let factory = Arc::new(SimulatedFactory::new(spec).unwrap());
    let rig =
        rig.pool_of("p", factory, |pool| (pool.min, pool.max, pool.cooldown) = (0, 2, Duration::ZERO)).start().await;
    rig.until_ready("p", 2).await;
    let mut runs = Vec::new();
    for number in 0..30 {
        let context = format!("c{number}");
        let task = submit(&rig, Some(&context)).await;
        runs.push((context, rig.ended(task).await.agent.unwrap()));
    }
    let before = reads();
    forecast.want(1);
    let status = rig.until("p", "it has one agent", |pool| pool.agents.ready == 1 && pool.agents.cooldown == 0).await;
    assert_eq!(status.desired, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let restored = reads() - before;
    let left = rig.handle().agents("p").await.unwrap()[0].id;
    let of_the_stopped: Vec<_> = runs.iter().rev().filter(|(_, agent)| *agent != left).collect();
    println!("{} contexts of the agent that stopped, {restored} restored", of_the_stopped.len());
    assert!(of_the_stopped.len() > 10 && (1..=4).contains(&restored), "{restored} restored");
    // The newest contexts are in the cache, kept or restored: the store is not read for them again.
    let before = reads();
    for (context, _) in of_the_stopped.iter().take(3) {
        let task = rig.ended(submit(&rig, Some(context)).await).await;
        assert_eq!((measured(&task).1, task.agent), (ContextSource::Node, Some(left)), "{context}");
    }
    assert_eq!(reads(), before);
    rig.stop().await;
}
