//! Agents written in Rust.

use std::{
    future::Future,
    marker::PhantomData,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use forerunner_core::Payload;
use forerunner_runtime::agent::{
    AgentContext, AgentError, AttemptRequest, AttemptSlot, Driver, DriverFactory, SlotAnswer, StartRequest,
};
use serde::{Serialize, de::DeserializeOwned};

use futures_util::{FutureExt as _, future::LocalBoxFuture};

/// A warm agent: created once, then given one task after another.
///
/// Neither the agent nor its futures need to be `Send`: an agent stays on the thread that created it. Blocking code
/// belongs into `tokio::task::spawn_blocking`, since the pool's other agents share that thread.
///
/// A panic costs the agent, not the pool: the pool starts another agent and retries the task.
pub trait Agent: 'static {
    /// The input of a task. A submission in this process hands the value over; an attempt gets a clone of it.
    type Input: DeserializeOwned + Clone + 'static;
    /// The result of a task.
    type Output: Serialize + Send + Sync + 'static;

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
            Ok(driver(agent))
        })
    }
}

/// What an attempt in the slot ends with. The agent is returned to its driver.
type SlotEnd<A> = (A, SlotAnswer);

/// One warm agent. While an attempt runs in its slot, the attempt has the agent.
struct RustDriver<A, F, B> {
    agent: Option<A>,
    slot: Pin<Box<Option<F>>>,
    begin: B,
}

/// Creates the driver of an agent, with room for the future of an attempt.
fn driver<A: Agent>(agent: A) -> Box<dyn Driver> {
    fn of<A, F, B>(agent: A, begin: B) -> Box<dyn Driver>
    where
        A: Agent,
        F: Future<Output = SlotEnd<A>> + 'static,
        B: Fn(A, Box<AgentContext>, Payload, bool) -> F + 'static,
    {
        Box::new(RustDriver { agent: Some(agent), slot: Box::pin(None), begin })
    }
    of(agent, |mut agent: A, mut cx: Box<AgentContext>, input, as_value| async move {
        let answer = run(&mut agent, &input, &mut cx, as_value).await;
        (agent, (answer, cx))
    })
}

async fn run<A: Agent>(
    agent: &mut A,
    input: &Payload,
    cx: &mut AgentContext,
    as_value: bool,
) -> Result<Payload, AgentError> {
    let input = match input.value::<A::Input>() {
        Some(value) => value.clone(),
        None => input.read().map_err(|error| AgentError::invalid_input(error.to_string()))?,
    };
    let output = agent.run(input, cx).await?;
    match as_value {
        true => Ok(Payload::of_value(output)),
        false => Payload::mended_value(&output).map_err(|error| AgentError::fatal(error.to_string())),
    }
}

impl<A, F, B> AttemptSlot for RustDriver<A, F, B>
where
    A: Agent,
    F: Future<Output = SlotEnd<A>> + 'static,
    B: Fn(A, Box<AgentContext>, Payload, bool) -> F + 'static,
{
    fn begin(&mut self, input: Payload, cx: Box<AgentContext>, as_value: bool) {
        if let Some(agent) = self.agent.take() {
            self.slot.set(Some((self.begin)(agent, cx, input, as_value)));
        }
    }

    fn poll(&mut self, waker: &mut Context<'_>) -> Poll<SlotAnswer> {
        // Without an attempt there is nothing to wait for: the agent was lost by a panic.
        let Some(attempt) = self.slot.as_mut().as_pin_mut() else { return Poll::Pending };
        attempt.poll(waker).map(|(agent, answer)| {
            self.agent = Some(agent);
            self.slot.set(None);
            answer
        })
    }
}

impl<A, F, B> Driver for RustDriver<A, F, B>
where
    A: Agent,
    F: Future<Output = SlotEnd<A>> + 'static,
    B: Fn(A, Box<AgentContext>, Payload, bool) -> F + 'static,
{
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>> {
        Box::pin(async move {
            let Some(agent) = &mut self.agent else { return Err(AgentError::lost("the agent was lost by a panic")) };
            run(agent, &request.input, cx, false).await
        })
    }

    fn slot(&mut self) -> Option<&mut dyn AttemptSlot> {
        Some(self)
    }

    fn stop(mut self: Box<Self>, grace: Duration) -> LocalBoxFuture<'static, ()> {
        // An attempt that did not end has the agent.
        self.slot.set(None);
        let Some(mut agent) = self.agent.take() else { return Box::pin(std::future::ready(())) };
        Box::pin(async move {
            // A panic here costs nothing more than the agent, which stops anyway.
            let stopped = AssertUnwindSafe(agent.stop()).catch_unwind();
            let _ = tokio::time::timeout(grace, stopped).await;
        })
    }
}
