//! What a queue counts between two samples.

use forerunner_core::{Task, TaskId};
use forerunner_forecast::{EventDetector, Trigger};

use super::messages::{QueueSample, QueueStatus, Ran, SAMPLES, SetBaseline};

/// Counts events for the forecast, and notices when they no longer fit what was expected.
pub(crate) struct QueueStats {
    sample: QueueSample,
    detector: EventDetector,
    running: u32,
    totals: QueueStatus,
    within_s: f64,
}

impl QueueStats {
    pub(crate) fn new(within_s: f64) -> Self {
        Self {
            sample: QueueSample::default(),
            detector: EventDetector::new(),
            running: 0,
            totals: QueueStatus::default(),
            within_s,
        }
    }

    pub(crate) fn arrived(&mut self, task: TaskId, t: f64) -> Option<Trigger> {
        self.sample.arrivals += 1;
        if self.sample.arrived.len() < SAMPLES {
            self.sample.arrived.push((number(task), t));
        }
        self.detector.on_arrival(t)
    }

    /// Counts a start; returns the seconds the task waited, and whether that was too long.
    pub(crate) fn started(&mut self, task: &Task) -> (f64, bool) {
        let wait_s = task.wait().unwrap_or_default().as_secs_f64();
        let late = wait_s > self.within_s;
        self.sample.starts += 1;
        self.sample.late += u64::from(late);
        self.sample.waits.note(wait_s, late);
        self.totals.started += 1;
        self.totals.late += u64::from(late);
        self.running += 1;
        self.sample.peak_running = self.sample.peak_running.max(self.running);
        (wait_s, late)
    }

    /// Counts the end of an attempt that began.
    pub(crate) fn ended(&mut self, task: TaskId, t: f64, ran: Option<Ran>) -> Option<Trigger> {
        self.running = self.running.saturating_sub(1);
        let ran = ran?;
        self.sample.completions += 1;
        self.sample.service_sum_s += ran.service_s;
        self.sample.context_sum_bytes += ran.context_bytes;
        if self.sample.completed.len() < SAMPLES {
            self.sample.completed.push((number(task), ran.service_s));
        }
        self.detector.on_completion(t, ran.service_s)
    }

    pub(crate) fn finished(&mut self) {
        self.totals.finished += 1;
    }

    pub(crate) fn depth(&mut self, t: f64, depth: u64, open_slots: usize) -> Option<Trigger> {
        let clamp = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.detector.on_state(t, clamp(depth), clamp(open_slots as u64))
    }

    /// When a trigger that came too soon after another is to be asked for again, in seconds.
    pub(crate) fn trigger_due_at(&self) -> Option<f64> {
        self.detector.due_at()
    }

    /// Forgets when events were: the clock was set back, and what was noticed lately lies ahead now.
    pub(crate) fn forget_times(&mut self) {
        self.detector = EventDetector::new();
    }

    pub(crate) fn expect(&mut self, expected: &SetBaseline) {
        self.detector.expect(expected.rate_per_s, expected.service_s);
    }

    pub(crate) fn take(&mut self, depth: u64) -> QueueSample {
        let next = QueueSample { peak_running: self.running, ..QueueSample::default() };
        let sample = std::mem::replace(&mut self.sample, next);
        QueueSample { depth, running: self.running, ..sample }
    }

    pub(crate) const fn running(&self) -> u32 {
        self.running
    }

    pub(crate) fn status(&self, depth: u64) -> QueueStatus {
        QueueStatus { depth, running: u64::from(self.running), ..self.totals }
    }
}

/// A number for a task, the same at its arrival and at its completion. Of 32 bits, as nodes tell them each other.
fn number(task: TaskId) -> u64 {
    task.as_uuid().as_u64_pair().1 & u64::from(u32::MAX)
}
