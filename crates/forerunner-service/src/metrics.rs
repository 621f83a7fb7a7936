//! The metrics of what fronts share: memory, and who may call.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

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

/// Runs of the commands that start remote agents, by result.
const PROVISIONER_RUNS: &str = "forerunner_provisioner_runs_total";
/// Agents that such a command was last run for.
const PROVISIONER_AGENTS: &str = "forerunner_provisioner_agents";
/// Runs in a row that have failed.
const PROVISIONER_FAILURES: &str = "forerunner_provisioner_failures";

/// Records a run of the command that starts a pool's remote agents: for how many agents, and how many runs in a row have
/// failed since the last success, this one included.
pub fn record_provisioner_run(pool: &str, agents: u32, failures: u32) {
    let result = if failures == 0 { "succeeded" } else { "failed" };
    counter!(PROVISIONER_RUNS, "pool" => pool.to_owned(), "result" => result).increment(1);
    gauge!(PROVISIONER_FAILURES, "pool" => pool.to_owned()).set(failures);
    if failures == 0 {
        gauge!(PROVISIONER_AGENTS, "pool" => pool.to_owned()).set(agents);
    }
}

/// Registers the descriptions of the service layer's metrics. Call it once, after the recorder is installed.
pub fn describe_metrics() {
    describe_gauge!(MEMORY, Unit::Bytes, "Bytes of bodies and answers in flight.");
    let refused = "Calls refused because of their key or token: `missing`, `malformed`, `unknown`, `expired`, \
                   `revoked`, `replaced`, `network`, `stale`, `foreign`, `claims`, `forbidden`.";
    describe_counter!(REFUSED, Unit::Count, refused);
    let limited = "Tasks refused because of a limit of their tenant or key: `rate`, `tasks`, `bytes`, `key_rate`.";
    describe_counter!(LIMITED, Unit::Count, limited);
    let runs = "Runs of the command that starts a pool's remote agents: `succeeded`, `failed`.";
    describe_counter!(PROVISIONER_RUNS, Unit::Count, runs);
    describe_gauge!(PROVISIONER_AGENTS, Unit::Count, "Agents that the command was last run for with success.");
    describe_gauge!(PROVISIONER_FAILURES, Unit::Count, "Runs of the command in a row that have failed.");
    describe_gauge!(DISABLED, Unit::Count, "1 if calls need no key, else 0.");
    describe_gauge!(KEYS, Unit::Count, "Keys that the node knows: `active`, `expired`, `revoked`.");
}
