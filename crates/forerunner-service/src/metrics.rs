//! The metric of what fronts take in memory.

use metrics::{Unit, describe_gauge};

/// Has the name of the first front, which dashboards and alerts know.
pub(crate) const MEMORY: &str = "forerunner_http_memory_bytes";

/// Tells the installed recorder what the metrics of the service layer mean. Call once it is installed.
pub fn describe_metrics() {
    describe_gauge!(MEMORY, Unit::Bytes, "Bytes of bodies and answers in flight.");
}
