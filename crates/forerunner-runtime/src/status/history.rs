//! The history of a pool, which charts are drawn from.

use forerunner_core::{PoolName, Timestamp};
use forerunner_forecast::ReasonCode;
use serde::Serialize;

use super::{Cause, Mode};

/// How long tasks waited, in seconds. Percentiles are precise to 6 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = RecentWaits))]
pub struct WaitSummary {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The longest wait.
    pub max: f64,
}

/// The current load of a pool, and that of the last five minutes. Where several nodes share a store, arrivals are those
/// on all of them; starts and waits are those of tasks that began on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Recent {
    /// Arrivals per second over the last 10 to 15 s; absent before the second sample.
    pub rate_per_s: Option<f64>,
    /// Seconds that the other members cover: 300, or less after a start.
    pub span_s: f64,
    /// Tasks that began.
    pub started: u64,
    /// Tasks among them that waited longer for an agent than the objective allows.
    pub late: u64,
    /// How long they waited for an agent, from when they could start.
    pub wait_s: Option<WaitSummary>,
    /// How long those with a context waited before that, for the task before them in it; absent without such tasks.
    pub wait_context_s: Option<WaitSummary>,
}

/// The last minutes of a pool, from this node's memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolHistory {
    /// The pool.
    pub pool: PoolName,
    /// The time of this answer.
    pub at: Timestamp,
    /// Start of the node's records; absent before the first sample.
    pub since: Option<Timestamp>,
    /// Length of a slot, in seconds.
    pub slot_s: f64,
    /// The requested number of minutes.
    pub minutes: u32,
    /// Tasks that began in these minutes, on this node.
    pub started: u64,
    /// Tasks among them that waited longer for an agent than the objective allows.
    pub late: u64,
    /// How long they waited for an agent, from when they could start.
    pub wait_s: Option<WaitSummary>,
    /// How long those with a context waited before that, for the task before them in it; absent without such tasks.
    pub wait_context_s: Option<WaitSummary>,
    /// The slots, oldest first. Slots after `at` have only the forecast.
    pub points: Vec<HistoryPoint>,
    /// The decisions of these minutes that wanted another size, oldest first.
    pub changes: Vec<SizeChange>,
    /// Whether there were more changes: then the oldest are omitted.
    pub more_changes: bool,
}

/// One slot of a pool's history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryPoint {
    /// When the slot begins.
    pub at: Timestamp,
    /// Arrivals per second.
    pub rate_per_s: Option<f64>,
    /// Expected arrivals per second, as forecast one cold start before the slot.
    pub expected_per_s: Option<f64>,
    /// Lower bound of the expected arrivals.
    pub low_per_s: Option<f64>,
    /// Upper bound of the expected arrivals.
    pub high_per_s: Option<f64>,
    /// Tasks that wait at the end of the slot.
    pub depth: Option<u32>,
    /// Most waiting tasks in any sample.
    pub greatest_depth: Option<u32>,
    /// Wanted number of agents.
    pub desired: Option<u32>,
    /// Number of agents that the policy wants. It differs from `desired` in advise mode, and on a node that is not the
    /// leader.
    pub advised: Option<u32>,
    /// Warm idle agents.
    pub ready: Option<u32>,
    /// Agents that run a task.
    pub busy: Option<u32>,
    /// Agents that start.
    pub starting: Option<u32>,
    /// Agents that will stop.
    pub cooldown: Option<u32>,
    /// Tasks that began.
    pub started: u64,
    /// Tasks among them that waited longer for an agent than the objective allows.
    pub late: u64,
    /// How long they waited for an agent, from when they could start.
    pub wait_s: Option<WaitSummary>,
    /// How long those with a context waited before that, for the task before them in it; absent without such tasks.
    pub wait_context_s: Option<WaitSummary>,
}

/// A decision that wanted another size.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SizeChange {
    /// Its number.
    pub seq: u64,
    /// When it was made.
    pub at: Timestamp,
    /// What triggered it.
    pub cause: Cause,
    /// The wanted number of agents before.
    pub before: u32,
    /// The wanted number of agents after.
    pub desired: u32,
    /// Why, for programs.
    pub reason: ReasonCode,
    /// Why, for people.
    pub detail: String,
    /// Whether it was applied.
    pub mode: Mode,
}
