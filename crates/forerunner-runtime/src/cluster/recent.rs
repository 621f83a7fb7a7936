//! The last single events of a pool on one node: with them, whoever forecasts sees arrivals where they fell and not only
//! how many there were.

use serde::{Deserialize, Serialize};

use crate::queue::{sample::QueueActivity, tail::Tail};

/// Most events of each kind that are told; of a pace above this in a beat, the counts say enough.
pub(super) const MOST: usize = 256;

/// The last arrivals and completions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Recent {
    /// With times: here on the node's clock in seconds, in a report how many seconds before it.
    pub(super) arrived: Tail,
    /// With seconds on an agent.
    pub(super) completed: Tail,
}

impl Recent {
    /// Adds what happened on this node.
    pub(crate) fn add(&mut self, activity: &QueueActivity) {
        let QueueActivity { counts, arrived, completed, .. } = activity;
        self.arrived.add(counts.arrivals, &short(arrived), MOST);
        self.completed.add(counts.completions, &short(completed), MOST);
    }

    /// As it is told at `now_s` to nodes with clocks of their own.
    pub(crate) fn told_at(&self, now_s: f64) -> Self {
        // Milliseconds are enough.
        let ago = |at: f64| ((now_s - at).max(0.0) * 1e3).round() / 1e3;
        Self { arrived: self.arrived.map(ago), completed: self.completed.clone() }
    }
}

/// Task numbers as they are told: nodes tell each other the low half.
fn short(events: &[(u64, f64)]) -> Vec<(u32, f64)> {
    events.iter().map(|&(task, value)| (task as u32, value)).collect()
}
