//! What is known of a dependency circuit: for people, and for the other nodes of a pool.

use serde::{Deserialize, Serialize};

use super::CircuitState;
use crate::Timestamp;

/// The state of a dependency circuit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct DependencyReport {
    /// `open`: no task starts; `half_open`: one task probes, or as many as `limit` run at once.
    pub state: CircuitState,
    /// When the outage was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub since: Option<Timestamp>,
    /// When the next probe starts, while the circuit is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub until: Option<Timestamp>,
    /// The error of the last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub error: Option<String>,
    /// Most tasks that run at once, after the first success and in a partial outage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub limit: Option<u32>,
    /// Share of the last tasks that failed alike, 0 to 1.
    pub failed_share: f64,
    /// Failed attempts of the outage that did not count.
    pub excused_attempts: u64,
    /// Probes of the outage that failed.
    pub failed_probes: u64,
    /// When the probe that runs now began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub probe_since: Option<Timestamp>,
    /// When a probe last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub recovered_at: Option<Timestamp>,
}

impl DependencyReport {
    /// Returns whether no task succeeded since the circuit opened.
    pub const fn is_down(&self) -> bool {
        !matches!(self.state, CircuitState::Closed) && self.limit.is_none()
    }
}
