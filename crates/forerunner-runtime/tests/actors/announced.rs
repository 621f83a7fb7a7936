//! Scheduled tasks have their agents ready: on an idle and on a busy pool, after a restart, on several nodes.

use std::{sync::Arc, time::Duration};

use forerunner_core::{Clock, TaskId, Timestamp};
use forerunner_forecast::ReasonCode;
use forerunner_runtime::{
    VirtualClock,
    testkit::{Act, Rig, Running, Script},
};
use forerunner_store::{
    MemoryStore, Store,
    faulty::{Fault, FaultyStore, Schedule, Verb},
};

use crate::kept_open::KeptOpen;

/// The time until the burst.
const AHEAD: Duration = Duration::from_secs(50);

/// What the nodes share, also with one that is started again.
struct Site {
    store: Arc<dyn Store>,
    clock: Arc<VirtualClock>,
    cold_start: &'static str,
    shared: bool,
}

impl Site {
    fn new(cold_start: &'static str, shared: bool) -> Self {
        Self {
            store: Arc::new(KeptOpen(MemoryStore::default())),
            clock: Arc::new(VirtualClock::starting_at(Timestamp::from_micros(1_700_000_000_000_000))),
            cold_start,
            shared,
        }
    }

    async fn node(&self) -> Running {
        let script = Script::always(Act::Echo).service("5s").cold_start(self.cold_start);
        let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (1, 600));
        match self.shared {
            true => rig.shared(self.store.clone(), &self.clock).start().await,
            false => rig.store(self.store.clone()).clock(self.clock.clone()).start().await,
        }
    }
}

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// Schedules `n` tasks for the same time, 50 s from now.
async fn schedule(site: &Site, node: &Running, n: usize) -> Vec<TaskId> {
    let now = site.clock.now();
    let mut tasks = Vec::new();
    for _ in 0..n {
        let mut new = Running::task("p", "1");
        new.run_at = Some(now + AHEAD);
        tasks.push(node.handle().submit(new).await.unwrap().task.id);
    }
    tasks
}

/// The greatest number of agents on all nodes together within `seconds`.
async fn most_agents(nodes: &[&Running], seconds: u64) -> usize {
    let mut most = 0;
    for _ in 0..seconds * 2 {
        let mut agents = 0;
        for node in nodes {
            agents += node.handle().agents("p").await.unwrap().len();
        }
        most = most.max(agents);
        sleep(0.5).await;
    }
    most
}

/// How many of the tasks began more than a second after they were due.
async fn late(node: &Running, tasks: &[TaskId]) -> usize {
    let mut late = 0;
    for task in tasks {
        let wait = node.ended(*task).await.wait().unwrap();
        late += usize::from(wait > Duration::from_secs(1));
    }
    late
}

#[actix_rt::test]
async fn scheduled_tasks_start_on_time_with_no_more_agents_than_they_need() {
    tokio::time::pause();
    for cold_start in ["2s", "10s", "30s"] {
        for n in [1, 40, 500] {
            let site = Site::new(cold_start, false);
            let node = site.node().await;
            node.until_ready("p", 1).await;
            let tasks = schedule(&site, &node, n).await;
            let before = AHEAD.as_secs() - 4 - cold_start.trim_end_matches('s').parse::<u64>().unwrap();
            assert!(most_agents(&[&node], before).await <= 2, "{n} with {cold_start}: none before its time");
            let most = most_agents(&[&node], 70 - before).await;
            assert_eq!(late(&node, &tasks).await, 0, "{n} with {cold_start}");
            assert!(most as f64 <= (1.2 * n as f64).max(2.0), "{n} with {cold_start}: {most} agents");
            node.until("p", "few agents again", |status| status.agents.size() <= 2).await;
            node.stop().await;
        }
    }
}

#[actix_rt::test]
async fn the_decision_names_what_is_scheduled_and_for_when() {
    tokio::time::pause();
    let site = Site::new("10s", false);
    let node = site.node().await;
    node.until_ready("p", 1).await;
    let tasks = schedule(&site, &node, 40).await;
    node.until("p", "agents for the burst", |status| status.agents.size() >= 40).await;
    let decisions = node.handle().decisions("p", 20).await.unwrap();
    let up = decisions.iter().find(|made| made.decision.desired >= 40).expect("one asked for the agents");
    let due = node.handle().task(tasks[0]).await.unwrap().run_at;
    let second = due.to_string()[11..19].to_owned();
    assert_eq!(up.decision.reason, ReasonCode::Announced, "{up:?}");
    assert!(up.decision.detail.contains(&format!("; 40 tasks are scheduled for {second} UTC")), "{up:?}");
    let announced = up.decision.forecast.expect("it forecasts").announced;
    assert_eq!((announced.within_horizon, announced.next_tasks), (40, 40));
    node.stop().await;
}

#[actix_rt::test]
async fn cancelled_tasks_start_no_agents() {
    tokio::time::pause();
    let site = Site::new("10s", false);
    let node = site.node().await;
    node.until_ready("p", 1).await;
    let tasks = schedule(&site, &node, 40).await;
    sleep(20.0).await;
    for task in tasks {
        node.handle().cancel(task).await.unwrap();
    }
    assert!(most_agents(&[&node], 60).await <= 2);
    node.stop().await;
}

#[actix_rt::test]
async fn a_store_that_does_not_say_what_is_due_delays_no_decision() {
    tokio::time::pause();
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()), Schedule::calm()));
    let site = Site { store: store.clone(), ..Site::new("2s", false) };
    let node = site.node().await;
    node.until_ready("p", 1).await;
    store.reschedule(Schedule::of(|verb, _| (verb == Verb::Counts).then_some(Fault::Lost(Duration::from_secs(30)))));
    let unasked = store.calls(Verb::Counts);
    schedule(&site, &node, 1).await;
    sleep(3.0).await;
    assert!(store.calls(Verb::Counts) > unasked, "the store is asked");
    let asked = store.calls(Verb::Counts);
    let newest = async || node.handle().decisions("p", 1).await.unwrap()[0].seq;
    let before = newest().await;
    sleep(10.0).await;
    assert!(newest().await >= before + 9, "a decision each second");
    assert!(store.calls(Verb::Counts) <= asked + 1, "one question at a time");
    store.reschedule(Schedule::calm());
    node.stop().await;
}

#[actix_rt::test]
async fn a_restart_forgets_nothing_that_is_scheduled() {
    tokio::time::pause();
    let site = Site::new("10s", false);
    let node = site.node().await;
    node.until_ready("p", 1).await;
    let tasks = schedule(&site, &node, 40).await;
    // Less than a cold start is left then, and the agents that the earlier node was starting ended with it.
    for restart_after in [20.0, 15.0] {
        sleep(restart_after).await;
    }
    node.stop().await;
    let node = site.node().await;
    let most = most_agents(&[&node], 60).await;
    assert_eq!(late(&node, &tasks).await, 0);
    assert!(most <= 48, "{most} agents");
    node.stop().await;
}

#[actix_rt::test]
async fn three_nodes_share_a_burst_though_the_leader_goes_shortly_before() {
    tokio::time::pause();
    let site = Site::new("10s", true);
    let (first, second, third) = (site.node().await, site.node().await, site.node().await);
    sleep(20.0).await;
    let tasks = schedule(&site, &second, 90).await;
    sleep(25.0).await;
    first.stop().await;
    let most = most_agents(&[&second, &third], 60).await;
    assert_eq!(late(&second, &tasks).await, 0);
    assert!(most <= 108, "{most} agents");
    second.stop().await;
    third.stop().await;
}
