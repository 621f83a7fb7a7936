//! The actors of Forerunner: queue, pool, agents, forecast.
//!
//! One `QueueActor`, `PoolActor` and `ForecastActor` per pool, one `AgentActor` per warm instance, and a [`Handle`] for
//! fronts and embedders. Actors turn messages into events for the pure machines of `forerunner-core` and
//! `forerunner-forecast`, and the machines' actions into effects. See `docs/ARCHITECTURE.md` for the way of a task.

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod admission;
pub mod agent;
mod batcher;
pub mod blocking;
mod bulk;
mod clock;
mod cluster;
mod completion_watchers;
mod contexts;
mod damage;
mod deps;
mod error;
mod events;
mod fingerprint;
mod forecast;
mod handle;
pub mod metrics;
mod moves;
mod node;
#[cfg(feature = "openapi")]
mod openapi;
mod pool;
mod queue;
mod schedules;
mod shutdown;
mod sizes;
mod spec;
pub mod status;
mod submit_many;
mod submitting;
mod task_logs;
#[cfg(feature = "test-util")]
pub mod testkit;
mod unconfigured;

pub use bulk::{BulkReport, BulkRequest, MOST_BULK};
pub use clock::{SystemClock, VirtualClock};
pub use error::Error;
pub use forecast::{LearnedForecast, Lesson, UntaughtPolicy};
pub use forerunner_core::placement::RestoreCost;
pub use handle::{EventStream, Handle};
pub use node::{Node, NodeSpec, ThreadPlacement};
pub use schedules::{SchedulePatch, ScheduleStatus};
pub use shutdown::{ShutdownReport, StoppedNode};
pub use spec::{ContextSettings, OnTime, PolicyFactory, PoolSettings, PoolSpec, QueueSettings, TaskSettings};
pub use status::{
    AgentStatus, Cause, ColdStart, ContextPage, ContextStatus, DecisionRecord, ForecastPoint, ForecastStatus,
    HistoryPoint, Inputs, Mode, NodeStatus, PoolHistory, PoolPatch, PoolState, PoolStatus, Readiness, Recent,
    SizeChange, Submitted, TaskEvent, TaskEventKind, UnconfiguredPool, WaitSummary,
};
pub use submitting::{CompletionFuture, SubmitFuture};
