//! Submits tasks when they become known, in an open loop.

use std::{cell::RefCell, rc::Rc, time::Duration};

use forerunner_sim::TraceTask;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

/// Submissions under way at once. A due task beyond that waits, and counts as submitted late.
const IN_FLIGHT: usize = 64;

/// How the submitting went, so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Submissions {
    /// Tasks that the service accepted.
    pub accepted: u64,
    /// Tasks that it refused or did not answer for.
    pub refused: u64,
    /// The first reason for that.
    pub first_refusal: Option<String>,
    /// Seconds from each task's being due to its being sent.
    pub lateness_s: Vec<f64>,
}

impl Submissions {
    fn note(&mut self, lateness: Duration, answer: anyhow::Result<()>) {
        self.lateness_s.push(lateness.as_secs_f64());
        match answer {
            Ok(()) => self.accepted += 1,
            Err(error) => {
                self.refused += 1;
                self.first_refusal.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}

/// Submits every task by `submit`: `arrival_s` seconds after `begin`, or earlier if it was announced.
///
/// Open loop: the schedule does not wait for answers. Only with 64 calls unanswered is a task sent later than due, and that
/// is what `lateness_s` shows.
pub async fn submit_all(
    tasks: &[TraceTask],
    begin: Instant,
    so_far: &Rc<RefCell<Submissions>>,
    submit: impl AsyncFn(&TraceTask) -> anyhow::Result<()>,
) {
    let submit = &submit;
    let known_s = |task: &TraceTask| task.announced_s.unwrap_or(task.arrival_s).max(0.0);
    let mut tasks: Vec<&TraceTask> = tasks.iter().collect();
    tasks.sort_by(|a, b| known_s(a).total_cmp(&known_s(b)));
    let mut calls = FuturesUnordered::new();
    for task in tasks {
        let due = begin + Duration::from_secs_f64(known_s(task));
        while !calls.is_empty() {
            tokio::select! {
                biased;
                () = sleep_until(due), if calls.len() < IN_FLIGHT => break,
                Some(()) = calls.next() => {}
            }
        }
        sleep_until(due).await;
        let lateness = Instant::now().saturating_duration_since(due);
        calls.push(async move {
            let answer = submit(task).await;
            so_far.borrow_mut().note(lateness, answer);
        });
    }
    while calls.next().await.is_some() {}
}
