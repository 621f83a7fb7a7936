//! A failing store, and agents that fail while they stop.

use forerunner_store::roles::*;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use forerunner_core::{IdempotencyKey, Payload, Task, TaskId, TaskState};
use forerunner_runtime::{
    Error,
    agent::{AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, StartRequest},
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::{
    MemoryStore, TaskFilter,
    faulty::{Effect, Fault, FaultyStore, Schedule, Verb},
};
use futures_util::future::LocalBoxFuture;

use crate::expected_panics::expect_panics;

type Faulty = Arc<FaultyStore<MemoryStore>>;

/// `FORERUNNER_FULL` selects the full count.
fn count(bounded: u64, full: u64) -> u64 {
    if std::env::var_os("FORERUNNER_FULL").is_some_and(|value| value != "0") { full } else { bounded }
}

fn faulty() -> Faulty {
    Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()), Schedule::calm()))
}

async fn node(store: &Faulty, script: Script, agents: u32) -> Running {
    let rig = Rig::new().store(store.clone()).pool("p", script, |pool| {
        (pool.min, pool.max) = (agents, agents);
        // The scripts go by the number of the attempt: each must count.
        pool.dependency.enabled = false;
    });
    rig.start().await
}

/// Submits until the task is accepted, as a client with an idempotency key does.
async fn submit_stubbornly(rig: &Running, number: u64) -> TaskId {
    for _ in 0..1_000 {
        let mut task = Running::task("p", &number.to_string());
        task.idempotency_key = Some(IdempotencyKey::new(format!("key-{number}")).unwrap());
        match rig.handle().submit(task).await {
            Ok(accepted) => return accepted.task.id,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("submission {number} was never accepted");
}

/// Waits for the ends of tasks, at most ten minutes. Returns the tasks that it submitted meanwhile: a queue checks for
/// missed work at each event, and a queue in use has events all the time.
async fn until_all_ended(rig: &Running, store: &Faulty, tasks: &[TaskId], first: u64) -> Vec<TaskId> {
    let mut more = Vec::new();
    for number in 0..300 {
        let all = futures_util::future::join_all(tasks.iter().map(|task| store.task(*task))).await;
        let ended = |task: &Result<Option<Task>, _>| task.as_ref().is_ok_and(|task| is_ended(task.as_ref()));
        if all.iter().all(ended) {
            return more;
        }
        more.push(submit_stubbornly(rig, first + number).await);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    panic!("some tasks never ended");
}

fn is_ended(task: Option<&Task>) -> bool {
    task.is_some_and(|task| task.state.is_terminal())
}

/// Compares the effects with the store's promises: one acceptance, one end, and the end is that of the newest lease.
fn check(effects: &[Effect], accepted: &[TaskId]) {
    let mut leases: HashMap<TaskId, u64> = HashMap::new();
    let (mut stored, mut ended) = (HashSet::new(), HashSet::new());
    for deed in effects {
        match *deed {
            Effect::Accepted(task) => assert!(stored.insert(task), "accepted twice: {task}"),
            Effect::Claimed(task, epoch) => {
                assert!(!ended.contains(&task), "leased after its end: {task}");
                let before = leases.insert(task, epoch.0);
                assert!(before.is_none_or(|before| before < epoch.0), "epochs only grow: {task}");
            }
            Effect::Settled(task, epoch, state) => {
                assert_eq!(leases.get(&task), Some(&epoch.0), "settled under a lease that is not the newest: {task}");
                assert!(!state.is_terminal() || ended.insert(task), "ended twice: {task}");
            }
            Effect::Refused(..) => {}
        }
    }
    assert_eq!(accepted.iter().collect::<HashSet<_>>().len(), accepted.len(), "one key, one task");
    for task in accepted {
        assert!(stored.contains(task) && ended.contains(task), "accepted and lost: {task}");
    }
    assert_eq!(stored.len(), accepted.len(), "each key made one task");
}

#[actix_rt::test]
async fn nothing_is_lost_settled_twice_or_stuck_while_the_store_fails_at_random() {
    const TASKS: u64 = 100;
    tokio::time::pause();
    let faults = [Fault::Before, Fault::Slow(Duration::from_millis(700))];
    let unsure = [Fault::Before, Fault::After, Fault::Lost(Duration::from_secs(2)), faults[1]];
    let mut injected = 0;
    for seed in 0..count(20, 2_000) {
        let store = faulty();
        let script = Script::choosing(|request| match (request.attempt, request.task.as_uuid().as_u128() % 8) {
            (1, 0) => Act::Fail("busy".into()),
            (1, 1) => Act::Die("gone".into()),
            _ => Act::Echo,
        });
        let rig = node(&store, script.service("300ms"), 4).await;
        // A claim whose answer is lost is tested separately.
        let verbs = [Verb::Claim, Verb::Sweep, Verb::Renew, Verb::Purge, Verb::Counts];
        let writes = [Verb::Enqueue, Verb::Settle];
        let (reads, changes) =
            (Schedule::seeded(seed, 200, &verbs, &faults), Schedule::seeded(seed ^ 0xfa, 200, &writes, &unsure));
        store.reschedule(Schedule::both(reads, changes));
        let mut accepted = Vec::new();
        for number in 0..TASKS {
            accepted.push(submit_stubbornly(&rig, number).await);
        }
        let more = until_all_ended(&rig, &store, &accepted, 1_000_000).await;
        store.heal();
        let last = until_all_ended(&rig, &store, &more, 2_000_000).await;
        for task in &last {
            rig.ended(*task).await;
        }
        accepted.extend(more.into_iter().chain(last));
        for task in &accepted {
            assert_eq!(store.task(*task).await.unwrap().unwrap().state, TaskState::Succeeded);
        }
        rig.until_ready("p", 4).await;
        check(&store.effects(), &accepted);
        injected += store.injected();
        rig.stop().await;
    }
    println!("{injected} faults injected");
}

#[actix_rt::test]
async fn a_submission_whose_outcome_is_unknown_is_one_task_when_it_is_repeated_with_its_key() {
    tokio::time::pause();
    let store = faulty();
    let rig = node(&store, Script::always(Act::Echo), 1).await;
    let second = store.calls(Verb::Enqueue) + 1;
    store.reschedule(Schedule::script([(Verb::Enqueue, second, Fault::After)]));
    let task = submit_stubbornly(&rig, 1).await;
    assert_eq!(store.calls(Verb::Enqueue), second + 1);
    assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    let all = store.tasks(TaskFilter { limit: 10, ..TaskFilter::default() }).await.unwrap();
    assert_eq!(all.tasks.len(), 1);
    assert_eq!(rig.log("p").runs().len(), 1);
    rig.stop().await;
}

#[actix_rt::test]
async fn a_result_that_cannot_be_stored_is_kept_until_it_can() {
    tokio::time::pause();
    let store = faulty();
    let rig = node(&store, Script::always(Act::Echo), 1).await;
    store.reschedule(Schedule::of(|verb, _| (verb == Verb::Settle).then_some(Fault::Before)));
    let task = rig.submit("p", "1").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.handle().task(task).await.unwrap().state, TaskState::Running, "nothing is claimed that is not so");
    store.heal();
    assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    assert_eq!(rig.log("p").runs().len(), 1, "the work was not done again");
    rig.stop().await;
}

#[actix_rt::test]
async fn agents_wait_once_a_thousand_results_are_not_stored() {
    tokio::time::pause();
    let store = faulty();
    let rig = node(&store, Script::always(Act::Echo), 2).await;
    store.reschedule(Schedule::of(|verb, _| (verb == Verb::Settle).then_some(Fault::Before)));
    let batch = (0..1_500).map(|number| Running::task("p", &number.to_string())).collect();
    let tasks: Vec<_> = rig.handle().submit_batch(batch).await.into_iter().map(|one| one.unwrap().task.id).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let runs = rig.log("p").runs().len();
    assert!((1_024..1_024 + 10).contains(&runs), "{runs}");
    store.heal();
    for task in tasks {
        assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    }
    assert_eq!(rig.log("p").runs().len(), 1_500, "no work was done again");
    rig.stop().await;
}

#[actix_rt::test]
async fn who_waits_for_a_result_is_told_also_if_the_store_took_it_without_an_answer() {
    tokio::time::pause();
    for fault in [Fault::After, Fault::Lost(Duration::from_secs(2))] {
        let store = faulty();
        let rig = node(&store, Script::always(Act::Echo), 1).await;
        let next = store.calls(Verb::Settle) + 1;
        store.reschedule(Schedule::script([(Verb::Settle, next, fault)]));
        let task = rig.submit("p", "1").await;
        let begun = tokio::time::Instant::now();
        let ended = rig.handle().wait(task, Duration::from_secs(60)).await.unwrap();
        assert_eq!(ended.state, TaskState::Succeeded, "{fault:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "heard of, not found at the end of the wait: {fault:?}");
        assert_eq!(rig.log("p").runs().len(), 1, "the work was not done again");
        rig.stop().await;
    }
}

/// What agents demanded just before they stopped arrives when there is no agent left.
#[actix_rt::test]
async fn what_is_claimed_while_a_node_stops_goes_back_before_it_is_gone() {
    tokio::time::pause();
    for slow in [50, 400, 2_000].map(Duration::from_millis) {
        let store = faulty();
        let rig = node(&store, Script::always(Act::Echo), 2).await;
        store.reschedule(Schedule::of(move |verb, _| (verb == Verb::Claim).then_some(Fault::Slow(slow))));
        let before = store.calls(Verb::Claim);
        let tasks = [rig.submit("p", "1").await, rig.submit("p", "2").await];
        while store.calls(Verb::Claim) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.stop().await;
        let effects = store.effects();
        let given_back = |task: &&TaskId| {
            let is_of =
                |deed: &&Effect| matches!(deed, Effect::Claimed(of, _) | Effect::Settled(of, ..) if of == *task);
            matches!(effects.iter().rev().find(is_of), None | Some(Effect::Settled(_, _, TaskState::Queued)))
        };
        assert_eq!(tasks.iter().filter(given_back).count(), tasks.len(), "after {slow:?}: {effects:?}");
    }
}

#[actix_rt::test]
async fn a_store_that_is_gone_refuses_every_submission_and_is_told_by_readiness() {
    tokio::time::pause();
    let store = faulty();
    let rig = node(&store, Script::always(Act::Echo), 2).await;
    assert!(rig.handle().readiness().await.ready);
    store.reschedule(Schedule::of(|_, _| Some(Fault::Before)));
    for _ in 0..20 {
        let refused = rig.handle().submit(Running::task("p", "1")).await.expect_err("it cannot be stored");
        assert!(matches!(refused, Error::Store(_)) && refused.is_retryable(), "{refused}");
    }
    assert!(!rig.handle().readiness().await.ready);
    store.reschedule(Schedule::of(|verb, _| (verb == Verb::Check).then_some(Fault::Silent)));
    let waited = tokio::time::Instant::now();
    assert!(!rig.handle().readiness().await.ready, "also of one that does not answer");
    assert!(waited.elapsed() <= Duration::from_secs(10), "after {:?}", waited.elapsed());
    store.heal();
    assert!(rig.handle().readiness().await.ready);
    let task = rig.submit("p", "1").await;
    assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    assert_eq!(rig.handle().pool("p").await.unwrap().waiting, 0, "refused submissions left their places");
    rig.stop().await;
}

/// Agents that panic while they stop: in the call, or in the returned future.
struct BadEnd {
    stops: Arc<AtomicUsize>,
}

struct BadEndDriver {
    stops: Arc<AtomicUsize>,
}

impl DriverFactory for BadEnd {
    fn kind(&self) -> &'static str {
        "bad-end"
    }

    fn start(&self, _: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let driver = BadEndDriver { stops: self.stops.clone() };
        Box::pin(async move { Ok(Box::new(driver) as Box<dyn Driver>) })
    }
}

impl Driver for BadEndDriver {
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        _: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            if request.input.as_str() == "\"die\"" { Err(AgentError::lost("gone")) } else { Ok(request.input.clone()) }
        })
    }

    fn stop(self: Box<Self>, _: Duration) -> LocalBoxFuture<'static, ()> {
        if self.stops.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            std::panic::panic_any("in the call of the stop hook");
        }
        Box::pin(async { std::panic::panic_any("in the future of the stop hook") })
    }
}

#[actix_rt::test]
async fn a_thousand_panics_in_stop_hooks_abort_nothing_and_leave_the_pool_at_its_size() {
    const PANICS: usize = 1_000;
    tokio::time::pause();
    let stops = Arc::new(AtomicUsize::new(0));
    let agents = Arc::new(BadEnd { stops: stops.clone() });
    let rig = Rig::new().pool_of("p", agents, |pool| {
        (pool.min, pool.max) = (8, 8);
        pool.task.max_attempts = 1;
        pool.restart.intensity = u32::MAX;
        pool.restart.backoff = Duration::from_millis(1);
        pool.restart.max_backoff = Duration::from_millis(10);
    });
    let rig = rig.start().await;
    expect_panics(|text| text.ends_with("the stop hook"));
    let mut tasks = Vec::new();
    for number in 0..PANICS {
        tasks.push((rig.submit("p", "\"die\"").await, TaskState::Dead));
        tasks.push((rig.submit("p", &number.to_string()).await, TaskState::Succeeded));
    }
    for (task, state) in tasks {
        assert_eq!(rig.ended(task).await.state, state);
    }
    rig.until_ready("p", 8).await;
    assert_eq!(stops.load(Ordering::Relaxed), PANICS, "each agent was stopped once");
    rig.stop().await;
    assert_eq!(stops.load(Ordering::Relaxed), PANICS + 8);
}
