//! Runs: several tasks that an agent gets at once.

use std::time::Duration;

use forerunner_core::{NewTask, TaskId, TaskState};
use forerunner_runtime::testkit::{Act, Rig, Running, Script};

/// Two agents that answer at once, but for some inputs.
async fn quick_pool() -> Running {
    let script = Script::choosing(|request| match request.input.as_str() {
        r#""hang""# => Act::Hang,
        r#""die""# => Act::Die("out of memory".into()),
        _ => Act::Echo,
    });
    let rig = Rig::new().pool("p", script, |pool| (pool.min, pool.max) = (2, 2)).start().await;
    rig.until_ready("p", 2).await;
    // Now each agent gets as many tasks at once as it may.
    for _ in 0..8 {
        let tasks = submit(&rig, &vec!["1"; 64]).await;
        all_end(&rig, &tasks).await;
    }
    rig
}

/// Submits tasks together, while the pool is paused, so that they are leased together.
async fn submit(rig: &Running, inputs: &[&str]) -> Vec<TaskId> {
    rig.handle().pause("p").await.unwrap();
    let new: Vec<NewTask> = inputs.iter().map(|input| Running::task("p", input)).collect();
    let accepted = rig.handle().submit_batch(new).await;
    rig.handle().resume("p").await.unwrap();
    accepted.into_iter().map(|accepted| accepted.unwrap().task.id).collect()
}

async fn all_end(rig: &Running, tasks: &[TaskId]) {
    for task in tasks {
        let ended = tokio::time::timeout(Duration::from_secs(60), rig.ended(*task)).await;
        let ended = ended.expect("no other task keeps it from an agent");
        assert_eq!((ended.state, ended.attempt, ended.crashes), (TaskState::Succeeded, 1, 0));
    }
}

/// How many tasks in a row the same agent began.
fn longest_run(runs: &[(forerunner_core::AgentId, TaskId)]) -> usize {
    runs.chunk_by(|(one, _), (next, _)| one == next).map(<[_]>::len).max().unwrap_or_default()
}

#[actix_rt::test]
async fn quick_agents_get_several_tasks_at_once_and_slow_ones_one() {
    tokio::time::pause();
    let rig = quick_pool().await;
    assert!(longest_run(&rig.log("p").runs()) >= 16);
    rig.stop().await;
    let slow = Script::always(Act::Echo).service("1s");
    let rig = Rig::new().pool("p", slow, |pool| (pool.min, pool.max) = (2, 2)).start().await;
    rig.until_ready("p", 2).await;
    let tasks = submit(&rig, &["1"; 8]).await;
    let begun = tokio::time::Instant::now();
    all_end(&rig, &tasks).await;
    assert_eq!(begun.elapsed().as_secs(), 4, "two at a time");
    rig.stop().await;
}

#[actix_rt::test]
async fn a_task_that_waits_keeps_those_of_its_run_from_no_agent() {
    tokio::time::pause();
    let rig = quick_pool().await;
    let tasks = submit(&rig, &["\"hang\"", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]).await;
    all_end(&rig, &tasks[1..]).await;
    assert_eq!(rig.until_state(tasks[0], TaskState::Running).await.attempt, 1);
    rig.handle().cancel(tasks[0]).await.unwrap();
    assert_eq!(rig.ended(tasks[0]).await.state, TaskState::Cancelled);
    rig.stop().await;
}

#[actix_rt::test]
async fn an_agent_that_is_lost_costs_no_task_an_attempt_but_the_one_that_it_ran() {
    tokio::time::pause();
    let rig = quick_pool().await;
    let tasks = submit(&rig, &["2", "\"die\"", "3", "4", "5", "6", "7", "8", "9", "10", "11"]).await;
    let others: Vec<_> = tasks.iter().copied().filter(|task| *task != tasks[1]).collect();
    all_end(&rig, &others).await;
    let ended = rig.ended(tasks[1]).await;
    assert_eq!((ended.state, ended.crashes), (TaskState::Dead, 3));
    rig.stop().await;
}
