//! The last part: a conversation whose agent is killed in the middle of a turn.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::live::{PoolRole, Service, Submission};

/// Turns before the one in which the agent is killed, and after it.
const TURNS_BEFORE: usize = 3;
const TURNS_AFTER: usize = 1;
/// Seconds of an ordinary turn, and of that in which the agent is killed.
const TURN_S: f64 = 0.3;
const LONG_TURN_S: f64 = 1.5;
/// States in which a task stays.
const ENDED: [&str; 6] = ["succeeded", "failed", "dead", "cancelled", "expired", "damaged"];
/// How long a turn may take.
const LIMIT: Duration = Duration::from_secs(40);

/// What became of the conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Turns that ended with an output.
    pub turns: usize,
    /// Turns that were submitted.
    pub submitted: usize,
    /// Items that the conversation has in the end: one for each turn.
    pub items: u64,
    /// The process that was killed, and the one that finished its turn.
    pub killed: u32,
    /// The process that went on.
    pub went_on: u32,
    /// Seconds from the kill to the end of the turn.
    pub took_s: f64,
}

impl Conversation {
    /// Whether every turn ended and none was forgotten.
    pub fn is_whole(&self) -> bool {
        self.turns == self.submitted && self.items == self.submitted as u64 && self.killed != self.went_on
    }
}

/// Submits the turns of a conversation, and kills the agent in the middle of one of its turns. `report` gets a sentence for each step.
///
/// # Errors
/// When a turn does not end, or the service does not answer.
pub async fn converse(service: &impl Service, mut report: impl FnMut(String)) -> anyhow::Result<Conversation> {
    let mut ended = Vec::new();
    for turn in 1..=TURNS_BEFORE {
        let id = submit(service, turn, TURN_S).await?;
        ended.push(finished(service, &id).await?);
    }
    let long = TURNS_BEFORE + 1;
    let id = submit(service, long, LONG_TURN_S).await?;
    let killed = pid_of(service, &id).await?;
    report(format!("A conversation: turn {long} runs in process {killed}. Now: kill -9 {killed}."));
    service.kill(killed)?;
    let begun = Instant::now();
    ended.push(finished(service, &id).await?);
    let took_s = begun.elapsed().as_secs_f64();
    let went_on = ended.last().map_or(0, |task| number(task, "pid") as u32);
    report(format!(
        "Turn {long} ended {took_s:.1} s later in process {went_on}, with the {TURNS_BEFORE} turns before it."
    ));
    for turn in long + 1..=long + TURNS_AFTER {
        let id = submit(service, turn, TURN_S).await?;
        ended.push(finished(service, &id).await?);
    }
    let submitted = long + TURNS_AFTER;
    let turns = ended.iter().filter(|task| task["state"] == "succeeded").count();
    // The agent reports the items before its turn.
    let items = ended.last().map_or(0, |task| number(task, "items") + 1);
    Ok(Conversation { turns, submitted, items, killed, went_on, took_s })
}

fn number(task: &Value, name: &str) -> u64 {
    task["output"][name].as_u64().unwrap_or(0)
}

async fn submit(service: &impl Service, turn: usize, service_s: f64) -> anyhow::Result<String> {
    let turn = Some(("demo-conversation".to_owned(), format!("turn {turn}")));
    let task = service.submit(PoolRole::Ours, &Submission { service_s, due_in: None, turn }).await?;
    Ok(task["id"].as_str().context("a task has an id")?.to_owned())
}

/// Waits until a task has ended.
async fn finished(service: &impl Service, id: &str) -> anyhow::Result<Value> {
    let begun = Instant::now();
    loop {
        let task = service.task(id).await?;
        // An attempt that was lost has an end too.
        if task["state"].as_str().is_some_and(|state| ENDED.contains(&state)) {
            return Ok(task);
        }
        if begun.elapsed() > LIMIT {
            bail!("a turn of the conversation did not end within {} s; it is {}", LIMIT.as_secs(), task["state"]);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a task runs, and returns the process of its agent.
async fn pid_of(service: &impl Service, id: &str) -> anyhow::Result<u32> {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        let agents = service.agents(PoolRole::Ours).await?;
        let runs = agents.iter().find(|agent| agent["task"] == id);
        if let Some(pid) = runs.and_then(|agent| agent["pid"].as_u64()).and_then(|pid| u32::try_from(pid).ok()) {
            return Ok(pid);
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("a turn of the conversation did not begin within {} s", LIMIT.as_secs())
}
