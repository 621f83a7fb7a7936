//! The recorder of a dependency circuit.

use forerunner_core::{CircuitState, DependencyReport};
use metrics::{Counter, Gauge, counter, gauge};

use super::{DEPENDENCY_LIMIT, DEPENDENCY_OPENED, DEPENDENCY_STATE, EXCUSED};

/// The metrics of a queue's dependency circuit.
pub(crate) struct DependencyMetrics {
    pub(crate) opened: Counter,
    pub(crate) excused: Counter,
    state: Gauge,
    limit: Gauge,
}

impl DependencyMetrics {
    pub(crate) fn new(pool: &str) -> Self {
        let pool = || pool.to_owned();
        let metrics = Self {
            opened: counter!(DEPENDENCY_OPENED, "pool" => pool()),
            excused: counter!(EXCUSED, "pool" => pool()),
            state: gauge!(DEPENDENCY_STATE, "pool" => pool()),
            limit: gauge!(DEPENDENCY_LIMIT, "pool" => pool()),
        };
        // Each series exists, as 0, before the first outage.
        metrics.opened.increment(0);
        metrics.excused.increment(0);
        metrics
    }

    /// Records the state of the circuit.
    pub(crate) fn show(&self, report: &DependencyReport) {
        let (state, limit) = match (report.state, report.limit) {
            (CircuitState::Closed, _) => (0.0, 0.0),
            (CircuitState::HalfOpen, limit) => (1.0, f64::from(limit.unwrap_or(1))),
            (CircuitState::Open, _) => (2.0, 0.0),
        };
        self.state.set(state);
        self.limit.set(limit);
    }
}
