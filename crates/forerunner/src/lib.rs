//! Pools of warm agents that are ready before the queue spikes.
//!
//! Agents are stateful and slow to start. A [`Runtime`] keeps pools of them warm, forecasts the load one cold start
//! ahead, and starts or stops agents before the queue grows. The store has the tasks. A task runs at least once and has
//! exactly one result.
//!
//! ```
//! use forerunner::{Agent, AgentContext, AgentError, Pool, PoolRef, Runtime};
//!
//! struct Adder;
//!
//! impl Agent for Adder {
//!     type Input = (i64, i64);
//!     type Output = i64;
//!
//!     async fn run(&mut self, (a, b): (i64, i64), _cx: &mut AgentContext) -> Result<i64, AgentError> {
//!         Ok(a + b)
//!     }
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let runtime = Runtime::builder().pool(Pool::new("adder", || async { Ok(Adder) }).size(1..=4)).start().await?;
//! let adder: PoolRef<Adder> = runtime.pool("adder")?;
//! let sum = adder.submit((2, 3)).await?;
//! assert_eq!(sum.await?, 5);
//! runtime.shutdown().await;
//! # Ok::<(), forerunner::Error>(())
//! # }).unwrap();
//! ```
//!
//! A runtime starts below `#[tokio::main]`, below `#[actix_rt::main]` and in a current-thread runtime of tokio. Where the
//! thread has an actix `System`, the actors run in it; otherwise they have a thread of their own. A [`Runtime`] and a
//! [`PoolRef`] are `Clone`, `Send` and `Sync`: a web handler can have one.
//!
//! What it is not: a scheduler of containers or machines (give those the `scaler` signal of the service), a model
//! client, or a workflow engine.

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod agent;
mod owner;
mod pool;
mod runtime;
mod schedule;
mod task;
mod typed;

pub use agent::Agent;
pub use forerunner_core::{
    AgentId, CatchUp, Clock, ContextId, ErrorKind, IdempotencyKey, Labels, NewTask, Overlap, Payload, PoolName,
    Priority, RestartPolicy, ScheduleDefinition, ScheduleName, Task as TaskRecord, TaskError, TaskId, TaskState,
    Timestamp,
};
pub use forerunner_runtime::agent::{
    AgentContext, AgentError, AttemptRequest, Driver, DriverFactory, ProgressSink, StartRequest,
};
#[cfg(feature = "test-util")]
pub use forerunner_runtime::testkit;
pub use forerunner_runtime::{
    Error, EventStream, Handle, PoolSettings, SchedulePatch, ScheduleStatus, SystemClock, ThreadPlacement,
    VirtualClock, agent as driver, metrics, status,
};
#[cfg(feature = "http")]
pub use forerunner_service as service;
pub use forerunner_sim as sim;
pub use pool::Pool;
pub use runtime::{Runtime, RuntimeBuilder};
pub use schedule::Schedule;
pub use task::{OutputFuture, Submit, SubmitFuture, Task, TaskHandle};
pub use typed::PoolRef;

/// Agents that are no Rust types: child processes, and simulations.
pub mod agents {
    pub use forerunner_agents::{
        SimulatedFactory, SimulatedSpec,
        process::{ProcessFactory, ProcessLimits, ProcessSpec},
    };
}

/// The items of contexts.
pub mod context {
    pub use forerunner_context::{Dictionary, Error, Item, Snapshot};
}

/// The rules that size pools.
pub mod policy {
    pub use forerunner_forecast::{
        Decision, Error, Forecast, Objective, Observation, Policy, PolicyKind, PolicyLimits, ReasonCode, build,
    };
}

/// Where tasks, results and contexts are stored.
pub mod store {
    pub use forerunner_store::{
        ContextFilter, MemoryOptions, MemoryStore, SqliteOptions, SqliteStore, Store, StoreError, TaskFilter, TaskPage,
        TimeWindow,
    };
}

/// The HTTP service, for a program that embeds it.
#[cfg(feature = "http")]
pub mod http {
    pub use forerunner_http::{DURATION_BUCKETS, HttpControl, HttpServer, HttpSettings, describe_metrics};
}

/// The actors behind [`Runtime`], for a program that wires a node by hand.
pub mod node {
    pub use forerunner_runtime::{Node, NodeSpec, PoolSpec, ShutdownReport};
}
