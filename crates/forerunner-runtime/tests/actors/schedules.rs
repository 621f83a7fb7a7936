//! Schedules submit each occurrence once: when clocks change, when a clock jumps, over restarts and on several nodes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use forerunner_core::{
    AgentState, CatchUp, Clock, Overlap, Payload, PoolName, ScheduleDefinition, ScheduleName, Task, TaskState,
    Timestamp,
};
use forerunner_runtime::{
    Error, SchedulePatch, VirtualClock,
    testkit::{Act, Rig, Running, Script, ScriptedForecast},
};
use forerunner_store::{
    MemoryStore, ScheduleConflict, Store, TaskFilter,
    faulty::{Fault, FaultyStore, Schedule, Verb},
};

use crate::kept_open::KeptOpen;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn name(text: &str) -> ScheduleName {
    ScheduleName::new(text).unwrap()
}

fn definition(change: impl FnOnce(&mut ScheduleDefinition)) -> ScheduleDefinition {
    let mut new = ScheduleDefinition::new(name("s"), PoolName::new("p").unwrap(), Payload::parse("1").unwrap());
    new.overlap = Overlap::Queue;
    change(&mut new);
    new
}

fn cron(expression: &str, zone: &str) -> ScheduleDefinition {
    definition(|new| (new.cron, new.time_zone) = (Some(expression.to_owned()), Some(zone.to_owned())))
}

fn every(seconds: u64) -> ScheduleDefinition {
    definition(|new| new.every = Some(Duration::from_secs(seconds)))
}

fn rig(service: &str, cold_start: &str) -> Rig {
    let script = Script::always(Act::Echo).service(service).cold_start(cold_start);
    // Hours pass, and what the forecast thinks of it takes most of the time.
    let rig = Rig::new().forecast(&ScriptedForecast::wanting(3));
    rig.pool("p", script, |pool| (pool.min, pool.max) = (1, 50)).retention(Duration::from_secs(400 * 86_400))
}

/// A node whose clock begins at a time.
async fn node_at(begin: &str, service: &str) -> Running {
    rig(service, "1s").clock(Arc::new(VirtualClock::starting_at(at(begin)))).start().await
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Sleeps until so many seconds after the beginning of 2027.
async fn sleep_until(clock: &VirtualClock, seconds: u64) {
    let until = at("2027-01-01T00:00:00Z") + Duration::from_secs(seconds);
    tokio::time::sleep(until.since(clock.now())).await;
}

/// All tasks, the oldest first.
async fn tasks(node: &Running) -> Vec<Task> {
    let filter = TaskFilter { oldest_first: true, limit: 1_000, ..TaskFilter::default() };
    node.handle().tasks(filter).await.unwrap().tasks
}

/// How long after its occurrence the task was submitted.
fn late(task: &Task) -> Duration {
    task.submitted_at.since(occurrence(task))
}

fn occurrence(task: &Task) -> Timestamp {
    let key = task.idempotency_key.as_ref().unwrap().as_str();
    key["schedule:s:".len()..].parse().unwrap()
}

/// When the tasks were due, from the names of their occurrences.
async fn occurrences(node: &Running) -> Vec<String> {
    let keys = tasks(node).await.into_iter().map(|task| task.idempotency_key.unwrap().as_str().to_owned());
    keys.map(|key| key["schedule:s:".len()..].trim_end_matches(":00.000000Z").to_owned()).collect()
}

#[actix_rt::test]
async fn a_cron_schedule_comes_once_when_clocks_change() {
    tokio::time::pause();
    let half_hourly = ["00:30", "01:00", "01:30", "02:00", "02:30"];
    for (day, expression, expected) in [
        // From 02:00 clocks go to 03:00, which is 01:00 UTC.
        ("2027-03-28", "30 2 * * *", &["01:00"][..]),
        ("2027-03-28", "*/30 * * * *", &half_hourly),
        // From 03:00 clocks go to 02:00, so 02:30 comes at 00:30 UTC and at 01:30 UTC.
        ("2027-10-31", "30 2 * * *", &["00:30"]),
        ("2027-10-31", "*/30 * * * *", &half_hourly),
    ] {
        let node = node_at(&format!("{day}T00:20:00Z"), "1s").await;
        node.handle().create_schedule(cron(expression, "Europe/Berlin")).await.unwrap();
        sleep(2 * 3_600 + 900).await;
        let expected: Vec<_> = expected.iter().map(|time| format!("{day}T{time}")).collect();
        assert_eq!(occurrences(&node).await, expected);
        for task in tasks(&node).await {
            assert_eq!(task.state, TaskState::Succeeded);
            assert!(late(&task) < Duration::from_millis(50), "on time: {task:?}");
        }
        node.stop().await;
    }
}

#[actix_rt::test]
async fn the_pool_is_warm_when_a_schedule_comes() {
    tokio::time::pause();
    let clock = Arc::new(VirtualClock::starting_at(at("2027-01-01T00:00:00Z")));
    let script = Script::always(Act::Echo).service("20s").cold_start("30s");
    let node = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (1, 50)).clock(clock.clone()).start().await;
    node.until_ready("p", 1).await;
    for number in 0..8 {
        let mut new = cron("*/10 * * * *", "UTC");
        new.name = name(&format!("s{number}"));
        node.handle().create_schedule(new).await.unwrap();
    }
    sleep(470).await;
    assert!(node.count("p", AgentState::Starting).await + node.count("p", AgentState::Ready).await <= 1, "not yet");
    for round in 1..=3 {
        // Not more than 2 s before the occurrence.
        sleep_until(&clock, round * 600 - 2).await;
        let coming = node.count("p", AgentState::Starting).await + node.count("p", AgentState::Ready).await;
        assert_eq!(coming, 8, "round {round}");
        sleep(70).await;
    }
    let tasks = tasks(&node).await;
    assert_eq!(tasks.len(), 24);
    let cold = tasks.iter().filter(|task| task.wait().unwrap() > Duration::from_secs(1)).count();
    assert_eq!(cold, 0, "none waited for a cold start");
    let decisions = node.handle().decisions("p", 100).await.unwrap();
    assert!(decisions.iter().any(|made| made.decision.detail.contains("8 tasks are scheduled for 00:20:00 UTC")));
    node.stop().await;
}

#[actix_rt::test]
async fn a_paused_schedule_is_silent_and_a_changed_one_comes_at_its_new_times() {
    tokio::time::pause();
    let node = node_at("2027-01-01T00:00:00Z", "1s").await;
    let handle = node.handle();
    let made = handle.create_schedule(cron("*/10 * * * *", "UTC")).await.unwrap();
    assert_eq!(made.next_runs[..2], [at("2027-01-01T00:10:00Z"), at("2027-01-01T00:20:00Z")]);
    sleep(25 * 60).await;
    let paused = handle.update_schedule(&name("s"), &SchedulePatch::enabled(false)).await.unwrap();
    assert_eq!((paused.fired, paused.next_runs.len()), (2, 0));
    sleep(60 * 60).await;
    handle.update_schedule(&name("s"), &SchedulePatch::enabled(true)).await.unwrap();
    sleep(10 * 60).await;
    let patch = SchedulePatch::parse(r#"{"every":"30m","input":{"n":2}}"#).unwrap();
    let changed = handle.update_schedule(&name("s"), &patch).await.unwrap();
    assert_eq!((changed.definition.cron, changed.next_runs[0]), (None, at("2027-01-01T02:00:00Z")));
    sleep(30 * 60).await;
    assert_eq!(
        occurrences(&node).await,
        ["2027-01-01T00:10", "2027-01-01T00:20", "2027-01-01T01:30", "2027-01-01T02:00"],
        "what fell into the pause is not made up for"
    );
    assert_eq!(tasks(&node).await[3].input.as_str(), r#"{"n":2}"#);
    handle.delete_schedule(&name("s")).await.unwrap();
    sleep(3_600).await;
    assert_eq!(tasks(&node).await.len(), 4);
    let gone = handle.schedule(&name("s")).await.unwrap_err();
    assert!(matches!(gone, Error::Schedule(ScheduleConflict::NotFound { .. })), "{gone}");
    node.stop().await;
}

#[actix_rt::test]
async fn tasks_that_meet_are_skipped_queued_or_cancelled() {
    tokio::time::pause();
    // Tasks of 150 s, once a minute, for almost six minutes.
    for (overlap, fired, skipped, succeeded) in
        [(Overlap::Skip, 2, 3, 1), (Overlap::Queue, 5, 0, 3), (Overlap::CancelRunning, 5, 0, 0)]
    {
        let node = node_at("2027-01-01T00:00:00Z", "150s").await;
        node.handle().create_schedule(ScheduleDefinition { overlap, ..every(60) }).await.unwrap();
        sleep(5 * 60 + 50).await;
        let status = node.handle().schedule(&name("s")).await.unwrap();
        assert_eq!((status.fired, status.skipped), (fired, skipped), "{overlap:?}");
        let states: Vec<_> = tasks(&node).await.into_iter().map(|task| task.state).collect();
        let count = |wanted| states.iter().filter(|state| **state == wanted).count() as u64;
        assert_eq!(count(TaskState::Succeeded), succeeded, "{overlap:?}: {states:?}");
        let cancelled = if overlap == Overlap::CancelRunning { 4 } else { 0 };
        assert_eq!(count(TaskState::Cancelled), cancelled, "{overlap:?}: {states:?}");
        node.stop().await;
    }
}

#[actix_rt::test]
async fn what_an_outage_missed_is_caught_up_as_asked() {
    tokio::time::pause();
    for (catch_up, expected) in [
        (CatchUp::None, vec!["2027-01-01T01:00", "2027-01-01T06:00"]),
        (CatchUp::Latest, vec!["2027-01-01T01:00", "2027-01-01T05:00", "2027-01-01T06:00"]),
        (
            CatchUp::All,
            (1..=6)
                .map(|hour| {
                    [
                        "2027-01-01T01:00",
                        "2027-01-01T02:00",
                        "2027-01-01T03:00",
                        "2027-01-01T04:00",
                        "2027-01-01T05:00",
                        "2027-01-01T06:00",
                    ][hour - 1]
                })
                .collect(),
        ),
    ] {
        let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::default()));
        let clock = Arc::new(VirtualClock::starting_at(at("2027-01-01T00:00:00Z")));
        let start = async || rig("1s", "1s").store(store.clone()).clock(clock.clone()).start().await;
        let node = start().await;
        let new = ScheduleDefinition { catch_up, ..cron("0 * * * *", "UTC") };
        node.handle().create_schedule(new).await.unwrap();
        sleep(90 * 60).await;
        node.stop().await;
        sleep(4 * 3_600).await;
        let node = start().await;
        sleep(60 * 60).await;
        assert_eq!(occurrences(&node).await, expected, "{catch_up:?}");
        let status = node.handle().schedule(&name("s")).await.unwrap();
        assert_eq!(status.fired + status.skipped, 6, "each is decided");
        node.stop().await;
    }
}

/// A clock that is set by the test besides going on.
struct SetClock {
    inner: VirtualClock,
    ahead_s: AtomicI64,
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let now = self.inner.now().as_micros() + self.ahead_s.load(Ordering::Relaxed) * 1_000_000;
        Timestamp::from_micros(now)
    }
}

#[actix_rt::test]
async fn a_clock_that_jumps_to_and_fro_lets_each_occurrence_come_once() {
    tokio::time::pause();
    let inner = VirtualClock::starting_at(at("2027-01-01T00:00:00Z"));
    let clock = Arc::new(SetClock { inner, ahead_s: AtomicI64::new(0) });
    let node = rig("1s", "1s").clock(clock.clone()).start().await;
    let new = ScheduleDefinition { catch_up: CatchUp::All, ..every(10) };
    node.handle().create_schedule(new).await.unwrap();
    // Back by an hour as well: nothing comes until the clock is there again.
    for jump_s in [0, 45, -30, 3_600, -3_600, 7_200, -100, 5] {
        clock.ahead_s.fetch_add(jump_s, Ordering::Relaxed);
        sleep(60).await;
    }
    sleep(200).await;
    let mut due: Vec<_> = tasks(&node).await.into_iter().map(|task| task.idempotency_key.unwrap()).collect();
    let submitted = due.len();
    due.sort();
    due.dedup();
    assert_eq!(due.len(), submitted, "none twice");
    let status = node.handle().schedule(&name("s")).await.unwrap();
    let passed = status.last_run.unwrap().occurrence.since(at("2027-01-01T00:00:00Z")).as_secs() / 10;
    assert_eq!((status.fired, status.fired + status.skipped), (submitted as u64, passed), "none left out");
    node.stop().await;
}

#[actix_rt::test]
async fn three_nodes_submit_each_occurrence_once_though_their_leader_goes() {
    tokio::time::pause();
    let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::default()));
    let clock = Arc::new(VirtualClock::starting_at(at("2027-01-01T00:00:00Z")));
    let start = async || rig("1s", "1s").shared(store.clone(), &clock).start().await;
    let mut nodes = vec![start().await, start().await, start().await];
    nodes[2].handle().create_schedule(every(7)).await.unwrap();
    let begun = clock.now();
    for _ in 0..6 {
        sleep(50).await;
        // The oldest leads.
        nodes.remove(0).stop().await;
        nodes.push(start().await);
    }
    sleep(60).await;
    let found = tasks(&nodes[0]).await;
    let occurrences: Vec<_> =
        found.iter().map(|task| occurrence(task).since(begun).as_secs_f64().round() as u64).collect();
    let last = *occurrences.last().unwrap();
    let sorted: std::collections::BTreeSet<_> = occurrences.iter().copied().collect();
    assert_eq!((sorted.len(), sorted), (occurrences.len(), (1..=last / 7).map(|nth| nth * 7).collect()));
    assert!(last >= 350, "{last}");
    let late = found.iter().map(late).max().unwrap();
    assert!(late <= Duration::from_secs(3), "another node comes in after a second: {late:?}");
    for node in nodes {
        node.stop().await;
    }
}

#[actix_rt::test]
async fn a_store_that_loses_answers_lets_each_occurrence_come_once() {
    tokio::time::pause();
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()), Schedule::calm()));
    let clock = Arc::new(VirtualClock::starting_at(at("2027-01-01T00:00:00Z")));
    let node = rig("1s", "1s").store(store.clone()).clock(clock).start().await;
    node.handle().create_schedule(every(10)).await.unwrap();
    store.reschedule(Schedule::of(|verb, number| match verb {
        Verb::WriteSchedule if number % 3 == 0 => Some(Fault::After),
        Verb::WriteSchedule if number % 3 == 1 => Some(Fault::Before),
        Verb::Schedules if number % 5 == 0 => Some(Fault::Before),
        _ => None,
    }));
    sleep(605).await;
    store.heal();
    sleep(10).await;
    let expected: Vec<_> = (1..=61).map(|nth| at("2027-01-01T00:00:00Z") + Duration::from_secs(nth * 10)).collect();
    let due: Vec<_> = tasks(&node).await.iter().map(occurrence).collect();
    assert_eq!(due, expected);
    assert!(store.injected() > 20);
    node.stop().await;
}

#[actix_rt::test]
async fn a_full_queue_delays_an_occurrence_and_says_so() {
    tokio::time::pause();
    let script = Script::always(Act::Echo).service("100s").cold_start("1s");
    let rig = Rig::new().pool("p", script, |pool| {
        (pool.min, pool.max, pool.queue.limit) = (1, 1, 1);
    });
    let clock = Arc::new(VirtualClock::starting_at(at("2027-01-01T00:00:00Z")));
    let node = rig.clock(clock).start().await;
    node.until_ready("p", 1).await;
    let running = node.submit("p", "1").await;
    node.until_state(running, TaskState::Running).await;
    node.submit("p", "2").await;
    let once = definition(|new| new.at = Some(at("2027-01-01T00:00:30Z")));
    node.handle().create_schedule(once).await.unwrap();
    sleep(40).await;
    let status = node.handle().schedule(&name("s")).await.unwrap();
    assert!(status.problem.unwrap().contains("pool `p` is full"), "it says why");
    assert_eq!((status.fired, status.skipped), (0, 0));
    node.ended(running).await;
    sleep(3).await;
    let status = node.handle().schedule(&name("s")).await.unwrap();
    assert_eq!((status.fired, status.problem), (1, None));
    node.stop().await;
}

#[actix_rt::test]
async fn what_cannot_be_made_is_refused_and_a_run_by_hand_changes_no_occurrence() {
    tokio::time::pause();
    let node = node_at("2027-01-01T00:00:00Z", "1s").await;
    let handle = node.handle();
    let refused = async |new| handle.create_schedule(new).await.unwrap_err().to_string();
    let elsewhere = ScheduleDefinition { pool: PoolName::new("q").unwrap(), ..every(60) };
    assert!(refused(elsewhere).await.contains("there is no pool `q`; the pools are p"));
    let past = definition(|new| new.at = Some(at("2026-01-01T00:00:00Z")));
    assert!(refused(past).await.contains("at `2026-01-01T00:00:00.000000Z` is not valid: it is in the past"));
    assert!(refused(cron("0 0 30 2 *", "UTC")).await.contains("no date matches it"));
    handle.create_schedule(every(60)).await.unwrap();
    assert!(refused(every(60)).await.contains("there is a schedule `s` already"));
    let wrong = SchedulePatch::parse(r#"{"every":"1ms"}"#).unwrap();
    assert!(handle.update_schedule(&name("s"), &wrong).await.unwrap_err().to_string().contains("use 1s to"));

    sleep(10).await;
    let by_hand = handle.run_schedule(&name("s")).await.unwrap();
    assert_eq!(by_hand.labels["schedule"], "s");
    let status = handle.schedule(&name("s")).await.unwrap();
    assert_eq!((status.fired, status.last_run.unwrap().task), (1, by_hand.id));
    assert_eq!(status.next_runs[0], at("2027-01-01T00:01:00Z"));
    sleep(55).await;
    assert_eq!(handle.schedule(&name("s")).await.unwrap().fired, 2);
    let once = definition(|new| (new.name, new.at) = (name("once"), Some(at("2027-01-01T00:05:00Z"))));
    handle.create_schedule(once).await.unwrap();
    sleep(600).await;
    let once = handle.schedule(&name("once")).await.unwrap();
    assert_eq!((once.fired, once.next_runs.len()), (1, 0), "it is over");
    assert_eq!(handle.schedules(None, 10).await.unwrap().0.len(), 2);
    assert_eq!(handle.schedules(Some(&name("once")), 10).await.unwrap().0.len(), 1);
    assert!(handle.schedules(None, 1).await.unwrap().1, "another follows");
    node.stop().await;
}
