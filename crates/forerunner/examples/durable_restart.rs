//! Tasks outlive the process that accepted them: a first runtime accepts and stops, a second one runs what is left.
//!
//! `cargo run -p forerunner --example durable_restart`

use std::time::Duration;

use forerunner::{Agent, AgentContext, AgentError, Error, Pool, Runtime, TaskState};

struct Squarer;

impl Agent for Squarer {
    type Input = u64;
    type Output = u64;

    async fn run(&mut self, n: u64, _cx: &mut AgentContext) -> Result<u64, AgentError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(n * n)
    }
}

async fn start(path: &std::path::Path) -> Result<Runtime, Error> {
    let pool = Pool::new("squarer", || async { Ok(Squarer) }).size(1..=2);
    Runtime::builder().sqlite(path).pool(pool).start().await
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tasks.db");

    let first = start(&path).await?;
    let mut tasks = Vec::new();
    for n in 0..50u64 {
        let task = first.submit("squarer", n).idempotency_key(&format!("square-{n}")).await?;
        tasks.push((n, task.id()));
    }
    // Accepted means on disk: stopping now, with most tasks still waiting, loses nothing.
    first.shutdown_within(Duration::ZERO).await;

    let second = start(&path).await?;
    for (n, id) in tasks {
        let task = second.handle().wait(id, Duration::from_secs(10)).await?;
        assert_eq!(task.state, TaskState::Succeeded);
        assert_eq!(task.output.expect("it succeeded").read::<u64>()?, n * n);
        // The same submission again is the same task.
        let again = second.submit("squarer", n).idempotency_key(&format!("square-{n}")).await?;
        assert!(!again.is_new() && again.id() == id);
    }
    println!("50 tasks accepted by one process, all of them finished by the next, none twice");
    second.shutdown().await;
    Ok(())
}
