//! How a pool did: what charts are drawn from.

use forerunner_core::{PoolName, Timestamp};
use forerunner_forecast::ReasonCode;
use serde::Serialize;

use super::{Cause, Mode};

/// How long tasks waited, in seconds. Percentiles are exact to 6 %.
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

/// How a pool did just now and over the last five minutes. Where several nodes share a store, arrivals are those on all
/// of them, starts and waits those of tasks that began on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Recent {
    /// Arrivals per second over the last 10 to 15 s; absent before the second look.
    pub rate_per_s: Option<f64>,
    /// Seconds that the other figures are about: 300, or less after a start.
    pub span_s: f64,
    /// Tasks that began.
    pub started: u64,
    /// Those of them that waited for longer than the objective allows.
    pub late: u64,
    /// How long they waited.
    pub wait_s: Option<WaitSummary>,
}

/// The last minutes of a pool, as far as this node knows them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolHistory {
    /// The pool.
    pub pool: PoolName,
    /// When this was asked.
    pub at: Timestamp,
    /// When what the node knows begins; absent before the first look.
    pub since: Option<Timestamp>,
    /// Length of a slot, in seconds.
    pub slot_s: f64,
    /// How many minutes were asked for.
    pub minutes: u32,
    /// Tasks that began in these minutes, on this node.
    pub started: u64,
    /// Those of them that waited for longer than the objective allows.
    pub late: u64,
    /// How long they waited.
    pub wait_s: Option<WaitSummary>,
    /// Slot by slot, oldest first. Those after `at` have what is expected, and nothing else.
    pub points: Vec<HistoryPoint>,
    /// The decisions of these minutes that asked for another size, oldest first.
    pub changes: Vec<SizeChange>,
    /// Whether there were more than are listed: then the oldest are left out.
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
    /// What was expected for this slot, one cold start before it: arrivals per second.
    pub expected_per_s: Option<f64>,
    /// Lower edge of the band.
    pub low_per_s: Option<f64>,
    /// Upper edge of the band.
    pub high_per_s: Option<f64>,
    /// Tasks waiting at the end of the slot.
    pub depth: Option<u32>,
    /// Most tasks waiting at any look.
    pub greatest_depth: Option<u32>,
    /// Agents wanted.
    pub desired: Option<u32>,
    /// Agents that the policy would have; the same but in advise mode, and on a node that follows.
    pub advised: Option<u32>,
    /// Agents warm and idle.
    pub ready: Option<u32>,
    /// Agents running a task.
    pub busy: Option<u32>,
    /// Agents warming up.
    pub starting: Option<u32>,
    /// Agents on their way out.
    pub cooldown: Option<u32>,
    /// Tasks that began.
    pub started: u64,
    /// Those of them that waited for longer than the objective allows.
    pub late: u64,
    /// How long they waited.
    pub wait_s: Option<WaitSummary>,
}

/// A decision that asked for another size.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SizeChange {
    /// Its number.
    pub seq: u64,
    /// When it was made.
    pub at: Timestamp,
    /// What made it due.
    pub cause: Cause,
    /// Agents wanted before.
    pub before: u32,
    /// Agents wanted from then on.
    pub desired: u32,
    /// Why, for programs.
    pub reason: ReasonCode,
    /// Why, for people.
    pub detail: String,
    /// Whether it was carried out.
    pub mode: Mode,
}
