//! The recorders of queues, pools, contexts, placements, forecasts and nodes.

use std::time::Duration;

use forerunner_core::{
    AgentCounts, ContextCost, ContextSource, PoolName, TaskState,
    placement::{PlacementReason, PlacementRecord},
};
use forerunner_forecast::Forecast;
use forerunner_store::VacuumStatus;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{
    AGENT_SECONDS, AGENTS, ANNOUNCED, ANSWERED, ASKED, CACHED_BYTES, CACHED_CONTEXTS, CHAIN_FRAMES, CIRCUIT,
    COLD_START, COMPACTED_BYTES, COMPACTIONS, CONTEXT_BYTES, CONTEXT_WAIT, DAMAGED, DAMAGED_FOUND, DEAD_ROWS,
    DECISION_TIME, DECISIONS, DEFERRAL_TIME, DEFERRED, DEPTH, DESIRED, EXPECTED, EXPECTED_DEPTH, FAILURES, FINISHED,
    FULL_BYTES, HANDED_OFF, INPUT_BYTES, IS_LEADER, LATE, LEADER_CHANGES, LEASES_LOST, LOG_BYTES, LOG_LINES_LOST,
    LOOKUPS, NODES, OBSERVED, OLDEST_TRANSACTION, PIPE_BYTES, PIPE_FULL_BYTES, PLACED, PLACED_BYTES, PREFETCHES,
    REJECTED, RELOADS, RENEWED, RESTORE_TIME, RESTORED_BYTES, RETRIED, RUNNING, SCHEDULE_FIRED, SCHEDULE_LATE,
    SCHEDULE_SKIPPED, SCHEDULES, SERVICE, SOURCES, STALLS, START_CONCURRENCY, STARTED, STORED_BYTES, SUBMITTED,
    UNCONFIGURED, WAIT, WAITING, dependency::DependencyMetrics,
};

/// The metrics of a queue.
pub(crate) struct QueueMetrics {
    pool: String,
    pub(crate) submitted: Counter,
    pub(crate) started: Counter,
    pub(crate) late: Counter,
    pub(crate) retried: Counter,
    pub(crate) asked: Counter,
    pub(crate) answered: Counter,
    pub(crate) leases_lost: Counter,
    pub(crate) wait: Histogram,
    pub(crate) context_wait: Histogram,
    pub(crate) service: Histogram,
    pub(crate) depth: Gauge,
    pub(crate) waiting: Gauge,
    pub(crate) running: Gauge,
    pub(crate) dependency: DependencyMetrics,
    finished: Vec<(TaskState, Counter)>,
}

/// The values of the label `reason` of rejected submissions.
const REJECTIONS: [&str; 8] =
    ["queue_full", "bytes_full", "contexts_full", "too_deep", "no_parent", "too_large", "key_reused", "store"];

impl QueueMetrics {
    pub(crate) fn new(pool: &PoolName) -> Self {
        let pool = pool.to_string();
        // Each series exists, as 0, before the first rejection.
        for reason in REJECTIONS {
            counter!(REJECTED, "pool" => pool.clone(), "reason" => reason).increment(0);
        }
        let ends = TaskState::ALL.into_iter().filter(|state| state.is_terminal() && *state != TaskState::Damaged);
        Self {
            submitted: counter!(SUBMITTED, "pool" => pool.clone()),
            started: counter!(STARTED, "pool" => pool.clone()),
            late: counter!(LATE, "pool" => pool.clone()),
            retried: counter!(RETRIED, "pool" => pool.clone()),
            asked: counter!(ASKED, "pool" => pool.clone()),
            answered: counter!(ANSWERED, "pool" => pool.clone()),
            leases_lost: counter!(LEASES_LOST, "pool" => pool.clone()),
            wait: histogram!(WAIT, "pool" => pool.clone()),
            context_wait: histogram!(CONTEXT_WAIT, "pool" => pool.clone()),
            service: histogram!(SERVICE, "pool" => pool.clone()),
            depth: gauge!(DEPTH, "pool" => pool.clone()),
            waiting: gauge!(WAITING, "pool" => pool.clone()),
            running: gauge!(RUNNING, "pool" => pool.clone()),
            dependency: DependencyMetrics::new(&pool),
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

    pub(crate) fn rejected(&self, reason: &'static str) {
        rejected(&self.pool, reason);
    }
}

/// Sets the number of nodes, and whether this one is the leader.
pub(crate) fn cluster(nodes: usize, leads: bool) {
    gauge!(NODES).set(nodes as f64);
    gauge!(IS_LEADER).set(f64::from(u8::from(leads)));
}

/// Sets how many schedules of a pool are enabled.
pub(crate) fn set_schedules(pool: &PoolName, schedules: usize) {
    gauge!(SCHEDULES, "pool" => pool.to_string()).set(schedules as f64);
}

/// Counts a task of a schedule, submitted so long after it was due.
pub(crate) fn schedule_fired(pool: &PoolName, late: Duration) {
    counter!(SCHEDULE_FIRED, "pool" => pool.to_string()).increment(1);
    if late > Duration::from_secs(1) {
        counter!(SCHEDULE_LATE, "pool" => pool.to_string()).increment(1);
    }
}

/// Counts occurrences that were skipped.
pub(crate) fn schedule_skipped(pool: &PoolName, reason: &'static str, occurrences: u64) {
    counter!(SCHEDULE_SKIPPED, "pool" => pool.to_string(), "reason" => reason).increment(occurrences);
}

/// Counts a change of the leader.
pub(crate) fn leader_changed() {
    counter!(LEADER_CHANGES).increment(1);
}

/// Records how many log lines were lost since the process started. Called by the writer of the log.
pub fn record_log_lines_lost(lines: u64) {
    counter!(LOG_LINES_LOST).absolute(lines);
}

/// Counts a submission that was rejected before the queue.
pub(crate) fn rejected(pool: &str, reason: &'static str) {
    counter!(REJECTED, "pool" => pool.to_owned(), "reason" => reason).increment(1);
}

/// Sets the number of unfinished tasks of a pool that is not configured.
pub(crate) fn unconfigured(pool: &PoolName, tasks: u64) {
    gauge!(UNCONFIGURED, "pool" => pool.to_string()).set(tasks as f64);
}

/// Counts an end of a task of a pool without a queue.
pub(crate) fn finished(pool: &PoolName, state: TaskState) {
    counter!(FINISHED, "pool" => pool.to_string(), "state" => state.as_str()).increment(1);
}

/// The metrics of placements.
#[derive(Clone)]
pub(crate) struct PlacementMetrics {
    placed: Vec<(PlacementReason, Counter)>,
    hit_bytes: Counter,
    miss_bytes: Counter,
    deferred: Counter,
    deferral_time: Histogram,
}

impl PlacementMetrics {
    fn new(pool: &str) -> Self {
        let pool = || pool.to_owned();
        let placed = PlacementReason::ALL.into_iter();
        let bytes = |result: &'static str| counter!(PLACED_BYTES, "pool" => pool(), "result" => result);
        Self {
            placed: placed
                .map(|reason| (reason, counter!(PLACED, "pool" => pool(), "reason" => reason.as_str())))
                .collect(),
            hit_bytes: bytes("hit"),
            miss_bytes: bytes("miss"),
            deferred: counter!(DEFERRED, "pool" => pool()),
            deferral_time: histogram!(DEFERRAL_TIME, "pool" => pool()),
        }
    }

    pub(crate) fn placed(&self, record: &PlacementRecord) {
        if let Some((_, counter)) = self.placed.iter().find(|(reason, _)| *reason == record.reason) {
            counter.increment(1);
        }
        self.hit_bytes.increment(record.context_bytes.saturating_sub(record.chosen.missing_bytes));
        self.miss_bytes.increment(record.chosen.missing_bytes);
        if record.deferred_s > 0.0 {
            self.deferred.increment(1);
            self.deferral_time.record(record.deferred_s);
        }
    }
}

/// The metrics of a pool and its agents.
#[derive(Clone)]
pub(crate) struct PoolMetrics {
    pub(crate) cold_start: Histogram,
    pub(crate) start_concurrency: Gauge,
    pub(crate) failures: Counter,
    pub(crate) stalls: Counter,
    pub(crate) renewed: Counter,
    pub(crate) contexts: ContextMetrics,
    pub(crate) placement: PlacementMetrics,
    circuit: Gauge,
    agent_seconds: Counter,
    desired: Gauge,
    agents: [Gauge; 4],
}

impl PoolMetrics {
    pub(crate) fn new(pool: &PoolName) -> Self {
        let pool = pool.to_string();
        let agents = |state: &'static str| gauge!(AGENTS, "pool" => pool.clone(), "state" => state);
        Self {
            placement: PlacementMetrics::new(&pool),
            cold_start: histogram!(COLD_START, "pool" => pool.clone()),
            start_concurrency: gauge!(START_CONCURRENCY, "pool" => pool.clone()),
            failures: counter!(FAILURES, "pool" => pool.clone()),
            stalls: counter!(STALLS, "pool" => pool.clone()),
            renewed: counter!(RENEWED, "pool" => pool.clone()),
            contexts: ContextMetrics::new(&pool),
            circuit: gauge!(CIRCUIT, "pool" => pool.clone()),
            agent_seconds: counter!(AGENT_SECONDS, "pool" => pool.clone()),
            desired: gauge!(DESIRED, "pool" => pool.clone()),
            agents: [agents("starting"), agents("ready"), agents("busy"), agents("cooldown")],
        }
    }

    pub(crate) fn set_gauges(&self, counts: AgentCounts, desired: u32, circuit_open: bool, agent_seconds: f64) {
        let [starting, ready, busy, cooldown] = &self.agents;
        starting.set(counts.starting);
        ready.set(counts.ready);
        busy.set(counts.busy);
        cooldown.set(counts.cooldown);
        self.desired.set(desired);
        self.circuit.set(f64::from(u8::from(circuit_open)));
        self.agent_seconds.absolute(agent_seconds as u64);
    }
}

/// The metrics of a pool's contexts.
#[derive(Clone)]
pub(crate) struct ContextMetrics {
    lookups: [Counter; 2],
    sources: [Counter; ContextSource::ALL.len()],
    pipe_bytes: [Counter; 2],
    pipe_full_bytes: [Counter; 2],
    compactions: [Counter; 2],
    restored_bytes: Counter,
    stored_bytes: Counter,
    full_bytes: Counter,
    compacted_bytes: Counter,
    reloads: Counter,
    prefetches: [Counter; 3],
    handed_off: [Counter; 3],
    restore_time: Histogram,
    chain_frames: Histogram,
}

impl ContextMetrics {
    pub(crate) fn new(pool: &str) -> Self {
        let of = |name: &'static str| counter!(name, "pool" => pool.to_owned());
        let two = |name: &'static str, label: &'static str, values: [&'static str; 2]| {
            values.map(|value| counter!(name, "pool" => pool.to_owned(), label => value))
        };
        Self {
            lookups: two(LOOKUPS, "result", ["hit", "miss"]),
            sources: ContextSource::ALL
                .map(|source| counter!(SOURCES, "pool" => pool.to_owned(), "source" => source.as_str())),
            pipe_bytes: two(PIPE_BYTES, "direction", ["to_agent", "from_agent"]),
            pipe_full_bytes: two(PIPE_FULL_BYTES, "direction", ["to_agent", "from_agent"]),
            compactions: two(COMPACTIONS, "when", ["turn", "background"]),
            restored_bytes: of(RESTORED_BYTES),
            stored_bytes: of(STORED_BYTES),
            full_bytes: of(FULL_BYTES),
            compacted_bytes: of(COMPACTED_BYTES),
            reloads: of(RELOADS),
            handed_off: ["cached", "restored", "dropped"]
                .map(|result| counter!(HANDED_OFF, "pool" => pool.to_owned(), "result" => result)),
            prefetches: ["restored", "used", "cancelled"]
                .map(|result| counter!(PREFETCHES, "pool" => pool.to_owned(), "result" => result)),
            restore_time: histogram!(RESTORE_TIME, "pool" => pool.to_owned()),
            chain_frames: histogram!(CHAIN_FRAMES, "pool" => pool.to_owned()),
        }
    }

    /// Records that a task's context was restored, perhaps by a prefetch.
    pub(crate) fn found(&self, cost: &ContextCost, was_prefetched: bool) {
        self.prefetches[1].increment(u64::from(was_prefetched));
        self.restored(cost);
    }

    fn restored(&self, cost: &ContextCost) {
        if matches!(cost.source, ContextSource::Delta | ContextSource::Store) {
            self.restored_bytes.increment(cost.restored_bytes);
            self.restore_time.record(cost.restore_s);
        }
    }

    /// Records that a context was prefetched.
    pub(crate) fn prefetched(&self, cost: &ContextCost) {
        self.prefetches[0].increment(1);
        self.restored(cost);
    }

    /// Records what the node did with the contexts of an agent that stops: cached already, restored, or skipped.
    pub(crate) fn handed_off(&self, cached: u64, restored: u64, skipped: u64) {
        for (counter, count) in self.handed_off.iter().zip([cached, restored, skipped]) {
            counter.increment(count);
        }
    }

    /// Records that a prefetch was cancelled, since its task no longer waits.
    pub(crate) fn prefetch_cancelled(&self) {
        self.prefetches[2].increment(1);
    }

    /// Records the source of a task's context, and whether it was resident. `full` has the bytes of the whole context
    /// before and after the task, if the agent has a pipe.
    pub(crate) fn ran(&self, source: ContextSource, was_resident: bool, full: Option<[u64; 2]>) {
        self.sources[source as usize].increment(1);
        self.lookups[usize::from(!was_resident)].increment(1);
        let [to_agent, from_agent] = full.unwrap_or_default();
        self.pipe_full_bytes[0].increment(to_agent);
        self.pipe_full_bytes[1].increment(from_agent);
    }

    /// Records the end of a task with a context.
    pub(crate) fn ended(&self, cost: &ContextCost) {
        self.pipe_bytes[0].increment(cost.to_agent_bytes);
        self.pipe_bytes[1].increment(cost.from_agent_bytes);
        self.full_bytes.increment(cost.full_bytes);
        self.stored_bytes.increment(cost.stored_bytes);
        self.reloads.increment(u64::from(cost.agent_lost_it));
    }

    /// Records that a task extended or replaced the stored chain of its context.
    pub(crate) fn stored(&self, frames: usize, compacted: bool) {
        self.chain_frames.record(frames as f64);
        self.compactions[0].increment(u64::from(compacted));
    }

    /// Records that a compaction stored a snapshot.
    pub(crate) fn compacted(&self, bytes: u64) {
        self.compactions[1].increment(1);
        self.compacted_bytes.increment(bytes);
    }
}

/// Sets the number of tasks whose rows cannot be read.
pub(crate) fn set_damaged(there: u64, found: u64) {
    gauge!(DAMAGED).set(there as f64);
    counter!(DAMAGED_FOUND).increment(found);
}

/// Sets the bytes of inputs and of stored contexts of a pool.
pub(crate) fn set_stored_bytes(pool: &PoolName, inputs: u64, contexts: u64) {
    gauge!(INPUT_BYTES, "pool" => pool.to_string()).set(inputs as f64);
    gauge!(CONTEXT_BYTES, "pool" => pool.to_string()).set(contexts as f64);
}

/// Sets what the store reports of its tables.
pub(crate) fn set_vacuum_status(upkeep: &VacuumStatus) {
    if let Some(bytes) = upkeep.log_bytes {
        return gauge!(LOG_BYTES).set(bytes as f64);
    }
    gauge!(OLDEST_TRANSACTION).set(upkeep.holder.as_ref().map_or(0.0, |holder| holder.seconds));
    for (table, rows) in &upkeep.dead_rows {
        gauge!(DEAD_ROWS, "table" => *table).set(*rows as f64);
    }
}

/// Sets what the node's cache of contexts contains.
pub(crate) fn set_cached_contexts(contexts: usize, bytes: usize) {
    gauge!(CACHED_CONTEXTS).set(contexts as f64);
    gauge!(CACHED_BYTES).set(bytes as f64);
}

/// The metrics of a forecast.
pub(crate) struct ForecastMetrics {
    pool: String,
    observed: Gauge,
    expected: Gauge,
    low: Gauge,
    high: Gauge,
    depth: Gauge,
    announced: Gauge,
    pub(crate) decision_time: Histogram,
}

impl ForecastMetrics {
    pub(crate) fn new(pool: &PoolName) -> Self {
        let pool = pool.to_string();
        let bound = |bound: &'static str| gauge!(EXPECTED, "pool" => pool.clone(), "bound" => bound);
        Self {
            observed: gauge!(OBSERVED, "pool" => pool.clone()),
            expected: bound("expected"),
            low: bound("lower"),
            high: bound("upper"),
            depth: gauge!(EXPECTED_DEPTH, "pool" => pool.clone()),
            announced: gauge!(ANNOUNCED, "pool" => pool.clone()),
            decision_time: histogram!(DECISION_TIME, "pool" => pool.clone()),
            pool,
        }
    }

    /// Records the observed and the expected arrival rate.
    pub(crate) fn sampled(&self, rate_per_s: f64, expected: Forecast) {
        self.observed.set(rate_per_s);
        self.expected.set(expected.rate_per_s);
        self.low.set(expected.rate_low);
        self.high.set(expected.rate_high);
        self.depth.set(expected.depth);
        self.announced.set(expected.announced.within_horizon as f64);
    }

    pub(crate) fn decided(&self, reason: &'static str) {
        counter!(DECISIONS, "pool" => self.pool.clone(), "reason" => reason).increment(1);
    }
}
