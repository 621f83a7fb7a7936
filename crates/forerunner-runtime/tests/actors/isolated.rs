//! Isolated actors: one runs, and the test plays the others.

use std::time::Duration;

use forerunner_core::{ErrorKind, Outcome, Payload, TaskError, TaskState};
use forerunner_runtime::{
    Cause,
    testkit::{Act, IsolatedForecast, IsolatedPool, IsolatedQueue, Script, SentMessage},
};

fn lost() -> Outcome {
    Outcome::Failed(TaskError::new(ErrorKind::AgentLost, "it died"))
}

/// An agent ends just as a task reaches it: it releases the task, and the pool reports the agent as lost.
#[actix_rt::test]
async fn an_attempt_is_ended_once_and_the_next_one_is_not_harmed() {
    tokio::time::pause();
    let mut queue = IsolatedQueue::start(|_| {});
    let id = queue.submit("null").await.unwrap();
    queue.demand(1);
    let first = queue.assigned().await;
    queue.settle(id, first.epoch, Outcome::Released);
    queue.demand(1);
    let second = queue.assigned().await;
    assert!(second.epoch > first.epoch);
    queue.settle(id, first.epoch, lost());
    queue.settle(id, second.epoch, Outcome::Succeeded(Payload::null()));
    queue.settle(id, second.epoch, lost());
    queue.drain().await;
    let ended = queue.task(id).await;
    assert_eq!((ended.state, ended.attempt, ended.crashes), (TaskState::Succeeded, 1, 0));
}

#[actix_rt::test]
async fn a_queue_gives_out_no_more_than_the_open_slots_and_tells_of_a_backlog() {
    tokio::time::pause();
    let mut queue = IsolatedQueue::start(|_| {});
    for _ in 0..3 {
        queue.submit("1").await.unwrap();
    }
    queue.demand(2);
    tokio::time::sleep(Duration::from_millis(250)).await;
    let sent = queue.sent();
    let given = sent.iter().map(|message| if let SentMessage::Assigned(tasks) = message { tasks.len() } else { 0 });
    assert_eq!(given.sum::<usize>(), 2, "{sent:?}");
    assert!(sent.iter().any(|message| matches!(message, SentMessage::Nudge(Cause::Backlog))), "{sent:?}");
}

#[actix_rt::test]
async fn a_pool_replaces_an_agent_that_died_and_gives_its_task_back() {
    tokio::time::pause();
    let mut pool = IsolatedPool::start(Script::always(Act::Die("segmentation fault".into())), |_| {});
    pool.until("one ready", |agents| agents.ready == 1).await;
    let before = pool.agents().await[0].id;
    let task = pool.assign("1");
    let (settled, _, outcome) = pool.settled().await;
    assert_eq!(settled, task);
    assert!(matches!(&outcome, Outcome::Failed(error) if error.kind == ErrorKind::AgentLost), "{outcome:?}");
    pool.until("one ready again", |agents| agents.ready == 1).await;
    assert_ne!(pool.agents().await[0].id, before);
}

#[actix_rt::test]
async fn a_pool_tells_its_queue_what_a_crash_costs_when_that_changes() {
    tokio::time::pause();
    let mut pool = IsolatedPool::start(Script::answers("1").cold_start("4s"), |pool| pool.max = 9);
    pool.until("one ready", |agents| agents.ready == 1).await;
    pool.resize(3);
    pool.until("three ready", |agents| agents.ready == 3).await;
    let told = pool.sent().into_iter().filter_map(|message| match message {
        SentMessage::PoolFacts { cold_start, agents, .. } => Some((cold_start.as_secs(), agents)),
        _ => None,
    });
    let mut told: Vec<_> = told.collect();
    // It also tells how many agents are warm.
    told.dedup();
    assert_eq!(told, [(4, 1), (4, 3)]);
}

#[actix_rt::test]
async fn a_pool_that_shrinks_leaves_the_busy_agent_alone() {
    tokio::time::pause();
    let mut pool = IsolatedPool::start(Script::answers("1").service("60s"), |pool| pool.min = 0);
    pool.resize(3);
    pool.until("three ready", |agents| agents.ready == 3).await;
    let task = pool.assign("1");
    pool.until("one busy", |agents| agents.busy == 1).await;
    pool.resize(0);
    let (settled, _, outcome) = pool.settled().await;
    assert_eq!(settled, task);
    assert!(matches!(outcome, Outcome::Succeeded(_)), "{outcome:?}");
    let left = |agents: &forerunner_core::AgentCounts| agents.ready + agents.busy + agents.cooldown;
    pool.until("no agent", |agents| left(agents) == 0).await;
}

#[actix_rt::test]
async fn a_forecast_that_is_nudged_decides_within_a_quarter_of_a_second() {
    tokio::time::pause();
    let mut forecast =
        IsolatedForecast::start(|pool| (pool.min, pool.max, pool.tick) = (1, 40, Duration::from_secs(60)));
    forecast.show(|now| (now.agents.ready, now.desired) = (1, 1));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(forecast.decisions(9).await.len(), 1, "the tick is a minute");
    forecast.show(|now| (now.arrivals, now.depth, now.agents.ready) = (8, 8, 0));
    let nudged = tokio::time::Instant::now();
    forecast.nudge(Cause::Backlog);
    assert!(forecast.resized().await > 1);
    assert!(nudged.elapsed() <= Duration::from_millis(250), "{:?}", nudged.elapsed());
    let newest = &forecast.decisions(1).await[0];
    assert_eq!((newest.cause, newest.inputs.depth), (Cause::Backlog, 8));
}
