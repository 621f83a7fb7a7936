//! Submitting the slice over HTTP when its tasks are due, whatever the service does with them.

use std::{cell::RefCell, rc::Rc, time::Duration};

use forerunner_sim::TraceTask;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::{
    client::{Call, Client},
    json::Answer,
};

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
    fn note(&mut self, lateness: Duration, answer: anyhow::Result<Value>) {
        self.lateness_s.push(lateness.as_secs_f64());
        match answer {
            Ok(_) => self.accepted += 1,
            Err(error) => {
                self.refused += 1;
                self.first_refusal.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}

/// Submits every task `arrival_s` seconds after `begin`.
///
/// Open loop: the schedule does not wait for answers. Only with [`IN_FLIGHT`] calls unanswered is a task sent later than
/// due, and that is what `lateness_s` shows.
pub async fn submit_all(
    client: &Client,
    pool: &str,
    tasks: &[TraceTask],
    begin: Instant,
    so_far: &Rc<RefCell<Submissions>>,
) {
    let path = format!("/v1/pools/{pool}/tasks");
    let mut calls = FuturesUnordered::new();
    for task in tasks {
        let due = begin + Duration::from_secs_f64(task.arrival_s);
        while !calls.is_empty() {
            tokio::select! {
                biased;
                () = sleep_until(due), if calls.len() < IN_FLIGHT => break,
                Some(()) = calls.next() => {}
            }
        }
        sleep_until(due).await;
        let lateness = Instant::now().saturating_duration_since(due);
        let (path, service_s) = (path.clone(), task.service_s);
        calls.push(async move {
            let body = input(service_s);
            let answer = client.send(Call::post(path).body(&body)).await;
            so_far.borrow_mut().note(lateness, answer.map(Answer::into_values));
        });
    }
    while calls.next().await.is_some() {}
}

/// What the built-in agent is given: how long to be busy.
fn input(service_s: f64) -> Value {
    json!({ "input": { "service_s": service_s } })
}
