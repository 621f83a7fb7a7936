//! The interface between an agent actor and its instance: a Rust value, a child process or a simulation.
//!
//! The runtime knows this interface and no implementation of it. `forerunner-agents` has the implementations that the
//! service offers.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use forerunner_context::Dictionary;
use forerunner_core::{AgentId, AgentRequest, ContextId, Payload, PoolName, TaskId, Timestamp, placement::Room};
use futures_util::future::LocalBoxFuture;

use super::{AgentContext, AgentError};

/// One attempt of a task, as its agent receives it.
#[derive(Debug, Clone)]
pub struct AttemptRequest {
    /// The task.
    pub task: TaskId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The number of the task's ancestors: each is the task whose agent submitted the next one.
    pub depth: u32,
    /// The task's input.
    pub input: Payload,
    /// The time at which the node stops the attempt.
    pub deadline: Timestamp,
    /// The trace that the task belongs to, in the form of W3C Trace Context.
    pub traceparent: Option<String>,
    /// What agents of the task asked before, with the answers.
    pub requests: Vec<AgentRequest>,
}

/// A new instance, as its factory receives it.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// The id of the agent.
    pub agent: AgentId,
    /// The pool of the agent.
    pub pool: PoolName,
    /// The dictionary that was trained on contexts of the pool, if there is one.
    pub dictionary: Option<Dictionary>,
}

/// The contexts that are resident in an instance: those that it has in a memory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidentContexts {
    /// All of them. The last one was used last.
    pub contexts: Vec<ResidentContext>,
    /// The room for contexts, including that of the resident ones.
    pub room: Room,
}

/// A context that is resident in an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidentContext {
    /// Its id.
    pub context: ContextId,
    /// The last version that the node sent to the instance.
    pub version: u64,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// One warm instance. It lives on its actor's arbiter and runs one attempt at a time.
///
/// A future may be dropped at any await: when the attempt times out and the agent does not stop by itself, or when the
/// node stops. After `run` was dropped, the driver is stopped and never used again.
pub trait Driver: 'static {
    /// Runs one attempt. The actor catches a panic and treats it as [`AgentError::lost`].
    fn run<'a>(
        &'a mut self,
        request: &'a AttemptRequest,
        cx: &'a mut AgentContext,
    ) -> LocalBoxFuture<'a, Result<Payload, AgentError>>;

    /// Returns the place in the driver for the future of an attempt, if it has one. Then an attempt of a task without a
    /// context needs no allocation, and [`Driver::run`] is not called for it.
    fn slot(&mut self) -> Option<&mut dyn AttemptSlot> {
        None
    }

    /// Returns whether the idle instance may end unexpectedly. Only then the actor watches [`Driver::died`].
    fn can_die(&self) -> bool {
        false
    }

    /// Resolves when the idle instance ends unexpectedly. The actor drops the future when an attempt arrives.
    fn died(&mut self) -> LocalBoxFuture<'_, AgentError> {
        Box::pin(std::future::pending())
    }

    /// Evicts a context that was deleted. The instance drops it before its next attempt at the latest.
    fn forget(&mut self, _context: &ContextId) {}

    /// Returns the tasks that wait for an answer while the instance has their question open.
    fn waiting_tasks(&self) -> Vec<TaskId> {
        Vec::new()
    }

    /// Returns contexts of which the instance has files on this machine. They must go if the context is deleted, through any
    /// node.
    fn contexts_with_files(&self) -> Vec<ContextId> {
        Vec::new()
    }

    /// Closes the question of a task that will not come back to this instance: it was cancelled or expired, or another
    /// instance continued it.
    fn release(&mut self, _task: TaskId) {}

    /// Returns the contexts that are resident in the instance.
    ///
    /// `None` for an instance that gets its context with each attempt. The choice among such instances costs nothing.
    fn resident_contexts(&self) -> Option<ResidentContexts> {
        None
    }

    /// Stops the instance, forcibly after `grace`. The actor calls it once, also for an instance that died.
    fn stop(self: Box<Self>, _grace: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Returns the process id, if the instance has a process of its own.
    fn pid(&self) -> Option<u32> {
        None
    }
}

/// The answer of an attempt in a slot, with the context that it got.
pub type SlotAnswer = (Result<Payload, AgentError>, Box<AgentContext>);

/// A place for the future of one attempt, used again and again.
pub trait AttemptSlot {
    /// Begins an attempt. With `as_value`, a reader in this process may get the output as a value instead of as text.
    fn begin(&mut self, input: Payload, cx: Box<AgentContext>, as_value: bool);

    /// Polls the attempt that was begun. Its end returns the context. After a panic the driver is stopped and never used
    /// again.
    fn poll(&mut self, waker: &mut Context<'_>) -> Poll<SlotAnswer>;
}

/// Starts warm instances of one kind.
pub trait DriverFactory: Send + Sync + 'static {
    /// Returns the name of the kind, such as `rust` or `process`.
    fn kind(&self) -> &'static str;

    /// Returns how many instances may start at the same time on one node, unless the pool's settings limit it. A cold
    /// start needs processor time and memory, so many at once delay each other.
    fn max_starting(&self) -> u32 {
        64
    }

    /// Starts an instance and answers once it is warm. The time until then is the cold start.
    fn start(&self, request: StartRequest) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>>;
}
