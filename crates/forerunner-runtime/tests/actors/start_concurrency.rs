//! Agents that start together slow each other: a pool learns how many should, and plans with it.

use std::time::Duration;

use forerunner_runtime::{
    PoolPatch,
    testkit::{Act, Rig, Running, Script},
};

/// A pool of 16 agents on two cores, each of whose starts takes two seconds of a core.
async fn two_cores() -> Running {
    let script = Script::always(Act::Echo).service("500ms").cold_start("2s").start_cores(2);
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (16, 60)).start().await;
    rig.until_ready("p", 16).await;
    rig
}

/// Makes the pool larger by one agent, twice: these start alone.
async fn two_more(rig: &Running) {
    for min in [17, 18] {
        rig.handle().configure("p", PoolPatch { min: Some(min), ..PoolPatch::default() }).await.unwrap();
        rig.until_ready("p", min).await;
    }
}

#[actix_rt::test]
async fn a_pool_learns_how_many_agents_to_start_at_once_from_starts_that_slow_each_other() {
    tokio::time::pause();
    let rig = two_cores().await;
    let before = rig.handle().pool("p").await.unwrap();
    assert_eq!((before.starts.at_once, before.starts.is_learned), (64, false), "{:?}", before.starts);
    assert!(before.cold_start_s.unwrap().p90 > 15.0, "{before:?}");
    two_more(&rig).await;
    let status = rig.handle().pool("p").await.unwrap();
    assert_eq!((status.starts.at_once, status.starts.is_learned), (2, true), "{:?}", status.starts);
    let cold = status.cold_start_s.unwrap();
    assert!((1.9..2.3).contains(&cold.p90), "starts beside 15 others do not come again: {cold:?}");
    // The decision is made with it, and says so.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let inputs = rig.handle().decisions("p", 1).await.unwrap()[0].inputs;
    assert_eq!((inputs.start_concurrency, inputs.cold_start_s), (Some(2), cold.p90));
    rig.stop().await;
}

#[actix_rt::test]
async fn an_announced_burst_is_met_though_few_agents_start_at_once() {
    tokio::time::pause();
    let rig = two_cores().await;
    two_more(&rig).await;
    let run_at = rig.handle().time() + Duration::from_secs(90);
    for _ in 0..40 {
        let mut new = Running::task("p", "1");
        new.run_at = Some(run_at);
        rig.handle().submit(new).await.unwrap();
    }
    let mut most = 0;
    for _ in 0..180 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(rig.handle().pool("p").await.unwrap().agents.starting);
    }
    assert_eq!(most, 2, "no more start at once");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let status = rig.handle().pool("p").await.unwrap();
    assert_eq!((status.finished, status.on_time_share), (40, Some(1.0)), "{status:?}");
    rig.stop().await;
}

#[actix_rt::test]
async fn starts_that_do_not_slow_each_other_stay_unlimited() {
    tokio::time::pause();
    let script = Script::always(Act::Echo).cold_start("2s").start_cores(64);
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (16, 60)).start().await;
    rig.until_ready("p", 16).await;
    two_more(&rig).await;
    let starts = rig.handle().pool("p").await.unwrap().starts;
    assert_eq!((starts.at_once, starts.is_learned), (64, false), "{starts:?}");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_number_that_is_set_stays() {
    tokio::time::pause();
    let script = Script::always(Act::Echo).cold_start("2s").start_cores(2);
    let rig = Rig::new()
        .pool("p", script, |pool| (pool.min, pool.max, pool.start_concurrency) = (16, 60, Some(5)))
        .start()
        .await;
    rig.until_ready("p", 16).await;
    two_more(&rig).await;
    let starts = rig.handle().pool("p").await.unwrap().starts;
    assert_eq!((starts.at_once, starts.is_learned), (5, false), "{starts:?}");
    assert!(starts.measured.iter().all(|measured| measured.at_once < 5.1), "{starts:?}");
    rig.stop().await;
}
