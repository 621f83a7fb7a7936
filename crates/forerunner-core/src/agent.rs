//! Agent instances and their states.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of an agent instance.
///
/// ```text
/// starting ──▶ ready ⇄ busy
///    │           │▲      │
///    │           ▼│      ▼ (asked to stop: finishes its task first)
///    │        cooldown ──▶ stopped
///    └──▶ failed ◀── any
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(description = "The state of an agent."))]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Warms up.
    Starting,
    /// Warm and idle.
    Ready,
    /// Runs a task.
    Busy,
    /// Accepts no new task and will stop. A scale-up may reclaim it.
    Cooldown,
    /// Stopped as asked.
    Stopped,
    /// Ended unexpectedly, or never became warm.
    Failed,
}

impl AgentState {
    /// Returns the name used in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Cooldown => "cooldown",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Agents of a pool by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentCounts {
    /// Warming up.
    pub starting: u32,
    /// Warm and idle.
    pub ready: u32,
    /// Running a task and staying.
    pub busy: u32,
    /// On the way out: idle ones in cooldown and busy ones that stop after their task.
    pub cooldown: u32,
}

impl AgentCounts {
    /// Agents that exist, or start, and may get tasks.
    pub const fn size(&self) -> u32 {
        self.starting + self.ready + self.busy
    }

    /// Busy share of the warm agents, 0 to 1; 0 without any.
    pub fn utilisation(&self) -> f64 {
        let warm = self.ready + self.busy;
        if warm == 0 { 0.0 } else { f64::from(self.busy) / f64::from(warm) }
    }
}
