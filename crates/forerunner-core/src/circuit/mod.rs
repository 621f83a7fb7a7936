//! Circuit breakers: what a pool stops doing while it fails, and how it begins again.
//!
//! A pool has two circuits with the same states and the same backoff. The *agent circuit* ([`crate::RestartBudget`])
//! watches agents that do not start or die idle; while it is open no agent starts. The *dependency circuit*
//! ([`DependencyCircuit`]) watches attempts that fail alike on healthy agents, since what the agents depend on fails; while
//! it is open no task starts.

mod dependency;
mod excused_failures;
mod failure_class;
mod follow;
mod report;
mod settings;
mod window;

#[cfg(test)]
mod law_tests;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use dependency::{AttemptFailure, CircuitChange, DependencyCircuit, FailureVerdict};
pub use report::DependencyReport;
pub use settings::DependencySettings;

/// The state of a circuit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// Nothing is limited.
    #[default]
    Closed,
    /// Nothing goes through.
    Open,
    /// A few go through, to try; more after each success.
    HalfOpen,
}

impl CircuitState {
    /// Returns the name used in JSON and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A pause that doubles with each failure in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub initial: Duration,
    /// The longest one.
    pub max: Duration,
}

impl Backoff {
    /// Returns the pause after so many failures before the last one.
    pub fn after(self, earlier: u32) -> Duration {
        self.initial.saturating_mul(1 << earlier.min(31)).min(self.max)
    }
}
