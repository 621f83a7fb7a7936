//! Vocabulary and state machines of Forerunner.
//!
//! Pure: no IO, no async, no clock. Every choice is a function of (state, event, now) that returns actions; the
//! actors of `forerunner-runtime` turn messages into events and actions into effects.
//!
//! ```
//! use forerunner_core::{RetryPolicy, TaskState};
//! use std::time::Duration;
//!
//! assert!(TaskState::Running.can_become(TaskState::Succeeded));
//! assert!(!TaskState::Succeeded.can_become(TaskState::Running));
//! assert_eq!(RetryPolicy::default().backoff(2, 1.0), Duration::from_secs(2));
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod agent;
mod agent_request;
mod ago;
mod attempt;
mod canonical;
mod circuit;
mod context_cost;
mod duration;
mod error;
mod id_map;
mod ids;
pub mod json_text;
mod new_task;
#[cfg(feature = "openapi")]
pub mod openapi;
mod payload;
pub mod placement;
mod pool;
mod priority;
mod queue;
mod rate_limit;
mod restart;
mod retry;
mod schedule;
mod scheduling_key;
mod shares;
mod task;
mod task_error;
mod task_event;
mod task_log;
mod task_spec;
mod task_state;
mod tenant_names;
mod time;
mod time_text;
pub mod transition;

pub use agent::{AgentCounts, AgentState};
pub use agent_request::{AgentRequest, AnswerError, Answering, Question, RequestKind, RequestOption};
pub use ago::parse_time;
pub use attempt::{AttemptOutcome, AttemptRecord};
pub use circuit::{
    AttemptFailure, Backoff, CircuitChange, CircuitState, DependencyCircuit, DependencyReport, DependencySettings,
    FailureVerdict,
};
pub use context_cost::{ContextCost, ContextSource};
pub use duration::{LONGEST_DURATION, format_duration, human_duration, parse_duration};
pub use error::Error;
pub use id_map::{IdMap, IdState};
pub use ids::{
    AgentId, ApiKeyId, ApiKeyName, ContextId, IdempotencyKey, LeaseEpoch, MAX_KEY_LEN, MAX_NAME_LEN, NodeId, PoolName,
    ScheduleName, TaskId, TenantName,
};
pub use new_task::{Labels, NewTask};
pub use payload::Payload;
pub use placement::{IdleAgents, PlacementReason, PlacementRecord};
pub use pool::{
    AgentRecord, Isolation, MeasuredStarts, PoolAction, PoolEvent, PoolMachine, PoolRules, PoolTally, RunPace,
    RunSummary, ScaleDownOrder, Selection, StartConcurrency, StartStatus,
};
pub use priority::Priority;
pub use queue::{POLL, QueueAction, QueueEvent, QueueMachine};
pub use rate_limit::{RateLeft, RateLimit, RateMeter};
pub use restart::{Circuit, RestartBudget, RestartPolicy};
pub use retry::{CRASH_RETRY, Next, RetryPolicy, after_attempt};
pub use schedule::{
    CatchUp, GRACE, LastRun, MAX_CATCH_UP, MAX_CRON_BYTES, Overlap, SHORTEST_INTERVAL, Schedule, ScheduleDefinition,
    ScheduleState, SkipReason, Step, key_of, name_in_key, next_step,
};
pub use scheduling_key::SchedulingKey;
pub use shares::{Member, shares};
pub use task::Task;
pub use task_error::{DependencyFault, ErrorKind, Outcome, TaskError};
pub use task_event::{TaskEvent, TaskEventKind};
pub use task_log::{LogLevel, LogLine, LogSource, TaskLog};
pub use task_spec::{Occurrence, Part, TaskReport, TaskSpec};
pub use task_state::TaskState;
pub use time::{Clock, Timestamp};
pub use transition::{Answered, Change, Transition};
