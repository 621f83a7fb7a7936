//! Counters of a queue, which only grow. Each reader computes the difference to its last sample.

use serde::{Deserialize, Serialize};

/// Counters since the start of a node. A lost sample loses nothing: the next one includes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct QueueTotals {
    pub(crate) arrivals: u64,
    pub(crate) starts: u64,
    /// Starts that came later than the objective allows.
    pub(crate) late: u64,
    pub(crate) completions: u64,
    pub(crate) service_sum_s: f64,
    pub(crate) context_sum_bytes: u64,
}

impl QueueTotals {
    /// Adds the counters of another node.
    pub(crate) fn add(&mut self, more: &Self) {
        self.arrivals += more.arrivals;
        self.starts += more.starts;
        self.late += more.late;
        self.completions += more.completions;
        self.service_sum_s += more.service_sum_s;
        self.context_sum_bytes += more.context_sum_bytes;
    }

    /// Returns the difference to `before`; zero where a counter is lower than before.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            arrivals: self.arrivals.saturating_sub(before.arrivals),
            starts: self.starts.saturating_sub(before.starts),
            late: self.late.saturating_sub(before.late),
            completions: self.completions.saturating_sub(before.completions),
            service_sum_s: (self.service_sum_s - before.service_sum_s).max(0.0),
            context_sum_bytes: self.context_sum_bytes.saturating_sub(before.context_sum_bytes),
        }
    }
}
