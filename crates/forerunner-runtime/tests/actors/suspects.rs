//! Tasks that crash, once or repeatedly: which tasks they delay, and for how long.

use std::time::Duration;

use forerunner_core::{Task, TaskId, TaskState};
use forerunner_runtime::{
    PoolSettings,
    testkit::{Act, Rig, Running, Script},
};

/// A pool of this many agents whose restart budget is not exhausted by the crashes.
fn calm(agents: u32) -> impl Fn(&mut PoolSettings) {
    move |pool| {
        (pool.min, pool.max) = (agents, agents);
        pool.restart.intensity = u32::MAX;
        pool.restart.backoff = Duration::from_millis(1);
        pool.restart.max_backoff = Duration::from_millis(1);
    }
}

/// Agents that crash on some inputs: on `"poison"` each time, on `"once"` at the first attempt.
fn mortals() -> Script {
    Script::choosing(|request| match (request.input.as_str(), request.attempt) {
        ("\"poison\"", _) | ("\"once\"", 1) => Act::Die("segmentation fault".into()),
        _ => Act::Echo,
    })
}

fn took(task: &Task) -> Duration {
    task.finished_at.expect("it ended").since(task.submitted_at)
}

async fn submit(rig: &Running, input: &str, count: usize) -> Vec<TaskId> {
    let mut tasks = Vec::with_capacity(count);
    for _ in 0..count {
        tasks.push(rig.submit("p", input).await);
    }
    tasks
}

/// The 99th percentile of the time of 2,000 tasks behind this many poisonous ones.
async fn p99_behind(poisons: usize) -> Duration {
    let script = mortals().service("5ms").cold_start("100ms");
    let rig = Rig::new().pool("p", script, calm(4)).start().await;
    rig.until_ready("p", 4).await;
    let poisons = submit(&rig, "\"poison\"", poisons).await;
    let others = submit(&rig, "1", 2_000).await;
    let mut durations = Vec::new();
    for task in others {
        let task = rig.ended(task).await;
        assert_eq!((task.state, task.attempt), (TaskState::Succeeded, 1));
        durations.push(took(&task));
    }
    for task in poisons {
        let task = rig.ended(task).await;
        assert_eq!((task.state, task.crashes), (TaskState::Dead, 3));
    }
    rig.stop().await;
    durations.sort_unstable();
    durations[durations.len() * 99 / 100]
}

#[actix_rt::test]
async fn thirty_tasks_that_kill_their_agents_keep_the_others_waiting_for_less_than_twice_as_long() {
    tokio::time::pause();
    let (without, with) = (p99_behind(0).await, p99_behind(30).await);
    assert!(with < without * 17 / 10, "{with:?} with them, {without:?} without");
}

#[actix_rt::test]
async fn a_crash_that_comes_alone_is_retried_as_soon_as_ever() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", mortals().cold_start("10s"), calm(4)).start().await;
    rig.until_ready("p", 4).await;
    let task = rig.submit("p", "\"poison\"").await;
    let ended = rig.ended(task).await;
    assert_eq!((ended.state, ended.crashes), (TaskState::Dead, 3));
    // 200 ms after the first crash and 400 ms after the second, at most.
    assert!(took(&ended) < Duration::from_millis(650), "{:?}", took(&ended));
    rig.stop().await;
}

/// Agents that crash on anything, as when memory is short: four per second, where two and a half could be retried.
#[actix_rt::test]
async fn tasks_that_are_not_to_blame_do_not_wait_however_many_crash() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", mortals().service("5ms").cold_start("200ms"), calm(4)).start().await;
    rig.until_ready("p", 4).await;
    let mut tasks = Vec::new();
    for _ in 0..240 {
        tasks.push(rig.submit("p", "\"once\"").await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    for task in tasks {
        let ended = rig.ended(task).await;
        assert_eq!((ended.state, ended.crashes), (TaskState::Succeeded, 1));
        assert!(took(&ended) < Duration::from_secs(1), "{:?}", took(&ended));
    }
    rig.stop().await;
}

/// One agent, missing for 2 s after each crash: after four crashes the next retry is delayed by half a minute.
#[actix_rt::test]
async fn a_task_that_is_put_off_has_time_to_run_before_its_deadline() {
    tokio::time::pause();
    let rig = Rig::new().pool("p", mortals().cold_start("2s"), calm(1)).start().await;
    rig.until_ready("p", 1).await;
    let poisons = submit(&rig, "\"poison\"", 4).await;
    let now = rig.handle().task(poisons[0]).await.expect("it is known").submitted_at;
    let mut new = Running::task("p", "\"once\"");
    let deadline = now + Duration::from_secs(30);
    new.deadline = Some(deadline);
    let urgent = rig.handle().submit(new).await.expect("accepted").task.id;
    let crashed = rig.until_state(urgent, TaskState::Scheduled).await;
    let (waits, left) = (crashed.run_at.since(now), deadline.since(crashed.run_at));
    assert!(waits > Duration::from_secs(16) && left > Duration::from_secs(8), "due after {waits:?}, {left:?} left");
    let ended = rig.ended(urgent).await;
    assert_eq!((ended.state, ended.crashes), (TaskState::Succeeded, 1));
    rig.stop().await;
}

/// With a steady supply of poison, however it costs agents: in a pool without any finished task, and in a pool of one
/// agent.
#[actix_rt::test]
async fn urgent_tasks_wait_for_seconds_at_most_beside_poison() {
    use forerunner_core::{NewTask, Priority};

    tokio::time::pause();
    for (agents, act) in
        [(4, Act::Die("killed".into())), (1, Act::Die("killed".into())), (4, Act::Panic("boom".into()))]
    {
        let script =
            Script::choosing(move |request| if request.input.as_str() == "1" { Act::Echo } else { act.clone() });
        let script = script.cold_start("300ms").service("5ms");
        let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (agents, agents)).start().await;
        let mut urgent = Vec::new();
        for round in 0..60 {
            submit(&rig, "\"poison\"", 6).await;
            if round >= 20 {
                let task = NewTask { priority: Priority::MAX, ..Running::task("p", "1") };
                urgent.push(rig.handle().submit(task).await.unwrap().task.id);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        for task in urgent {
            let task = rig.ended(task).await;
            assert_eq!((task.state, task.attempt), (TaskState::Succeeded, 1));
            assert!(took(&task) < Duration::from_secs(3), "{agents} agents: {:?}", took(&task));
        }
        rig.stop().await;
    }
}

/// A task that hangs occupies its agent for the timeout, at each attempt. Such tasks never occupy all agents.
#[actix_rt::test]
async fn tasks_that_hang_again_leave_an_agent_to_the_others() {
    use forerunner_core::NewTask;

    tokio::time::pause();
    let script = Script::choosing(|request| if request.input.as_str() == "1" { Act::Echo } else { Act::IgnoreCancel });
    let rig = Rig::new().pool("p", script.cold_start("300ms"), |pool| (pool.min, pool.max) = (3, 3)).start().await;
    for _ in 0..6 {
        let hangs = NewTask { timeout: Some(Duration::from_secs(30)), ..Running::task("p", "\"hang\"") };
        rig.handle().submit(hangs).await.unwrap();
    }
    // All first attempts have ended by now, and further ones have begun.
    tokio::time::sleep(Duration::from_secs(120)).await;
    for _ in 0..20 {
        let task = rig.submit("p", "1").await;
        let task = rig.ended(task).await;
        assert!(took(&task) < Duration::from_secs(2), "{:?}", took(&task));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    rig.stop().await;
}

#[actix_rt::test]
async fn a_suspect_that_waits_for_an_agent_is_cancelled_at_once() {
    use forerunner_core::NewTask;

    tokio::time::pause();
    let script = Script::choosing(|request| if request.attempt == 1 { Act::Die("killed".into()) } else { Act::Hang });
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (2, 2)).start().await;
    let task = || NewTask { timeout: Some(Duration::from_secs(3_600)), ..Running::task("p", "1") };
    let tasks = [rig.handle().submit(task()).await.unwrap(), rig.handle().submit(task()).await.unwrap()];
    // One of them runs, and the other one waits for the only agent that suspects may use.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let busy = rig.count("p", forerunner_core::AgentState::Busy).await;
    assert_eq!(busy, 1);
    for task in tasks {
        rig.handle().cancel(task.task.id).await.unwrap();
        assert_eq!(rig.ended(task.task.id).await.state, TaskState::Cancelled);
    }
    rig.stop().await;
}
