//! Agents written in Rust.

use std::{future::Future, marker::PhantomData, panic::AssertUnwindSafe, time::Duration};

use forerunner_core::Payload;
use forerunner_runtime::agent::{AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, StartRequest};
use serde::{Serialize, de::DeserializeOwned};

use futures_util::{FutureExt as _, future::LocalBoxFuture};

/// A warm agent: created once, then given one task after another.
///
/// Neither the agent nor its futures need to be `Send`: an agent stays on the thread that created it. Blocking code
/// belongs into `tokio::task::spawn_blocking`, since the pool's other agents share that thread.
///
/// A panic costs the agent, not the pool: the pool starts another agent and retries the task.
pub trait Agent: 'static {
    /// The input of a task.
    type Input: DeserializeOwned;
    /// The result of a task.
    type Output: Serialize;

    /// Runs one task. Items that were pushed to `cx` are stored with the result, in one transaction; after an error
    /// none is.
    ///
    /// # Errors
    /// Any error ends the attempt. `?` works on all of them; see [`AgentError`] for those that are retried.
    fn run(
        &mut self,
        input: Self::Input,
        cx: &mut AgentContext,
    ) -> impl Future<Output = Result<Self::Output, AgentError>>;

    /// Runs once, before the first task, as a part of the cold start.
    ///
    /// # Errors
    /// Any error ends the start; the pool tries again with backoff.
    fn start(&mut self) -> impl Future<Output = Result<(), AgentError>> {
        async { Ok(()) }
    }

    /// Runs once, when the pool stops the agent. The pool drops it when the grace of the stop has passed. It does not run
    /// for an agent that was lost by a panic.
    fn stop(&mut self) -> impl Future<Output = ()> {
        async {}
    }
}

/// Makes agents of one type.
pub(crate) struct RustFactory<F, A> {
    make: F,
    agent: PhantomData<fn() -> A>,
}

impl<F, A> RustFactory<F, A> {
    pub(crate) const fn new(make: F) -> Self {
        Self { make, agent: PhantomData }
    }
}

impl<F, Fut, A> DriverFactory for RustFactory<F, A>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<A, AgentError>> + 'static,
    A: Agent,
{
    fn kind(&self) -> &'static str {
        "rust"
    }

    fn start(&self, _: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>> {
        let made = (self.make)();
        Box::pin(async move {
            let mut agent = made.await?;
            agent.start().await?;
            Ok(Box::new(RustDriver(agent)) as Box<dyn Driver>)
        })
    }
}

struct RustDriver<A>(A);

impl<A: Agent> Driver for RustDriver<A> {
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            let input = request.input.read().map_err(|error| AgentError::invalid_input(error.to_string()))?;
            let output = self.0.run(input, cx).await?;
            Payload::mended_value(&output).map_err(|error| AgentError::fatal(error.to_string()))
        })
    }

    fn stop(mut self: Box<Self>, grace: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            // A panic here costs nothing more than the agent, which stops anyway.
            let stopped = AssertUnwindSafe(self.0.stop()).catch_unwind();
            let _ = tokio::time::timeout(grace, stopped).await;
        })
    }
}
