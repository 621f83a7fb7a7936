//! Tasks that are claimed ahead for agents that are ready next.

use std::{future::Future, sync::Arc};

use forerunner_core::{AgentId, Next, Task, TaskState};

use super::lab::{Lab, at, node, pool, retry, succeeded};
use crate::{Claim, Rescue, Start, Store};

/// Claims `limit` tasks for node 1, the first `starts` of them to start.
async fn claim(lab: &Lab, limit: usize, starts: usize, now: i64) -> Vec<Task> {
    let claim = Claim { pool: pool("coder"), node: node(1), limit, starts, now: at(now), lease_until: at(now + 100) };
    lab.store.claim(claim).await.unwrap()
}

fn start(now: i64) -> Start {
    Start { agent: AgentId::from_parts(at(0), 7 << 64), at: at(now) }
}

/// By an assignment, or by the end of the attempt.
pub async fn a_held_task_starts_when_that_is_told<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    for number in 1..=3 {
        lab.enqueue(lab.task(number)).await;
    }
    let tasks = claim(&lab, 3, 1, 4).await;
    let starts: Vec<_> = tasks.iter().map(|task| task.started_at).collect();
    assert_eq!(starts, [Some(at(4)), None, None]);
    lab.store.assign(vec![(tasks[1].id, tasks[1].epoch, start(5))]);
    let noted = lab.get(tasks[1].id).await;
    assert_eq!((noted.started_at, noted.agent, noted.attempt), (Some(at(5)), Some(start(5).agent), 1));
    for (task, next) in [(&tasks[0], succeeded()), (&tasks[1], retry(at(20))), (&tasks[2], succeeded())] {
        let mut end = lab.settlement(task, 11, next);
        end.started = Some(start(6));
        lab.settle_with(end).await.unwrap();
    }
    for (task, started_at) in tasks.iter().zip([4, 5, 6]) {
        let ended = lab.get(task.id).await;
        assert_eq!((ended.started_at, ended.agent), (Some(at(started_at)), Some(start(5).agent)), "{}", ended.state);
    }
}

/// A release.
pub async fn a_held_task_given_back_was_never_tried<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let lab = Lab::new(open().await);
    lab.enqueue(lab.task(1)).await;
    let held = claim(&lab, 1, 0, 2).await.remove(0);
    assert_eq!(lab.settle(&held, 3, Next::Release).await.unwrap().claimable, 1);
    let given = lab.get(held.id).await;
    assert_eq!((given.state, given.attempt, given.crashes, given.node), (TaskState::Queued, 0, 0, None));
    let again = claim(&lab, 1, 1, 4).await.remove(0);
    assert_eq!((again.attempt, again.started_at), (1, Some(at(4))));
}

/// It counts after it was in a crash once, and from then on no node claims it ahead.
pub async fn a_held_task_whose_node_is_gone_is_under_suspicion_only<F: Future<Output = Arc<dyn Store>>>(
    open: impl Fn() -> F,
) {
    let lab = Lab::new(open().await);
    let mut task = lab.task(1);
    task.retry.max_crashes = 1;
    lab.enqueue(task).await;
    let held = claim(&lab, 1, 0, 2).await.remove(0);
    let rescued = lab.store.rescue(Rescue::AllBut { node: node(2), now: at(3) }).await.unwrap();
    assert_eq!((rescued.requeued.len(), rescued.dead.len()), (1, 0));
    let waits = lab.get(held.id).await;
    assert_eq!((waits.state, waits.attempt, waits.crashes, waits.error), (TaskState::Queued, 0, 1, None));
    let again = claim(&lab, 1, 0, 4).await.remove(0);
    assert_eq!(again.started_at, Some(at(4)), "it is not held again");
    let rescued = lab.store.rescue(Rescue::AllBut { node: node(2), now: at(5) }).await.unwrap();
    assert_eq!((rescued.requeued.len(), rescued.dead.len()), (0, 1));
}
