//! What readers learn of a queue: counters that only grow, and what lies between two readings.

use forerunner_core::Timestamp;

use super::{
    totals::QueueTotals,
    wait_histogram::{WaitHistogram, WaitTotals},
};

/// Most single events that a queue knows: what is older is only counted.
pub(crate) const SAMPLES: usize = 4_096;

/// Where a sample ends. Its reader passes it on when it asks for the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct SampleMark {
    /// What this node has counted.
    pub(crate) here: QueueTotals,
    /// What other nodes have counted since this one knows of them.
    pub(crate) elsewhere: QueueTotals,
}

impl SampleMark {
    fn totals(&self) -> QueueTotals {
        let mut totals = self.here;
        totals.add(&self.elsewhere);
        totals
    }
}

/// How a queue stands, and what it has counted since its node started.
#[derive(Debug, Clone, Default, PartialEq, actix::MessageResponse)]
pub(crate) struct QueueSample {
    pub(crate) mark: SampleMark,
    /// How long the tasks waited that began on this node.
    pub(crate) waits: WaitTotals,
    /// The longest wait of those that began after the mark that was asked for.
    pub(crate) longest_wait_s: f64,
    /// Most tasks on agents at any start after that mark.
    pub(crate) peak_running: u32,
    pub(crate) running: u32,
    pub(crate) depth: u64,
    /// When the next delayed task is due, or a deadline ends; `None` where there is neither.
    pub(crate) next_due: Option<Timestamp>,
    /// Task numbers and times of the arrivals after the mark, in seconds; at most [`SAMPLES`].
    pub(crate) arrived: Vec<(u64, f64)>,
    /// Task numbers and seconds on an agent of the completions after the mark; at most [`SAMPLES`].
    pub(crate) completed: Vec<(u64, f64)>,
}

/// What happened in a queue between two samples of one reader.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct QueueActivity {
    /// What was counted.
    pub(crate) counts: QueueTotals,
    pub(crate) waits: WaitHistogram,
    /// Most tasks on agents at any time.
    pub(crate) peak_running: u32,
    /// Tasks on agents at the end.
    pub(crate) running: u32,
    /// Tasks that wait at the end.
    pub(crate) depth: u64,
    pub(crate) arrived: Vec<(u64, f64)>,
    pub(crate) completed: Vec<(u64, f64)>,
}

impl QueueSample {
    /// Returns what happened since `before`, whose mark this sample was asked for with.
    pub(crate) fn since(&self, before: &Self) -> QueueActivity {
        let counts = self.mark.totals().since(&before.mark.totals());
        let late_here = self.mark.here.since(&before.mark.here).late;
        QueueActivity {
            counts,
            waits: self.waits.since(&before.waits, late_here, self.longest_wait_s),
            // Those that ran at the end of the sample before ran after it.
            peak_running: self.peak_running.max(before.running),
            running: self.running,
            depth: self.depth,
            arrived: self.arrived.clone(),
            completed: self.completed.clone(),
        }
    }
}
