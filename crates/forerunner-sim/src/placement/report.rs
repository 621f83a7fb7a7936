//! What a replay of placements shows.

use serde::Serialize;

/// The figures of one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlacementReport {
    /// Name of the trace.
    pub trace: String,
    /// Name of the policy.
    pub policy: &'static str,
    /// Tasks.
    pub tasks: usize,
    /// Agents.
    pub agents: u32,
    /// Room of each agent for contexts, in bytes; absent if it is counted in contexts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_bytes: Option<u64>,
    /// Room of each agent, in contexts; absent if it is counted in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_contexts: Option<u64>,
    /// Whether all agents share one store of as much room together.
    pub shared_store: bool,
    /// Seconds to restore one megabyte (10⁶ bytes) into an agent.
    pub restore_s_per_mb: f64,
    /// Share of the contexts' bytes that were there when a task began.
    pub hit_share: f64,
    /// The share if no context was ever evicted, and every agent had what any agent has.
    pub hit_limit: f64,
    /// `hit_share ÷ hit_limit`.
    pub share_of_limit: f64,
    /// Bytes restored into agents.
    pub moved_bytes: u64,
    /// Mean seconds from arrival to a task's begin.
    pub wait_s: f64,
    /// Mean seconds of a restore.
    pub restore_s: f64,
    /// Their sum: from arrival until the task's own work begins.
    pub wait_and_restore_s: f64,
    /// 99 of 100 tasks lost at most this many seconds to both.
    pub wait_and_restore_p99_s: f64,
    /// Longest wait, in seconds.
    pub longest_wait_s: f64,
    /// Tasks that were deferred for a busy agent.
    pub deferred_tasks: u64,
}

/// Adds up what happens.
#[derive(Debug, Default)]
pub(super) struct Sums {
    hit_bytes: u64,
    moved_bytes: u64,
    wait_s: f64,
    restore_s: f64,
    longest_wait_s: f64,
    lost: Vec<f64>,
    pub deferred: u64,
}

impl Sums {
    /// A task begins after a wait.
    pub fn began(&mut self, bytes: u64, missing_bytes: u64, wait_s: f64, restore_s: f64) {
        self.hit_bytes += bytes - missing_bytes;
        self.moved_bytes += missing_bytes;
        self.wait_s += wait_s;
        self.restore_s += restore_s;
        self.longest_wait_s = self.longest_wait_s.max(wait_s);
        self.lost.push(wait_s + restore_s);
    }

    pub fn report(
        mut self,
        load: &super::PlacementLoad,
        policy: &'static str,
        settings: &super::PlacementReplay,
    ) -> PlacementReport {
        self.lost.sort_unstable_by(f64::total_cmp);
        let tasks = self.lost.len().max(1);
        let p99 = (tasks as f64 * 0.99).ceil() as usize - 1;
        let hit_share = self.hit_bytes as f64 / (self.hit_bytes + self.moved_bytes).max(1) as f64;
        let hit_limit = load.limit();
        PlacementReport {
            trace: load.name().to_owned(),
            policy,
            tasks: self.lost.len(),
            agents: settings.agents,
            cache_bytes: Some(settings.room.bytes).filter(|bytes| *bytes < u64::MAX),
            cache_contexts: Some(settings.room.contexts).filter(|contexts| *contexts < u64::MAX),
            shared_store: settings.shared_store,
            restore_s_per_mb: settings.restore.s_per_byte * 1e6,
            hit_share,
            hit_limit,
            share_of_limit: if hit_limit > 0.0 { hit_share / hit_limit } else { 0.0 },
            moved_bytes: self.moved_bytes,
            wait_s: self.wait_s / tasks as f64,
            restore_s: self.restore_s / tasks as f64,
            wait_and_restore_s: (self.wait_s + self.restore_s) / tasks as f64,
            wait_and_restore_p99_s: self.lost.get(p99).copied().unwrap_or(0.0),
            longest_wait_s: self.longest_wait_s,
            deferred_tasks: self.deferred,
        }
    }
}
