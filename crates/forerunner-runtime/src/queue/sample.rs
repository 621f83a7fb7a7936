//! A queue's counters, which only grow, and their differences between two samples.

use forerunner_core::{DependencyReport, Timestamp};
use forerunner_forecast::Arrival;

use super::{
    totals::QueueTotals,
    wait_histogram::{WaitHistogram, WaitTotals},
};

/// Most single events that a queue remembers. Older events are only counted.
pub(crate) const SAMPLES: usize = 4_096;

/// Where a sample ends. Its reader passes it on with the request for the next sample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct SampleMark {
    /// Counters of this node.
    pub(crate) here: QueueTotals,
    /// Counters of other nodes, from the moment when this node knew them first.
    pub(crate) elsewhere: QueueTotals,
}

impl SampleMark {
    fn totals(&self) -> QueueTotals {
        let mut totals = self.here;
        totals.add(&self.elsewhere);
        totals
    }
}

/// The state of a queue, and what it has counted since its node started.
#[derive(Debug, Clone, Default, PartialEq, actix::MessageResponse)]
pub(crate) struct QueueSample {
    pub(crate) mark: SampleMark,
    /// Waits for an agent, of the tasks that began on this node.
    pub(crate) waits: WaitTotals,
    /// Waits for the task before, of those that have a context.
    pub(crate) context_waits: WaitTotals,
    /// The longest wait of the tasks that began after the requested mark.
    pub(crate) longest_wait_s: f64,
    pub(crate) longest_context_wait_s: f64,
    /// The most tasks on agents at any start after that mark.
    pub(crate) peak_running: u32,
    pub(crate) running: u32,
    pub(crate) depth: u64,
    /// When the next delayed task is due or the next deadline ends; `None` if there is neither.
    pub(crate) next_due: Option<Timestamp>,
    /// The state of the dependency circuit.
    pub(crate) dependency: DependencyReport,
    /// An outage of what the agents depend on may have begun.
    pub(crate) is_suspicious: bool,
    /// The arrivals after the mark, with times in seconds; at most [`SAMPLES`].
    pub(crate) arrived: Vec<Arrival>,
    /// Task numbers and seconds on an agent of the completions after the mark; at most [`SAMPLES`].
    pub(crate) completed: Vec<(u64, f64)>,
}

/// What happened in a queue between two samples of one reader.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct QueueActivity {
    /// What was counted.
    pub(crate) counts: QueueTotals,
    /// For an agent.
    pub(crate) waits: WaitHistogram,
    /// For the task before in the context.
    pub(crate) context_waits: WaitHistogram,
    /// Most tasks on agents at any time.
    pub(crate) peak_running: u32,
    /// Tasks on agents at the end.
    pub(crate) running: u32,
    /// Waiting tasks at the end.
    pub(crate) depth: u64,
    pub(crate) arrived: Vec<Arrival>,
    pub(crate) completed: Vec<(u64, f64)>,
}

impl QueueSample {
    /// Returns what happened since `before`. This sample must have been requested with the mark of `before`.
    pub(crate) fn since(&self, before: &Self) -> QueueActivity {
        let counts = self.mark.totals().since(&before.mark.totals());
        let late_here = self.mark.here.since(&before.mark.here).late;
        QueueActivity {
            counts,
            waits: self.waits.since(&before.waits, late_here, self.longest_wait_s),
            context_waits: self.context_waits.since(&before.context_waits, 0, self.longest_context_wait_s),
            // Tasks that ran at the end of the earlier sample also ran after it.
            peak_running: self.peak_running.max(before.running),
            running: self.running,
            depth: self.depth,
            arrived: self.arrived.clone(),
            completed: self.completed.clone(),
        }
    }
}
