//! The product as the references are measured.

use std::future::Future;

use forerunner::{Agent, AgentContext, AgentError, Pool, Runtime, RuntimeBuilder, ThreadPlacement};

use crate::{Error, service::Service};

/// Agents in the pool, and workers in each reference.
pub(crate) const AGENTS: u32 = 8;
/// Tasks in flight, unless a row has its own number.
pub(crate) const IN_FLIGHT: usize = 1_024;
/// The pool's name.
pub(crate) const POOL: &str = "echo";

/// Returns its input.
struct Echo;

impl Agent for Echo {
    type Input = u64;
    type Output = u64;

    async fn run(&mut self, number: u64, _: &mut AgentContext) -> Result<u64, AgentError> {
        Ok(number)
    }
}

/// A pool of warm echo agents.
pub(crate) fn pool() -> Pool {
    Pool::new(POOL, || async { Ok(Echo) }).size(AGENTS..=AGENTS)
}

/// A runtime without a disk, with this placement.
pub(crate) async fn start(placement: ThreadPlacement) -> Result<ForerunnerPool, Error> {
    start_with(Runtime::builder().placement(placement)).await
}

/// Starts a runtime with the pool, and waits until all agents are warm.
pub(crate) async fn start_with(builder: RuntimeBuilder) -> Result<ForerunnerPool, Error> {
    start_pool(builder, pool(), AGENTS).await
}

/// Starts a runtime with a pool, and waits until so many agents are warm.
pub(crate) async fn start_pool(builder: RuntimeBuilder, pool: Pool, agents: u32) -> Result<ForerunnerPool, Error> {
    let runtime = builder.pool(pool).start().await?;
    let handle = runtime.handle();
    while handle.pool(POOL).await?.agents.ready < agents {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    Ok(ForerunnerPool { runtime })
}

/// A running pool.
pub(crate) struct ForerunnerPool {
    pub(crate) runtime: Runtime,
}

impl Service for ForerunnerPool {
    fn send(&self, number: u64) -> impl Future<Output = Result<u64, Error>> {
        let submitted = IntoFuture::into_future(self.runtime.submit(POOL, number));
        async { Ok(submitted.await?.result().await?) }
    }
}
