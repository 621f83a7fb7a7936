//! All metric names in one list, and the handles that the actors count with.

use forerunner_core::{AgentCounts, PoolName, TaskState};
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution.
    Histogram,
}

/// One metric, as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricInfo {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
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
    REFUSED Counter "forerunner_tasks_refused_total" ["pool", "reason"] "Submissions refused: `queue_full`, `too_large`, `key_reused`, `store`.";
    FINISHED Counter "forerunner_tasks_finished_total" ["pool", "state"] "Tasks that reached a terminal state.";
    RETRIED Counter "forerunner_task_retries_total" ["pool"] "Attempts that ended with a retry.";
    LEASES_LOST Counter "forerunner_leases_lost_total" ["pool"] "Settles refused because a newer lease, or an end, had come first.";
    LATE Counter "forerunner_tasks_late_total" ["pool"] "Tasks that started later than the objective allows.";
    STARTED Counter "forerunner_task_attempts_total" ["pool"] "Attempts begun.";
    WAIT Histogram "forerunner_task_wait_seconds" ["pool"] "Time from being due to the start of an attempt.";
    SERVICE Histogram "forerunner_task_service_seconds" ["pool"] "Time of an attempt on its agent.";
    DEPTH Gauge "forerunner_queue_depth" ["pool"] "Tasks that an agent could take now.";
    WAITING Gauge "forerunner_queue_waiting" ["pool"] "Tasks that wait, delayed ones included.";
    RUNNING Gauge "forerunner_tasks_running" ["pool"] "Tasks on an agent.";
    AGENTS Gauge "forerunner_agents" ["pool", "state"] "Agents by state.";
    DESIRED Gauge "forerunner_agents_desired" ["pool"] "Agents wanted.";
    COLD_START Histogram "forerunner_agent_cold_start_seconds" ["pool"] "Time from asking for an agent to its being ready.";
    FAILURES Counter "forerunner_agent_failures_total" ["pool"] "Agents that went away unasked or never became ready.";
    STALLS Counter "forerunner_agent_stalls_total" ["pool"] "Times an agent's code held its thread for more than 100 ms.";
    CIRCUIT Gauge "forerunner_pool_circuit_open" ["pool"] "1 while agents fail too often to be replaced, else 0.";
    AGENT_SECONDS Gauge "forerunner_agent_seconds" ["pool"] "Seconds of agents' lives so far, summed.";
    EXPECTED Gauge "forerunner_forecast_arrival_rate" ["pool", "edge"] "Expected arrivals per second one cold start ahead: `expected`, `low`, `high` (80 % band).";
    OBSERVED Gauge "forerunner_arrival_rate" ["pool"] "Arrivals per second since the decision before.";
    EXPECTED_DEPTH Gauge "forerunner_forecast_depth" ["pool"] "Expected tasks waiting one cold start ahead, if the pool stayed as it is.";
    DECISIONS Counter "forerunner_decisions_total" ["pool", "reason"] "Decisions by reason.";
    DECISION_TIME Histogram "forerunner_decision_seconds" ["pool"] "Time the policy took for one decision.";
    WARM Counter "forerunner_context_warm_total" ["pool", "result"] "Tasks with a context by whether their agent held it: `hit`, `miss`.";
    RESTORED_BYTES Counter "forerunner_context_restored_bytes_total" ["pool"] "Encoded bytes read to restore contexts.";
    STORED_BYTES Counter "forerunner_context_stored_bytes_total" ["pool"] "Encoded bytes of context changes stored.";
    NODES Gauge "forerunner_nodes" [] "Nodes that share the store and live, as this one knows.";
    LEADS Gauge "forerunner_node_leads" [] "1 while this node plans for all, else 0.";
    LEAD_CHANGES Counter "forerunner_lead_changes_total" [] "Changes of the node that leads, as seen by this one.";
}

/// Tells the installed recorder what each metric means. Call once it is installed.
pub fn describe() {
    for metric in ALL {
        let unit = if metric.name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count };
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, unit, metric.help),
        }
    }
}

/// What a queue counts.
pub(crate) struct QueueMetrics {
    pool: String,
    pub(crate) submitted: Counter,
    pub(crate) started: Counter,
    pub(crate) late: Counter,
    pub(crate) retried: Counter,
    pub(crate) leases_lost: Counter,
    pub(crate) wait: Histogram,
    pub(crate) service: Histogram,
    pub(crate) depth: Gauge,
    pub(crate) waiting: Gauge,
    pub(crate) running: Gauge,
    finished: Vec<(TaskState, Counter)>,
}

impl QueueMetrics {
    pub(crate) fn new(pool: &PoolName) -> Self {
        let pool = pool.to_string();
        let ends = TaskState::ALL.into_iter().filter(|state| state.is_terminal());
        Self {
            submitted: counter!(SUBMITTED, "pool" => pool.clone()),
            started: counter!(STARTED, "pool" => pool.clone()),
            late: counter!(LATE, "pool" => pool.clone()),
            retried: counter!(RETRIED, "pool" => pool.clone()),
            leases_lost: counter!(LEASES_LOST, "pool" => pool.clone()),
            wait: histogram!(WAIT, "pool" => pool.clone()),
            service: histogram!(SERVICE, "pool" => pool.clone()),
            depth: gauge!(DEPTH, "pool" => pool.clone()),
            waiting: gauge!(WAITING, "pool" => pool.clone()),
            running: gauge!(RUNNING, "pool" => pool.clone()),
            finished: ends
                .map(|state| (state, counter!(FINISHED, "pool" => pool.clone(), "state" => state.as_str())))
                .collect(),
            pool,
        }
    }

    pub(crate) fn finished(&self, state: TaskState) {
        if let Some((_, counter)) = self.finished.iter().find(|(known, _)| *known == state) {
            counter.increment(1);
        }
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        refused(&self.pool, reason);
    }
}

/// Shows how many nodes there are, and whether this one leads.
pub(crate) fn cluster(nodes: usize, leads: bool) {
    gauge!(NODES).set(nodes as f64);
    gauge!(LEADS).set(f64::from(u8::from(leads)));
}

/// Counts a change of the node that leads.
pub(crate) fn lead_changed() {
    counter!(LEAD_CHANGES).increment(1);
}

/// Counts a submission that did not get as far as the queue.
pub(crate) fn refused(pool: &str, reason: &'static str) {
    counter!(REFUSED, "pool" => pool.to_owned(), "reason" => reason).increment(1);
}

/// What a pool and its agents count.
#[derive(Clone)]
pub(crate) struct PoolMetrics {
    pub(crate) cold_start: Histogram,
    pub(crate) failures: Counter,
    pub(crate) stalls: Counter,
    pub(crate) warm_hits: Counter,
    pub(crate) warm_misses: Counter,
    pub(crate) restored_bytes: Counter,
    pub(crate) stored_bytes: Counter,
    circuit: Gauge,
    agent_seconds: Gauge,
    desired: Gauge,
    agents: [Gauge; 4],
}

impl PoolMetrics {
    pub(crate) fn new(pool: &PoolName) -> Self {
        let pool = pool.to_string();
        let agents = |state: &'static str| gauge!(AGENTS, "pool" => pool.clone(), "state" => state);
        Self {
            cold_start: histogram!(COLD_START, "pool" => pool.clone()),
            failures: counter!(FAILURES, "pool" => pool.clone()),
            stalls: counter!(STALLS, "pool" => pool.clone()),
            warm_hits: counter!(WARM, "pool" => pool.clone(), "result" => "hit"),
            warm_misses: counter!(WARM, "pool" => pool.clone(), "result" => "miss"),
            restored_bytes: counter!(RESTORED_BYTES, "pool" => pool.clone()),
            stored_bytes: counter!(STORED_BYTES, "pool" => pool.clone()),
            circuit: gauge!(CIRCUIT, "pool" => pool.clone()),
            agent_seconds: gauge!(AGENT_SECONDS, "pool" => pool.clone()),
            desired: gauge!(DESIRED, "pool" => pool.clone()),
            agents: [agents("starting"), agents("ready"), agents("busy"), agents("cooldown")],
        }
    }

    pub(crate) fn show(&self, counts: AgentCounts, desired: u32, circuit_open: bool, agent_seconds: f64) {
        let [starting, ready, busy, cooldown] = &self.agents;
        starting.set(counts.starting);
        ready.set(counts.ready);
        busy.set(counts.busy);
        cooldown.set(counts.cooldown);
        self.desired.set(desired);
        self.circuit.set(f64::from(u8::from(circuit_open)));
        self.agent_seconds.set(agent_seconds);
    }
}

/// What a forecast counts.
pub(crate) struct ForecastMetrics {
    pool: String,
    pub(crate) observed: Gauge,
    pub(crate) expected: Gauge,
    pub(crate) low: Gauge,
    pub(crate) high: Gauge,
    pub(crate) depth: Gauge,
    pub(crate) decision_time: Histogram,
}

impl ForecastMetrics {
    pub(crate) fn new(pool: &PoolName) -> Self {
        let pool = pool.to_string();
        let edge = |edge: &'static str| gauge!(EXPECTED, "pool" => pool.clone(), "edge" => edge);
        Self {
            observed: gauge!(OBSERVED, "pool" => pool.clone()),
            expected: edge("expected"),
            low: edge("low"),
            high: edge("high"),
            depth: gauge!(EXPECTED_DEPTH, "pool" => pool.clone()),
            decision_time: histogram!(DECISION_TIME, "pool" => pool.clone()),
            pool,
        }
    }

    pub(crate) fn decided(&self, reason: &'static str) {
        counter!(DECISIONS, "pool" => self.pool.clone(), "reason" => reason).increment(1);
    }
}
