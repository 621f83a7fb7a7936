//! An agent with a memory that grows: only what a turn adds is stored, and turns of one conversation keep their order.
//!
//! `cargo run -p forerunner --example growing_context`

use forerunner::{Agent, AgentContext, AgentError, ContextId, Pool, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Message {
    role: String,
    content: String,
}

/// In place of an agent with a model: answers with the number of items in its memory.
struct Listener;

impl Agent for Listener {
    type Input = String;
    type Output = String;

    async fn run(&mut self, said: String, cx: &mut AgentContext) -> Result<String, AgentError> {
        cx.push(&Message { role: "user".into(), content: said })?;
        let heard = cx.read::<Message>()?.iter().filter(|message| message.role == "user").count();
        let answer = format!("I have heard you {heard} times");
        cx.push(&Message { role: "assistant".into(), content: answer.clone() })?;
        Ok(answer)
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::new("listener", || async { Ok(Listener) }).size(2..=4);
    let runtime = Runtime::builder().pool(pool).start().await?;

    // Submitted all at once, to a pool of several agents: each conversation still runs in order, one task at a time.
    let mut answers = Vec::new();
    for turn in 1..=20 {
        for conversation in ["anna", "ben"] {
            let task = runtime.submit("listener", format!("this is turn {turn}")).context(conversation).await?;
            answers.push((turn, task));
        }
    }
    for (turn, task) in answers {
        assert_eq!(task.result::<String>().await?, format!("I have heard you {turn} times"));
    }

    let context = runtime.handle().context(Some("listener"), ContextId::new("anna")?).await?;
    assert_eq!(context.items, 40);
    println!("40 messages, {} bytes, stored in {} bytes", context.size_bytes, context.stored_bytes);
    runtime.shutdown().await;
    Ok(())
}
