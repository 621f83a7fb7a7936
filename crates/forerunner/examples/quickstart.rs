//! The program of `docs/quickstart/rust.md`.
//!
//! `cargo run -p forerunner --example quickstart`

use forerunner::{Agent, AgentContext, AgentError, Pool, PoolRef, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Message {
    role: String,
    text: String,
}

/// Answers with the number of items in its memory. A model client would be one of its fields.
struct Listener;

impl Agent for Listener {
    type Input = String;
    type Output = usize;

    async fn run(&mut self, text: String, cx: &mut AgentContext) -> Result<usize, AgentError> {
        cx.push(&Message { role: "user".into(), text })?;
        Ok(cx.read::<Message>()?.len())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The closure starts one agent. What is slow belongs here: it is the cold start.
    let pool = Pool::new("listener", || async { Ok(Listener) }).size(2..=4);
    let runtime = Runtime::builder().pool(pool).start().await?;

    // The compiler knows the input and output types of the pool's agents.
    let listener: PoolRef<Listener> = runtime.pool("listener")?;
    let task = listener.submit("hello".to_owned()).context("trip").await?;
    assert_eq!(task.await?, 1);
    let task = listener.submit("and again".to_owned()).context("trip").await?;
    assert_eq!(task.await?, 2);

    println!("the agent remembers both turns");
    runtime.shutdown().await;
    Ok(())
}
