//! The record of a placement: why a task ran on its agent.

use serde::{Deserialize, Serialize};

use super::{PairCost, Rates};
use crate::{AgentId, ContextId, TaskId, Timestamp};

/// Most agents that a record names.
pub const RECORDED_AGENTS: usize = 16;

/// Why an agent was chosen for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlacementReason {
    /// The context was resident in it.
    Warm,
    /// A part of the context, or an older version, was resident in it.
    PartlyWarm,
    /// Nothing of the context was resident in any idle agent, and this one displaces nothing.
    Room,
    /// Nothing of the context was resident in any idle agent, and this one displaces least.
    LeastDisplacement,
    /// It was the only idle agent.
    OnlyIdle,
}

impl PlacementReason {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Warm, Self::PartlyWarm, Self::Room, Self::LeastDisplacement, Self::OnlyIdle];

    /// Returns the name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::PartlyWarm => "partly_warm",
            Self::Room => "room",
            Self::LeastDisplacement => "least_displacement",
            Self::OnlyIdle => "only_idle",
        }
    }
}

/// What an agent cost, or would have cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentCost {
    /// The agent.
    pub agent: AgentId,
    /// Whether it was running another task.
    pub busy: bool,
    /// Bytes of the context that it lacked.
    pub missing_bytes: u64,
    /// Seconds to restore them.
    pub restore_s: f64,
    /// Expected seconds to restore the contexts that the task displaces: it evicts them, or blocks their agent.
    pub displacement_s: f64,
    /// Expected seconds until it is idle; 0 for an idle one.
    pub busy_for_s: f64,
    /// The sum.
    pub cost_s: f64,
}

impl AgentCost {
    /// Adds up what an agent costs.
    pub fn new(agent: AgentId, fit: PairCost, busy_for_s: Option<f64>, rates: &Rates) -> Self {
        let restore_s = rates.restore.seconds(fit.missing_bytes);
        let cost_s = fit.cost_s(rates) + busy_for_s.unwrap_or(0.0);
        Self {
            agent,
            busy: busy_for_s.is_some(),
            missing_bytes: fit.missing_bytes,
            restore_s,
            displacement_s: fit.displacement_s(rates),
            busy_for_s: busy_for_s.unwrap_or(0.0),
            cost_s,
        }
    }
}

/// Why a task went where it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacementRecord {
    /// The task.
    pub task: TaskId,
    /// Its context.
    pub context: ContextId,
    /// Size of the context, as far as known, in bytes.
    pub context_bytes: u64,
    /// When it was placed.
    pub at: Timestamp,
    /// The reason.
    pub reason: PlacementReason,
    /// What the chosen agent cost.
    pub chosen: AgentCost,
    /// What other agents would have cost, cheapest first: at most 16 ([`RECORDED_AGENTS`]), and busy agents only if the
    /// context is resident in them.
    pub others: Vec<AgentCost>,
    /// How many agents were idle.
    pub idle_agents: usize,
    /// Seconds from being due to being placed.
    pub waited_s: f64,
    /// Of these, seconds that the task was deferred for a busy agent.
    pub deferred_s: f64,
    /// What was measured so far, and counted with.
    pub rates: RatesRecord,
}

/// [`Rates`] in the form of a record.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(description = "What was measured so far."))]
pub struct RatesRecord {
    /// Seconds of any restore.
    pub restore_fixed_s: f64,
    /// Seconds for each megabyte (10⁶ bytes) restored.
    pub restore_s_per_mb: f64,
    /// Mean seconds of a task on its agent.
    pub service_s: f64,
    /// Mean seconds from one use of a context to the next; absent until a context was used twice.
    pub return_s: Option<f64>,
}

impl From<&Rates> for RatesRecord {
    fn from(rates: &Rates) -> Self {
        Self {
            restore_fixed_s: rates.restore.fixed_s,
            restore_s_per_mb: rates.restore.s_per_byte * 1e6,
            service_s: rates.service_s,
            return_s: rates.return_s.is_finite().then_some(rates.return_s),
        }
    }
}
