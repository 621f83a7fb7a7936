//! The metric of the memory that fronts use.

use metrics::{Unit, describe_gauge};

/// It has the name of the first front, which dashboards and alerts use.
pub(crate) const MEMORY: &str = "forerunner_http_memory_bytes";

/// Registers the descriptions of the service layer's metrics. Call it once, after the recorder is installed.
pub fn describe_metrics() {
    describe_gauge!(MEMORY, Unit::Bytes, "Bytes of bodies and answers in flight.");
}
