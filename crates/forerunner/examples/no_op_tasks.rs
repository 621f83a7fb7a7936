//! Runs tasks that do nothing, for a profiler: what remains is the cost of Forerunner itself.
//!
//! Everything shares one thread, so that instruction counts repeat:
//! `valgrind --tool=callgrind target/release/examples/no_op_tasks 20000`.

use std::{collections::VecDeque, error::Error};

use forerunner::{Agent, AgentContext, AgentError, Pool, Runtime, ThreadPlacement};
use tokio::time::Instant;

/// Tasks under way.
const IN_FLIGHT: usize = 1_024;

struct Echo;

impl Agent for Echo {
    type Input = u64;
    type Output = u64;

    async fn run(&mut self, number: u64, _: &mut AgentContext) -> Result<u64, AgentError> {
        Ok(number)
    }
}

#[actix_rt::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tasks: u64 = std::env::args().nth(1).map_or(Ok(100_000), |count| count.parse())?;
    let pool = Pool::new("echo", || async { Ok(Echo) }).size(8..=8);
    let runtime = Runtime::builder().placement(ThreadPlacement::Current).pool(pool).start().await?;
    let begun = Instant::now();
    let mut under_way = VecDeque::with_capacity(IN_FLIGHT);
    for number in 0..tasks {
        if under_way.len() == IN_FLIGHT
            && let Some(oldest) = under_way.pop_front()
        {
            finish(oldest).await?;
        }
        under_way.push_back(runtime.submit("echo", number).into_future());
    }
    for answer in under_way {
        finish(answer).await?;
    }
    let micros = begun.elapsed().as_secs_f64() * 1e6;
    println!("{tasks} tasks, {:.2} µs each", micros / tasks as f64);
    runtime.shutdown().await;
    Ok(())
}

async fn finish(answer: forerunner::SubmitFuture) -> Result<u64, forerunner::Error> {
    answer.await?.result().await
}
