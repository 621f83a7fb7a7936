//! What agents depend on fails for a while, in whole or in part: no task is lost, and the pool keeps its size.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use forerunner_agents::{SimulatedFactory, SimulatedOutage, SimulatedSpec};
use forerunner_core::{CircuitState, Clock, TaskId, TaskState, Timestamp};
use forerunner_forecast::ReasonCode;
use forerunner_runtime::{
    PoolState, VirtualClock,
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::{MemoryStore, Store};

use crate::kept_open::KeptOpen;

/// How long it is calm before an outage.
const CALM: Duration = Duration::from_secs(120);
/// Five tasks a second.
const PAUSE: Duration = Duration::from_millis(200);

/// What happened.
#[derive(Debug)]
struct Seen {
    most_before: u32,
    most_since: u32,
    /// Seconds from the end of the outage to the first task that succeeded after it.
    first_success_s: f64,
    /// How often the circuit opened, on any node.
    opened: u64,
    most_attempts: u32,
    states: BTreeSet<TaskState>,
    /// Seconds from the end of the outage to the end of the last task.
    drained_s: f64,
    reasons: BTreeSet<&'static str>,
}

fn agents(outage: SimulatedOutage) -> Arc<SimulatedFactory> {
    let service = Duration::from_secs(1);
    Arc::new(SimulatedFactory::new(SimulatedSpec { service, outage, ..SimulatedSpec::default() }).expect("valid"))
}

/// Nodes of one pool, on a store and a clock that they share if they are several.
async fn nodes(count: usize, outage: SimulatedOutage, service_limit: u32) -> Vec<Running> {
    let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::default()));
    let clock = Arc::new(VirtualClock::starting_at(Timestamp::from_micros(1_700_000_000_000_000)));
    let mut nodes = Vec::new();
    for _ in 0..count {
        let rig = Rig::new().pool_of("p", agents(outage), |pool| (pool.min, pool.max) = (1, service_limit));
        nodes.push(match count {
            1 => rig.clock(clock.clone()).store(store.clone()).start().await,
            _ => rig.shared(store.clone(), &clock).start().await,
        });
    }
    nodes
}

/// Runs five tasks of 1 s a second from two minutes before an outage until its backlog is done.
async fn run(nodes: &[Running], outage: SimulatedOutage, from: Timestamp, now: impl Fn() -> Timestamp) -> Seen {
    let (begins, ends) = (from + outage.after, from + outage.after + outage.lasts);
    let mut seen = Seen {
        most_before: 0,
        most_since: 0,
        first_success_s: f64::INFINITY,
        opened: 0,
        most_attempts: 0,
        states: BTreeSet::new(),
        drained_s: 0.0,
        reasons: BTreeSet::new(),
    };
    let mut tasks: Vec<TaskId> = Vec::new();
    let mut were_open = vec![false; nodes.len()];
    let mut calm_since = None;
    while calm_since.is_none_or(|since: Timestamp| now().since(since) < Duration::from_secs(60)) {
        if let Some(node) = nodes.get(tasks.len() % nodes.len()) {
            tasks.push(node.submit("p", "1").await);
        }
        let mut all_agents = 0;
        for (node, was_open) in nodes.iter().zip(&mut were_open) {
            all_agents += node.handle().agents("p").await.unwrap().len() as u32;
            let status = node.handle().pool("p").await.unwrap();
            let is_open = status.dependency.state == CircuitState::Open;
            seen.opened += u64::from(is_open && !*was_open && status.dependency.failed_probes == 0);
            *was_open = is_open;
            seen.reasons.extend(status.decision.map(|decision| decision.decision.reason.as_str()));
            let is_calm = status.depth == 0 && status.dependency.state == CircuitState::Closed && now() > ends;
            if !is_calm {
                calm_since = None;
            }
        }
        if now() > ends {
            calm_since.get_or_insert(now());
        }
        match now() < begins {
            true if now() + Duration::from_secs(20) > begins => seen.most_before = seen.most_before.max(all_agents),
            true => {}
            false => seen.most_since = seen.most_since.max(all_agents),
        }
        assert!(now() < ends + outage.lasts * 4 + Duration::from_secs(1_200), "the backlog is never done: {seen:?}");
        tokio::time::sleep(PAUSE).await;
    }
    for task in tasks {
        let ended = nodes[0].ended(task).await;
        seen.states.insert(ended.state);
        seen.most_attempts = seen.most_attempts.max(ended.attempt);
        let at = ended.finished_at.unwrap_or_default();
        if at > ends && ended.started_at.is_some_and(|started| started > begins) {
            seen.first_success_s = seen.first_success_s.min(at.since(ends).as_secs_f64());
        }
        if ended.submitted_at < ends {
            seen.drained_s = seen.drained_s.max(at.since(ends).as_secs_f64());
        }
    }
    seen
}

async fn outage_of(nodes_count: usize, lasts: Duration, share: f64) -> Seen {
    tokio::time::pause();
    let outage = SimulatedOutage { after: CALM, lasts, share };
    let nodes = nodes(nodes_count, outage, 60).await;
    let clock = VirtualClock::starting_at(Timestamp::from_micros(1_700_000_000_000_000));
    let from = clock.now();
    let seen = run(&nodes, outage, from, || clock.now()).await;
    for node in nodes {
        node.stop().await;
    }
    seen
}

fn check(seen: &Seen) {
    assert_eq!(seen.states, BTreeSet::from([TaskState::Succeeded]), "{seen:?}");
    assert!(seen.most_attempts <= 5, "a few attempts from before the outage was certain count: {seen:?}");
    assert!(seen.first_success_s <= 10.0, "{seen:?}");
    assert!(seen.most_since <= seen.most_before + seen.most_before / 10, "{seen:?}");
}

#[actix_rt::test]
async fn an_outage_of_a_minute_costs_no_task_and_no_agent() {
    let seen = outage_of(1, Duration::from_secs(60), 1.0).await;
    check(&seen);
    assert_eq!(seen.opened, 1, "{seen:?}");
    assert!(seen.reasons.contains(ReasonCode::Outage.as_str()), "{seen:?}");
}

#[actix_rt::test]
async fn an_outage_of_ten_minutes_costs_no_task_and_no_agent() {
    let seen = outage_of(1, Duration::from_secs(600), 1.0).await;
    check(&seen);
    assert_eq!(seen.opened, 1, "{seen:?}");
}

#[actix_rt::test]
async fn an_outage_of_an_hour_costs_no_task_and_no_agent() {
    let seen = outage_of(1, Duration::from_secs(3_600), 1.0).await;
    check(&seen);
    assert_eq!(seen.opened, 1, "{seen:?}");
}

#[actix_rt::test]
async fn thirty_percent_of_errors_for_ten_minutes_cost_no_task_and_no_agent() {
    let seen = outage_of(1, Duration::from_secs(600), 0.3).await;
    check(&seen);
    assert!(seen.opened == 0 && seen.drained_s < 120.0, "{seen:?}");
}

#[actix_rt::test]
async fn three_nodes_share_one_outage() {
    let seen = outage_of(3, Duration::from_secs(120), 1.0).await;
    check(&seen);
    assert_eq!(seen.opened, 3, "once on each node: {seen:?}");
}

#[actix_rt::test]
async fn an_outage_is_shown_and_a_task_says_that_it_waits_for_its_end() {
    tokio::time::pause();
    let outage = SimulatedOutage { after: Duration::from_secs(5), lasts: Duration::from_secs(60), share: 1.0 };
    let rig = Rig::new().pool_of("p", agents(outage), |pool| (pool.min, pool.max) = (8, 8)).start().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut tasks = Vec::new();
    for _ in 0..40 {
        tasks.push(rig.submit("p", "1").await);
    }
    let is_open = |state: &PoolState| matches!(state, PoolState::DependencyOpen { .. });
    let status = rig.until("p", "an open circuit", |status| is_open(&status.state)).await;
    let error = "503: the simulated provider does not answer (outage)";
    assert_eq!((status.dependency.state, status.dependency.error.as_deref()), (CircuitState::Open, Some(error)));
    let waiting = rig.handle().placement(tasks[39]).await.unwrap();
    assert!(waiting.why.contains("dependency circuit") && waiting.why.contains(error), "{}", waiting.why);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let decision = rig.handle().pool("p").await.unwrap().decision.unwrap();
    assert_eq!(decision.decision.reason, ReasonCode::Outage);
    assert!(decision.decision.detail.contains(error), "{}", decision.decision.detail);
    for task in tasks {
        assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    }
    rig.stop().await;
}

#[actix_rt::test]
async fn poisonous_tasks_open_no_circuit_and_end_after_their_attempts() {
    tokio::time::pause();
    let script = Script::choosing(|request| match request.input.as_str() {
        "\"poison\"" => Act::Fail("no such file".into()),
        _ => Act::Echo,
    });
    let rig = Rig::new()
        .pool("p", script.service("200ms"), |pool| {
            (pool.min, pool.max) = (4, 4);
            pool.task.max_attempts = 6;
        })
        .start()
        .await;
    let mut poison = Vec::new();
    for number in 0..400 {
        // A dozen of one sort, all within two seconds.
        if (100..112).contains(&number) {
            poison.push(rig.submit("p", "\"poison\"").await);
        }
        rig.submit("p", "1").await;
        let state = rig.handle().pool("p").await.unwrap().dependency.state;
        assert_eq!(state, CircuitState::Closed);
        tokio::time::sleep(PAUSE).await;
    }
    for task in poison {
        let ended = rig.ended(task).await;
        assert_eq!((ended.state, ended.attempt), (TaskState::Dead, 6));
        assert_eq!(rig.log("p").runs().iter().filter(|(_, run)| *run == task).count(), 6);
    }
    rig.stop().await;
}

#[actix_rt::test]
async fn a_deadline_ends_a_task_in_an_outage_too() {
    tokio::time::pause();
    let outage = SimulatedOutage { lasts: Duration::from_secs(3_600), ..SimulatedOutage::default() };
    let rig = Rig::new().pool_of("p", agents(outage), |pool| (pool.min, pool.max) = (8, 8)).start().await;
    let begun = Timestamp::from_micros(1_700_000_000_000_000);
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let mut new = Running::task("p", "1");
        new.deadline = Some(begun + Duration::from_secs(90));
        tasks.push(rig.handle().submit(new).await.unwrap().task.id);
    }
    for task in tasks {
        let ended = rig.ended(task).await;
        assert_eq!(ended.state, TaskState::Expired);
        assert!(ended.finished_at.unwrap() < begun + Duration::from_secs(100));
    }
    rig.stop().await;
}
