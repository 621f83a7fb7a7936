//! The last single events of a pool on one node. With them, forecasts on other nodes know when tasks arrived, and not
//! only how many.

use serde::{Deserialize, Serialize};

use crate::queue::{
    sample::QueueActivity,
    tail::{Tail, session_value},
};

/// Most events of each kind in a report. At a higher rate the counts are precise enough.
pub(super) const MOST: usize = 256;

/// The last arrivals and completions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Recent {
    /// With times: on this node in seconds of its clock, in a report in seconds before the report.
    pub(super) arrived: Tail,
    /// Of the same tasks; not listed where none has a session.
    pub(super) sessions: Tail,
    /// With seconds on an agent.
    pub(super) completed: Tail,
}

impl Recent {
    /// Adds the activity of this node.
    pub(crate) fn add(&mut self, activity: &QueueActivity) {
        let QueueActivity { counts, arrived, completed, .. } = activity;
        let times: Vec<_> = arrived.iter().map(|arrival| (arrival.task as u32, arrival.at)).collect();
        let sessions = arrived.iter().map(|arrival| (arrival.task as u32, session_value(arrival.session)));
        let sessions: Vec<_> = match arrived.iter().any(|arrival| arrival.session.is_some()) {
            true => sessions.collect(),
            false => Vec::new(),
        };
        self.arrived.add(counts.arrivals, &times, MOST);
        self.sessions.add(counts.arrivals, &sessions, MOST);
        self.completed.add(counts.completions, &short(completed), MOST);
    }

    /// Converts times to ages at `now_s`, for nodes whose clocks differ.
    pub(crate) fn aged_at(&self, now_s: f64) -> Self {
        // Milliseconds are precise enough.
        let ago = |at: f64| ((now_s - at).max(0.0) * 1e3).round() / 1e3;
        Self { arrived: self.arrived.map(ago), sessions: self.sessions.clone(), completed: self.completed.clone() }
    }
}

/// Shortens task numbers to their low half for reports.
fn short(events: &[(u64, f64)]) -> Vec<(u32, f64)> {
    events.iter().map(|&(task, value)| (task as u32, value)).collect()
}
