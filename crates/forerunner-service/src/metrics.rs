//! The metrics of what fronts share: memory, and who may call.

use metrics::{Unit, describe_counter, describe_gauge};

/// It has the name of the first front, which dashboards and alerts use.
pub(crate) const MEMORY: &str = "forerunner_http_memory_bytes";

/// Calls that were refused because of their key, by reason.
pub(crate) const REFUSED: &str = "forerunner_auth_refused_total";
/// Whether whoever reaches the service may do everything.
pub(crate) const DISABLED: &str = "forerunner_auth_disabled";
/// Tasks that were refused because of a limit of their tenant or key.
pub(crate) const LIMITED: &str = "forerunner_tenant_refused_total";
/// Keys by state.
pub(crate) const KEYS: &str = "forerunner_auth_keys";

/// Registers the descriptions of the service layer's metrics. Call it once, after the recorder is installed.
pub fn describe_metrics() {
    describe_gauge!(MEMORY, Unit::Bytes, "Bytes of bodies and answers in flight.");
    let refused = "Calls refused because of their key: `missing`, `malformed`, `unknown`, `expired`, `revoked`, \
                   `replaced`, `network`, `stale`, `forbidden`.";
    describe_counter!(REFUSED, Unit::Count, refused);
    let limited = "Tasks refused because of a limit of their tenant or key: `rate`, `tasks`, `bytes`, `key_rate`.";
    describe_counter!(LIMITED, Unit::Count, limited);
    describe_gauge!(DISABLED, Unit::Count, "1 if calls need no key, else 0.");
    describe_gauge!(KEYS, Unit::Count, "Keys that the node knows: `active`, `expired`, `revoked`.");
}
