//! The last single events of a pool on one node. With them, forecasts on other nodes know when tasks arrived, and not
//! only how many.

use serde::{Deserialize, Serialize};

use crate::queue::{sample::QueueActivity, tail::Tail};

/// Most events of each kind in a report. At a higher rate the counts are precise enough.
pub(super) const MOST: usize = 256;

/// The last arrivals and completions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Recent {
    /// With times: on this node in seconds of its clock, in a report in seconds before the report.
    pub(super) arrived: Tail,
    /// With seconds on an agent.
    pub(super) completed: Tail,
}

impl Recent {
    /// Adds the activity of this node.
    pub(crate) fn add(&mut self, activity: &QueueActivity) {
        let QueueActivity { counts, arrived, completed, .. } = activity;
        self.arrived.add(counts.arrivals, &short(arrived), MOST);
        self.completed.add(counts.completions, &short(completed), MOST);
    }

    /// Converts times to ages at `now_s`, for nodes whose clocks differ.
    pub(crate) fn aged_at(&self, now_s: f64) -> Self {
        // Milliseconds are precise enough.
        let ago = |at: f64| ((now_s - at).max(0.0) * 1e3).round() / 1e3;
        Self { arrived: self.arrived.map(ago), completed: self.completed.clone() }
    }
}

/// Shortens task numbers to their low half for reports.
fn short(events: &[(u64, f64)]) -> Vec<(u32, f64)> {
    events.iter().map(|&(task, value)| (task as u32, value)).collect()
}
