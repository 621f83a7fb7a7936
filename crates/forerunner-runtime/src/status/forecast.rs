//! The status types of decisions and forecasts.

use forerunner_core::{AgentCounts, Timestamp};
use forerunner_forecast::{Cause, Decision, Forecast};
use serde::{Deserialize, Serialize};

use super::Mode;

/// Recent cold starts, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ColdStart {
    /// Median.
    pub p50: f64,
    /// 90th percentile: the cold start that the forecast plans with.
    pub p90: f64,
}

/// The inputs of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Inputs {
    /// Tasks that became due since the previous decision.
    pub arrivals: u64,
    /// Attempts that ended since then.
    pub completions: u64,
    /// Their mean seconds on an agent.
    pub mean_service_s: Option<f64>,
    /// Agents that may start at the same time, on all nodes together; absent where any number may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub start_concurrency: Option<u32>,
    /// Their mean context size, in tokens (4 bytes each).
    pub mean_context_tokens: Option<f64>,
    /// Tasks that wait for an agent.
    pub depth: u32,
    /// Agents by state.
    pub agents: AgentCounts,
    /// The cold start that it planned with, in seconds.
    pub cold_start_s: f64,
}

/// A recorded decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecisionRecord {
    /// The number of the decision; the pool's first is 1.
    pub seq: u64,
    /// When it was made.
    pub at: Timestamp,
    /// What triggered it.
    pub cause: Cause,
    /// Its inputs.
    pub inputs: Inputs,
    /// The wanted number of agents before.
    pub before: u32,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
    /// Whether it is applied.
    pub mode: Mode,
}

/// The forecast of a pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForecastStatus {
    /// When it was made.
    pub at: Timestamp,
    /// The policy that made it.
    pub policy: &'static str,
    /// The newest forecast, for policies that forecast.
    pub forecast: Option<Forecast>,
    /// The recent past: actual and forecast load.
    pub history: Vec<ForecastPoint>,
}

/// One point of a pool's recent past.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForecastPoint {
    /// Its time.
    pub at: Timestamp,
    /// Arrivals per second since the previous point.
    pub rate_per_s: f64,
    /// Expected arrivals per second at the horizon.
    pub expected_per_s: f64,
    /// Lower bound of the expected arrivals.
    pub low_per_s: f64,
    /// Upper bound of the expected arrivals.
    pub high_per_s: f64,
    /// Tasks that wait.
    pub depth: u32,
    /// Wanted number of agents.
    pub desired: u32,
    /// Warm idle agents.
    pub ready: u32,
    /// Agents that run a task.
    pub busy: u32,
    /// Agents that start.
    pub starting: u32,
}
