//! Panics, crashes, hangs, failed starts, crash loops.

use std::time::Duration;

use forerunner_core::{ErrorKind, TaskState};
use forerunner_runtime::{
    PoolState,
    testkit::{Act, Rig, Running, Script},
};
use tokio::time::Instant;

use crate::expected_panics::expect_panics;

#[actix_rt::test]
async fn a_panicking_agent_is_replaced_and_its_task_retried() {
    tokio::time::pause();
    let script = Script::choosing(|request| if request.attempt == 1 { Act::Panic("boom".into()) } else { Act::Echo });
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (1, 1)).start().await;
    let task = rig.submit("p", "1").await;
    let ended = rig.ended(task).await;
    assert_eq!((ended.state, ended.attempt, ended.crashes), (TaskState::Succeeded, 2, 1));
    let agents: Vec<_> = rig.log("p").runs().into_iter().map(|(agent, _)| agent).collect();
    assert_ne!(agents[0], agents[1]);
    rig.stop().await;
}

#[actix_rt::test]
async fn the_slow_end_of_an_agent_does_not_end_the_next_attempt_of_its_task() {
    tokio::time::pause();
    let script = Script::choosing(|request| if request.attempt == 1 { Act::Die("killed".into()) } else { Act::Echo });
    let script = script.service("3s").stop("2s");
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (2, 2)).start().await;
    let task = rig.submit("p", "1").await;
    let ended = rig.ended(task).await;
    assert_eq!((ended.state, ended.attempt, ended.crashes), (TaskState::Succeeded, 2, 1));
    rig.stop().await;
}

#[actix_rt::test]
async fn a_task_that_takes_its_agents_down_is_dead_after_three_crashes() {
    tokio::time::pause();
    let script = Script::choosing(|request| match request.input.as_str() {
        "\"poison\"" => Act::Die("segmentation fault".into()),
        _ => Act::Echo,
    });
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (2, 2)).start().await;
    let poison = rig.submit("p", "\"poison\"").await;
    let ended = rig.ended(poison).await;
    assert_eq!((ended.state, ended.crashes), (TaskState::Dead, 3));
    assert_eq!(ended.error.unwrap().kind, ErrorKind::AgentLost);
    let good = rig.submit("p", "1").await;
    assert_eq!(rig.ended(good).await.state, TaskState::Succeeded);
    rig.until_ready("p", 2).await;
    rig.stop().await;
}

#[actix_rt::test]
async fn a_hung_attempt_times_out_and_a_deaf_agent_is_replaced() {
    tokio::time::pause();
    for (act, same_agent) in [(Act::Hang, true), (Act::IgnoreCancel, false)] {
        let script = Script::choosing(move |request| if request.attempt == 1 { act.clone() } else { Act::Echo });
        let rig = Rig::new()
            .pool("p", script, |pool| {
                (pool.min, pool.max) = (1, 1);
                pool.task.timeout = Duration::from_secs(30);
            })
            .start()
            .await;
        let task = rig.submit("p", "1").await;
        let ended = rig.ended(task).await;
        assert_eq!((ended.state, ended.attempt), (TaskState::Succeeded, 2));
        assert_eq!(ended.error, None);
        let runs = rig.log("p").runs();
        assert_eq!(runs[0].0 == runs[1].0, same_agent);
        rig.stop().await;
    }
}

#[actix_rt::test]
async fn failed_starts_are_repeated_with_backoff() {
    tokio::time::pause();
    let script = Script::always(Act::Echo).failing_starts(3);
    let begun = Instant::now();
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (1, 1)).start().await;
    let task = rig.submit("p", "1").await;
    assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    // The delay doubles: 200, 400 and 800 ms.
    let waited = begun.elapsed();
    assert!((Duration::from_millis(1_400)..Duration::from_millis(2_000)).contains(&waited), "{waited:?}");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_crash_loop_opens_the_circuit_which_says_why_and_heals() {
    tokio::time::pause();
    let script = Script::always(Act::Echo).failing_starts(9);
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (1, 1)).start().await;
    let open = |state: &PoolState| matches!(state, PoolState::CircuitOpen { .. });
    let status = rig.until("p", "an open circuit", |status| open(&status.state)).await;
    let PoolState::CircuitOpen { reason, .. } = status.state else { unreachable!("it was just seen") };
    assert_eq!(reason, "the script lets this start fail");
    let task = rig.submit("p", "1").await;
    assert_eq!(rig.ended(task).await.state, TaskState::Succeeded);
    rig.until("p", "a closed circuit", |status| status.state == PoolState::Running).await;
    rig.stop().await;
}

#[actix_rt::test]
async fn ten_thousand_panics_fail_no_other_task_and_leave_the_pool_at_its_size() {
    tokio::time::pause();
    const TASKS: usize = 20_000;
    let script = Script::choosing(|request| {
        let panics = request.attempt == 1 && request.input.as_str().ends_with(['1', '3', '5', '7', '9']);
        if panics { Act::Panic("boom".into()) } else { Act::Echo }
    });
    let rig = Rig::new()
        .pool("p", script, |pool| {
            (pool.min, pool.max) = (64, 64);
            pool.restart.intensity = u32::MAX;
            pool.restart.backoff = Duration::from_millis(1);
            pool.restart.max_backoff = Duration::from_millis(10);
        })
        .start()
        .await;
    expect_panics(|text| text == "boom");
    let mut tasks = Vec::with_capacity(TASKS);
    for n in 0..TASKS {
        tasks.push(rig.submit("p", &n.to_string()).await);
    }
    let mut panicked = 0;
    for task in tasks {
        let ended = rig.ended(task).await;
        assert_eq!(ended.state, TaskState::Succeeded, "{:?}", ended.error);
        panicked += ended.crashes;
    }
    assert_eq!(panicked, 10_000);
    rig.until_ready("p", 64).await;
    rig.stop().await;
}

#[actix_rt::test]
async fn an_agent_lost_is_answered_by_a_decision_within_a_quarter_of_a_second() {
    tokio::time::pause();
    let script = Script::choosing(|_| Act::Die("killed".into())).service("500ms");
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (2, 8)).start().await;
    rig.until_ready("p", 2).await;
    let mut new = Running::task("p", "1");
    new.max_attempts = Some(1);
    let task = rig.handle().submit(new).await.unwrap().task.id;
    let lost_at = rig.ended(task).await.finished_at.unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let decisions = rig.handle().decisions("p", 100).await.unwrap();
    assert!(decisions.iter().any(|decision| decision.at >= lost_at), "{decisions:?}");
    rig.stop().await;
}
