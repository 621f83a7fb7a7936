//! The seam between an agent actor and whatever it keeps warm: a Rust value, a child process, a simulation.

use std::time::Duration;

use forerunner_context::Dictionary;
use forerunner_core::{AgentId, ContextId, Payload, PoolName, TaskId, Timestamp, placement::Room};
use futures_util::future::LocalBoxFuture;

use super::{AgentContext, AgentError};

/// What an agent is given to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// The task.
    pub task: TaskId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many tasks stand above it: those whose agents submitted each other.
    pub depth: u32,
    /// The task's input.
    pub input: Payload,
    /// When the attempt is given up.
    pub deadline: Timestamp,
}

/// Who a new instance will be.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Its id.
    pub agent: AgentId,
    /// Its pool.
    pub pool: PoolName,
    /// What was learnt from contexts of its pool, if anything.
    pub dictionary: Option<Dictionary>,
}

/// The contexts that an instance holds in a memory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnMemory {
    /// All of them, the one used last at the end.
    pub contexts: Vec<OwnContext>,
    /// Room for contexts, those held included.
    pub room: Room,
}

/// A context that an instance holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnContext {
    /// Which.
    pub context: ContextId,
    /// The version that the instance was last told of it.
    pub version: u64,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// One warm instance. Lives on its actor's arbiter and does one job at a time.
///
/// Futures may be dropped at any await: when the attempt times out and the agent does not stop by itself, or when the
/// node stops. A driver whose `run` was dropped is stopped, never used again.
pub trait Driver: 'static {
    /// Does one job. A panic is caught and counts as [`AgentError::lost`].
    fn run<'a>(&'a mut self, job: &'a Job, cx: &'a mut AgentContext)
    -> LocalBoxFuture<'a, Result<Payload, AgentError>>;

    /// Returns whether the idle instance can die by itself; only then is [`Driver::died`] watched.
    fn can_die(&self) -> bool {
        false
    }

    /// Resolves when the idle instance dies by itself. Dropped when a job arrives.
    fn died(&mut self) -> LocalBoxFuture<'_, AgentError> {
        Box::pin(std::future::pending())
    }

    /// Lets the instance forget a context that was removed, at the latest before its next job.
    fn forget(&mut self, _context: &ContextId) {}

    /// Says which contexts the instance holds in a memory of its own. `None` for one that is handed its context with each
    /// job: then it makes no difference which instance does it.
    fn memory(&self) -> Option<OwnMemory> {
        None
    }

    /// Stops for good, forcibly after `grace`. Called once, also for an instance that died.
    fn stop(self: Box<Self>, _grace: Duration) -> LocalBoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Returns the process id of an instance that has a process of its own.
    fn pid(&self) -> Option<u32> {
        None
    }
}

/// Makes warm instances.
pub trait DriverFactory: Send + Sync + 'static {
    /// Names the kind: `rust`, `process`, `simulated`.
    fn kind(&self) -> &'static str;

    /// Starts an instance and answers once it is warm. The time this takes is the cold start.
    fn start(&self, seat: Seat) -> LocalBoxFuture<'static, Result<Box<dyn Driver>, AgentError>>;
}
