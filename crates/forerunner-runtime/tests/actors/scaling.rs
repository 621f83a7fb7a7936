//! The pool follows the forecast.

use std::time::Duration;

use forerunner_core::TaskState;
use forerunner_forecast::PolicyKind;
use forerunner_runtime::{
    Mode, PoolPatch,
    testkit::{Act, Rig, Script, ScriptedForecast},
};

/// The effect of a ramp on a pool.
struct Ramp {
    /// When the pool first wanted more agents than before the ramp, in seconds.
    first_up_s: f64,
    /// When a task of the ramp first waited, in seconds.
    first_wait_s: f64,
    /// Share of tasks that started on time.
    on_time: f64,
}

/// Submits 2 tasks per second for five minutes, then a ramp to 20 per second over two and a half minutes, each task 5 s
/// long. The cold start is 15 s, and the pool starts with the size for the start of the load.
async fn ramp(policy: &str) -> Ramp {
    let policy: PolicyKind = policy.parse().unwrap();
    let script = Script::always(Act::Echo).service("5s").cold_start("15s");
    let rig = Rig::new()
        .pool("p", script, |pool| {
            (pool.min, pool.max) = (14, 160);
            pool.policy = policy;
        })
        .start()
        .await;
    rig.until_ready("p", 14).await;
    let begun = tokio::time::Instant::now();
    let (mut calm_size, mut first_up_s, mut first_wait_s) = (0, f64::INFINITY, f64::INFINITY);
    let mut due = 0.0f64;
    while due < 450.0 {
        due += 1.0 / (2.0 + 18.0 * f64::max(due - 300.0, 0.0) / 150.0);
        tokio::time::sleep_until(begun + Duration::from_secs_f64(due)).await;
        rig.submit("p", "1").await;
        let status = rig.handle().pool("p").await.unwrap();
        if due < 300.0 {
            calm_size = status.desired;
        } else if status.desired > calm_size {
            first_up_s = first_up_s.min(due);
        }
        if due >= 300.0 && status.depth > 0 {
            first_wait_s = first_wait_s.min(due);
        }
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let on_time = rig.handle().pool("p").await.unwrap().on_time_share.unwrap();
    rig.stop().await;
    Ramp { first_up_s, first_wait_s, on_time }
}

#[actix_rt::test]
async fn agents_are_started_before_the_queue_grows_and_the_threshold_rule_is_late() {
    tokio::time::pause();
    let predictive = ramp("predictive").await;
    let threshold = ramp("utilisation").await;
    assert!(
        predictive.first_up_s + 5.0 < predictive.first_wait_s,
        "asked for agents at {:.1} s, tasks first waited at {:.1} s",
        predictive.first_up_s,
        predictive.first_wait_s
    );
    assert!(predictive.on_time >= 0.99, "{}", predictive.on_time);
    assert!(threshold.on_time < predictive.on_time, "{} < {}", threshold.on_time, predictive.on_time);
    assert!(threshold.first_wait_s < predictive.first_wait_s);
}

#[actix_rt::test]
async fn slower_completions_at_constant_arrivals_grow_the_pool() {
    tokio::time::pause();
    let script = Script::always(Act::Echo).service("2s").cold_start("2s");
    let rig = Rig::new().pool("p", script.clone(), |pool| (pool.min, pool.max) = (2, 64)).start().await;
    let mut sizes = Vec::new();
    for second in 0..900 {
        if second >= 300 {
            // From 2 s to 6 s over ten minutes, at two tasks per second.
            script.set_service(Duration::from_secs_f64(2.0 + 4.0 * f64::from(second - 300) / 600.0));
        }
        for _ in 0..2 {
            rig.submit("p", "1").await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if second == 299 || second == 899 {
            sizes.push(rig.handle().pool("p").await.unwrap().desired);
        }
    }
    assert!(sizes[1] >= 12 && sizes[1] >= sizes[0] + 3, "4 were busy at first, 12 in the end: {sizes:?}");
    assert!(rig.handle().pool("p").await.unwrap().on_time_share.unwrap() > 0.97);
    rig.stop().await;
}

#[actix_rt::test]
async fn a_backlog_without_a_ready_agent_is_answered_within_a_quarter_of_a_second() {
    tokio::time::pause();
    let script = Script::always(Act::Echo).service("30s").cold_start("1s");
    let rig = Rig::new()
        .pool("p", script, |pool| {
            (pool.min, pool.max) = (1, 50);
            // A long period, so that only the event can trigger the decision.
            pool.tick = Duration::from_secs(30);
        })
        .start()
        .await;
    rig.until_ready("p", 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for _ in 0..20 {
        rig.submit("p", "1").await;
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    let status = rig.handle().pool("p").await.unwrap();
    assert!(status.desired >= 10, "{status:?}");
    rig.stop().await;
}

#[actix_rt::test]
async fn advice_is_kept_and_not_carried_out() {
    tokio::time::pause();
    let script = Script::always(Act::Echo).service("5s");
    let rig = Rig::new()
        .pool("p", script, |pool| {
            (pool.min, pool.max) = (1, 10);
            pool.mode = Mode::Advise;
        })
        .start()
        .await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        tasks.push(rig.submit("p", "1").await);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = rig.handle().pool("p").await.unwrap();
    assert_eq!((status.desired, status.agents.size()), (1, 1));
    assert!(status.decision.unwrap().decision.desired > 1);
    rig.handle().configure("p", PoolPatch { mode: Some(Mode::Act), ..PoolPatch::default() }).await.unwrap();
    for task in tasks {
        assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    }
    rig.stop().await;
}

#[actix_rt::test]
async fn bounds_can_be_changed_while_the_pool_runs() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", Script::always(Act::Echo), |pool| (pool.min, pool.max) = (1, 4)).start().await;
    rig.until_ready("p", 1).await;
    rig.handle().configure("p", PoolPatch { min: Some(3), ..PoolPatch::default() }).await.unwrap();
    rig.until_ready("p", 3).await;
    let refused = async |min, max| {
        let patch = PoolPatch { min, max, ..PoolPatch::default() };
        rig.handle().configure("p", patch).await.unwrap_err().to_string()
    };
    assert!(refused(Some(4), Some(3)).await.contains("use at most max = 3"));
    for (min, max) in [(Some(9), None), (None, Some(9)), (Some(100_000), Some(100_000))] {
        let error = refused(min, max).await;
        assert!(error.contains("use at most 8, the most that the configuration allows, or raise patch_max"), "{error}");
    }
    rig.stop().await;
}

#[actix_rt::test]
async fn a_configuration_that_says_so_lets_a_pool_grow_beyond_its_own_bounds() {
    tokio::time::pause();
    let script = Script::always(Act::Echo);
    let settings = |pool: &mut forerunner_runtime::PoolSettings| {
        (pool.min, pool.max, pool.patch_max) = (1, 4, Some(6));
    };
    let rig = Rig::new().pool("p", script, settings).start().await;
    let six = PoolPatch { min: Some(6), max: Some(6), ..PoolPatch::default() };
    rig.handle().configure("p", six).await.unwrap();
    rig.until_ready("p", 6).await;
    let seven = PoolPatch { max: Some(7), ..PoolPatch::default() };
    assert!(rig.handle().configure("p", seven).await.is_err());
    rig.stop().await;
}

#[actix_rt::test]
async fn a_restart_does_not_shrink_the_pool_blindly() {
    use std::sync::Arc;

    use crate::kept_open::KeptOpen;

    use forerunner_store::{MemoryOptions, MemoryStore, Store};

    tokio::time::pause();
    let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::new(MemoryOptions::default())));
    let start = || {
        let script = Script::always(Act::Echo).service("4s").cold_start("5s");
        Rig::new().store(store.clone()).pool("p", script, |pool| (pool.min, pool.max) = (1, 64)).start()
    };
    let rig = start().await;
    for _ in 0..600 {
        rig.submit("p", "1").await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let before = rig.handle().pool("p").await.unwrap().desired;
    assert!(before > 16, "{before}");
    rig.stop().await;
    let rig = start().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = rig.handle().pool("p").await.unwrap().desired;
    assert!(after * 10 >= before * 7, "{before} before the restart, {after} after");

    rig.stop().await;
}

#[actix_rt::test]
async fn a_pool_that_was_paused_is_paused_after_a_restart_until_it_is_resumed() {
    use std::sync::Arc;

    use crate::kept_open::KeptOpen;

    use forerunner_runtime::PoolState;
    use forerunner_store::{MemoryOptions, MemoryStore, Store};

    tokio::time::pause();
    let store: Arc<dyn Store> = Arc::new(KeptOpen(MemoryStore::new(MemoryOptions::default())));
    let start = || {
        let script = Script::always(Act::Echo).service("1s").cold_start("1s");
        Rig::new().store(store.clone()).pool("p", script, |pool| (pool.min, pool.max) = (1, 1)).start()
    };
    let rig = start().await;
    assert_eq!(rig.handle().pause("p").await.unwrap().state, PoolState::Paused);
    rig.stop().await;

    let rig = start().await;
    rig.until_ready("p", 1).await;
    let task = rig.submit("p", "1").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = rig.handle().pool("p").await.unwrap();
    assert_eq!((status.state, status.depth), (PoolState::Paused, 1));
    rig.handle().resume("p").await.unwrap();
    rig.ended(task).await;
    rig.stop().await;

    let rig = start().await;
    assert_eq!(rig.handle().pool("p").await.unwrap().state, PoolState::Running, "that it was resumed is kept as well");
    rig.stop().await;
}

#[actix_rt::test]
async fn the_pool_does_what_the_forecast_says_and_sends_the_longest_idle_away_first() {
    tokio::time::pause();
    let forecast = ScriptedForecast::wanting(3);
    let script = Script::always(Act::Echo).service("1s").cold_start("4s");
    let rig = Rig::new().forecast(&forecast).pool("p", script, |pool| (pool.min, pool.max) = (1, 8)).start().await;
    rig.until_ready("p", 3).await;
    for _ in 0..2 {
        let task = rig.submit("p", "1").await;
        rig.ended(task).await;
    }
    let used = rig.log("p").runs()[0].0;
    forecast.want(1);
    rig.until("p", "one agent", |status| status.agents.size() == 1 && status.agents.cooldown == 0).await;
    let left = rig.handle().agents("p").await.unwrap();
    assert_eq!(left.iter().map(|agent| agent.id).collect::<Vec<_>>(), [used], "the one used last stays");
    let seen = forecast.seen();
    assert_eq!(seen.iter().map(|seen| seen.arrivals).sum::<u64>(), 2);
    assert!(
        seen.iter().any(|seen| seen.cold_start_s.is_some_and(|cold| (4.0..4.1).contains(&cold))),
        "the cold start was measured"
    );
    rig.stop().await;
}

#[actix_rt::test]
async fn pools_without_tasks_write_nothing() {
    use std::sync::Arc;

    use forerunner_store::{
        MemoryStore,
        faulty::{FaultyStore, Schedule, Verb},
    };

    tokio::time::pause();
    let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::default()), Schedule::calm()));
    let mut rig = Rig::new().store(store.clone());
    for name in ["a", "b", "c", "d", "e"] {
        rig = rig.pool(name, Script::always(Act::Echo), |pool| (pool.min, pool.max) = (0, 4));
    }
    let rig = rig.start().await;
    for name in ["a", "b", "c", "d", "e"] {
        let task = rig.submit(name, "1").await;
        rig.ended(task).await;
    }
    // Sizes settle, and the histories are saved a last time.
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    let written = store.calls(Verb::PutSetting);
    assert!(written > 0, "what the pools have learned is saved");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(store.calls(Verb::PutSetting) - written <= 5, "{} after {written}", store.calls(Verb::PutSetting));
    rig.stop().await;
}
