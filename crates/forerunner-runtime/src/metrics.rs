//! All metrics in one table. The actors use the recorders.

mod dependency;
mod recorders;

use metrics::Unit;

pub use self::recorders::record_log_lines_lost;
pub(crate) use self::recorders::{
    ContextMetrics, ForecastMetrics, PlacementMetrics, PoolMetrics, QueueMetrics, cluster, finished, leader_changed,
    rejected, schedule_fired, schedule_skipped, set_cached_contexts, set_damaged, set_schedules, set_stored_bytes,
    set_vacuum_status, unconfigured,
};

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only increases.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Distribution.
    Histogram,
}

/// One metric, as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricInfo {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its description.
    pub help: &'static str,
}

macro_rules! metrics_list {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(const $constant: &str = $name;)*
        /// Every metric of the actors.
        pub const ALL: &[MetricInfo] = &[
            $(MetricInfo { name: $name, kind: MetricKind::$kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

metrics_list! {
    SUBMITTED Counter "forerunner_tasks_submitted_total" ["pool"] "Tasks accepted.";
    REJECTED Counter "forerunner_tasks_rejected_total" ["pool", "reason"] "Submissions rejected: `queue_full`, `bytes_full`, `contexts_full`, `too_deep`, `no_parent`, `too_large`, `key_reused`, `store`.";
    FINISHED Counter "forerunner_tasks_finished_total" ["pool", "state"] "Tasks that reached a final state.";
    ASKED Counter "forerunner_task_questions_total" ["pool"] "Questions of agents for which a task began to wait.";
    ANSWERED Counter "forerunner_task_answers_total" ["pool"] "Answers to questions of agents.";
    RETRIED Counter "forerunner_task_retries_total" ["pool"] "Attempts that ended with a retry.";
    LEASES_LOST Counter "forerunner_leases_lost_total" ["pool"] "Results rejected because the task had a newer lease or had already ended.";
    LATE Counter "forerunner_tasks_late_total" ["pool"] "Tasks that waited longer for an agent than the objective allows.";
    STARTED Counter "forerunner_task_attempts_total" ["pool"] "Attempts started.";
    WAIT Histogram "forerunner_task_wait_seconds" ["pool"] "Time from when a task could start to the start of an attempt.";
    CONTEXT_WAIT Histogram "forerunner_task_context_wait_seconds" ["pool"] "Time that a task with a context waited for the task before it in that context.";
    SERVICE Histogram "forerunner_task_service_seconds" ["pool"] "Time of an attempt on its agent.";
    DEPTH Gauge "forerunner_queue_depth" ["pool"] "Tasks that are due and wait for an agent.";
    WAITING Gauge "forerunner_queue_waiting" ["pool"] "Tasks that wait, including delayed tasks.";
    INPUT_BYTES Gauge "forerunner_queue_input_bytes" ["pool"] "Bytes of the inputs of tasks that have not ended.";
    CONTEXT_BYTES Gauge "forerunner_context_stored_bytes" ["pool"] "Bytes of stored contexts at the last measurement.";
    UNCONFIGURED Gauge "forerunner_unconfigured_pool_tasks" ["pool"] "Unfinished tasks of pools that are not in the configuration.";
    RUNNING Gauge "forerunner_tasks_running" ["pool"] "Tasks on an agent.";
    AGENTS Gauge "forerunner_agents" ["pool", "state"] "Agents by state.";
    DESIRED Gauge "forerunner_agents_desired" ["pool"] "Agents that the pool should have.";
    COLD_START Histogram "forerunner_agent_cold_start_seconds" ["pool"] "Time from the start of an agent until it is ready.";
    START_CONCURRENCY Gauge "forerunner_start_concurrency" ["pool"] "Agents that may start at the same time on this node.";
    FAILURES Counter "forerunner_agent_failures_total" ["pool"] "Agents that ended unexpectedly or never became ready.";
    RENEWED Counter "forerunner_agents_renewed_total" ["pool"] "Instances of agents that were replaced so that the tasks of two tenants share none.";
    STALLS Counter "forerunner_agent_stalls_total" ["pool"] "Times an agent's code blocked its thread for more than 100 ms.";
    CIRCUIT Gauge "forerunner_pool_circuit_open" ["pool"] "1 while the agent circuit of the pool is open because agents fail too often, else 0.";
    DEPENDENCY_STATE Gauge "forerunner_dependency_circuit_state" ["pool"] "State of the dependency circuit on this node: 0 closed, 1 half-open, 2 open.";
    DEPENDENCY_LIMIT Gauge "forerunner_dependency_limit" ["pool"] "Most tasks that the half-open dependency circuit lets run at once on this node; 0 in its other states.";
    DEPENDENCY_OPENED Counter "forerunner_dependency_circuit_opened_total" ["pool"] "Times the dependency circuit opened on this node.";
    EXCUSED Counter "forerunner_task_attempts_excused_total" ["pool"] "Failed attempts that did not count because what the agents depend on failed.";
    AGENT_SECONDS Counter "forerunner_agent_seconds_total" ["pool"] "Whole seconds that the pool's agents have existed, summed over agents.";
    EXPECTED Gauge "forerunner_forecast_arrival_rate" ["pool", "bound"] "Forecast arrivals per second one cold start ahead: `expected`, and the `lower` and `upper` bound of the 90 % band.";
    OBSERVED Gauge "forerunner_arrival_rate" ["pool"] "Arrivals per second since the previous decision.";
    EXPECTED_DEPTH Gauge "forerunner_forecast_depth" ["pool"] "Forecast queue depth one cold start ahead if the pool kept its size.";
    ANNOUNCED Gauge "forerunner_announced_tasks" ["pool"] "Delayed tasks, retries and scheduled tasks that become due within one cold start.";
    DECISIONS Counter "forerunner_decisions_total" ["pool", "reason"] "Decisions by reason.";
    DECISION_TIME Histogram "forerunner_decision_duration_seconds" ["pool"] "Time the policy took for one decision.";
    LOOKUPS Counter "forerunner_context_lookups_total" ["pool", "result"] "Tasks with a context: `hit` if their agent had all of it, else `miss`.";
    RESTORED_BYTES Counter "forerunner_context_restored_bytes_total" ["pool"] "Encoded bytes read from the store to restore contexts.";
    STORED_BYTES Counter "forerunner_context_stored_bytes_total" ["pool"] "Encoded bytes of context changes written to the store.";
    FULL_BYTES Counter "forerunner_context_full_bytes_total" ["pool"] "Bytes of the whole contexts after their tasks, each as one JSON array: what the store would have received without deltas.";
    PIPE_FULL_BYTES Counter "forerunner_context_pipe_full_bytes_total" ["pool", "direction"] "Bytes of the whole contexts before the task (`to_agent`) and after it (`from_agent`), each as one JSON array: what the pipe would have carried without deltas and compression.";
    PIPE_BYTES Counter "forerunner_context_pipe_bytes_total" ["pool", "direction"] "Bytes about contexts between the node and agent processes, after compression: `to_agent`, `from_agent`.";
    SOURCES Counter "forerunner_context_source_total" ["pool", "source"] "Tasks with a context by the source of the context: `new`, `agent`, `node`, `delta`, `store`.";
    RESTORE_TIME Histogram "forerunner_context_restore_seconds" ["pool"] "Time to read a context, or its missing part, from the store and decode it.";
    PREFETCHES Counter "forerunner_context_prefetches_total" ["pool", "result"] "Contexts restored while their tasks waited: `restored`; of these `used` by the next task; `cancelled` before the restore ended.";
    HANDED_OFF Counter "forerunner_contexts_handed_over_total" ["pool", "result"] "Recently used contexts of agents that a scale-down stopped: `cached` by the node already, `restored` from the store, or `dropped` for lack of room.";
    RELOADS Counter "forerunner_context_reloads_total" ["pool"] "Times the node sent a whole context because the agent process had lost it.";
    CHAIN_FRAMES Histogram "forerunner_context_chain_frames" ["pool"] "Frames of a context's stored chain after a task.";
    COMPACTIONS Counter "forerunner_context_compactions_total" ["pool", "when"] "Chains replaced by a fresh snapshot: with a result (`turn`) or in the `background`.";
    CACHED_CONTEXTS Gauge "forerunner_contexts_cached" [] "Contexts in the node's cache.";
    CACHED_BYTES Gauge "forerunner_contexts_cached_bytes" [] "Bytes of the items in the node's cache; shared items count once.";
    COMPACTED_BYTES Counter "forerunner_context_compacted_bytes_total" ["pool"] "Encoded bytes of snapshots that background compactions wrote.";
    PLACED Counter "forerunner_placements_total" ["pool", "reason"] "Tasks with a context, by the reason their agent was chosen: `warm`, `partly_warm`, `room`, `least_displacement`, `only_idle`.";
    PLACED_BYTES Counter "forerunner_placement_context_bytes_total" ["pool", "result"] "Bytes of contexts at placement: `hit` if the chosen agent had them, else `miss`.";
    DEFERRED Counter "forerunner_placements_deferred_total" ["pool"] "Tasks deferred for a busy agent that has their context.";
    DEFERRAL_TIME Histogram "forerunner_placement_deferral_seconds" ["pool"] "Time that such a task was deferred.";
    NODES Gauge "forerunner_nodes" [] "Live nodes that share the store, as this node sees it.";
    OLDEST_TRANSACTION Gauge "forerunner_store_oldest_transaction_seconds" [] "Age of the oldest transaction that keeps PostgreSQL from removing dead rows; 0 if none was seen twice.";
    DEAD_ROWS Gauge "forerunner_store_dead_rows" ["table"] "Dead rows that PostgreSQL has not removed yet, for the tables that change with every task.";
    LOG_LINES_LOST Counter "forerunner_log_lines_lost_total" [] "Log lines that the node could not write because the reader of standard error is gone, full or too slow.";
    DAMAGED Gauge "forerunner_tasks_damaged" [] "Tasks set aside because the store cannot read their rows.";
    DAMAGED_FOUND Counter "forerunner_tasks_damaged_total" [] "Unreadable tasks that this node has found since it started.";
    LOG_BYTES Gauge "forerunner_store_wal_bytes" [] "Size of the write-ahead log beside the SQLite file.";
    SCHEDULES Gauge "forerunner_schedules" ["pool"] "Schedules that submit tasks to the pool: those that are enabled.";
    SCHEDULE_FIRED Counter "forerunner_schedule_fired_total" ["pool"] "Tasks that this node submitted for schedules.";
    SCHEDULE_LATE Counter "forerunner_schedule_late_total" ["pool"] "Tasks of schedules that this node submitted more than a second after they were due.";
    SCHEDULE_SKIPPED Counter "forerunner_schedule_skipped_total" ["pool", "reason"] "Occurrences of schedules that this node skipped: `overlap`, `superseded`, `missed`.";
    IS_LEADER Gauge "forerunner_node_is_leader" [] "1 while this node is the leader, else 0.";
    LEADER_CHANGES Counter "forerunner_leader_changes_total" [] "Changes of the leader that this node has seen.";
}

/// Registers the descriptions with the installed recorder. Call it once, after the recorder is installed.
pub fn describe() {
    for metric in ALL {
        let unit =
            if metric.name.trim_end_matches("_total").ends_with("_seconds") { Unit::Seconds } else { Unit::Count };
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, unit, metric.help),
        }
    }
}
