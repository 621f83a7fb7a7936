//! Counters of a queue.

use forerunner_core::{DependencyReport, Task, TaskId};
use forerunner_forecast::{Cause, EventDetector};

use super::{
    messages::{QueueStatus, Ran, SetBaseline},
    peaks::Peaks,
    sample::{QueueSample, SAMPLES, SampleMark},
    tail::{Tail, session_value, with_sessions},
    totals::QueueTotals,
    wait_histogram::WaitTotals,
};

/// Counts events for all readers, and detects deviations from the expected load.
pub(crate) struct QueueStats {
    totals: QueueTotals,
    finished: u64,
    /// Leases of attempts that may have begun.
    running: u32,
    /// Warm agents; 0 before the first one is.
    agents: u32,
    /// For an agent.
    waits: WaitTotals,
    /// For the task before in the context, of tasks that have one.
    context_waits: WaitTotals,
    /// Indexed by the number of the start.
    longest_waits: Peaks<f64>,
    longest_context_waits: Peaks<f64>,
    /// Indexed by the number of the start.
    running_peaks: Peaks<u32>,
    arrived: Tail,
    /// Of the same tasks.
    sessions: Tail,
    completed: Tail,
    detector: EventDetector,
    within_s: f64,
}

impl QueueStats {
    pub(crate) fn new(within_s: f64) -> Self {
        Self {
            totals: QueueTotals::default(),
            finished: 0,
            running: 0,
            agents: 0,
            waits: WaitTotals::default(),
            context_waits: WaitTotals::default(),
            longest_waits: Peaks::new(SAMPLES),
            longest_context_waits: Peaks::new(SAMPLES),
            running_peaks: Peaks::new(SAMPLES),
            arrived: Tail::default(),
            sessions: Tail::default(),
            completed: Tail::default(),
            detector: EventDetector::new(),
            within_s,
        }
    }

    /// Counts a task that became due at `t`, of this session if it is known.
    pub(crate) fn arrived(&mut self, task: TaskId, session: Option<u64>, t: f64) -> Option<Cause> {
        self.totals.arrivals += 1;
        self.arrived.push((number(task), t), SAMPLES);
        self.sessions.push((number(task), session_value(session)), SAMPLES);
        self.detector.on_arrival(t)
    }

    /// Counts a start; [`QueueStats::started_together`] is to follow. Returns how many seconds the task waited for an agent, and whether that missed the objective.
    pub(crate) fn started(&mut self, task: &Task) -> (f64, bool) {
        // Without a context a task waits for nothing but an agent.
        let wait = if task.context.is_none() { task.wait() } else { task.wait_agent() };
        let wait_s = wait.unwrap_or_default().as_secs_f64();
        let late = wait_s > self.within_s;
        self.totals.starts += 1;
        self.totals.late += u64::from(late);
        self.waits.note(wait_s);
        if task.context.is_some() {
            let wait_s = task.wait_context().unwrap_or_default().as_secs_f64();
            self.context_waits.note(wait_s);
            self.longest_context_waits.note(self.totals.starts, wait_s);
        }
        self.running += 1;
        (wait_s, late)
    }

    /// Notes the greatest wait of tasks that were started together, and how many run now.
    pub(crate) fn started_together(&mut self, greatest_wait_s: f64) {
        self.longest_waits.note(self.totals.starts, greatest_wait_s);
        self.running_peaks.note(self.totals.starts, self.concurrency());
    }

    /// Counts the end of an attempt that began.
    pub(crate) fn ended(&mut self, task: TaskId, t: f64, ran: Option<Ran>) -> Option<Cause> {
        self.running = self.running.saturating_sub(1);
        let ran = ran?;
        self.totals.completions += 1;
        self.totals.service_sum_s += ran.service_s;
        self.totals.context_sum_bytes += ran.context_bytes;
        self.completed.push((number(task), ran.service_s), SAMPLES);
        self.detector.on_completion(t, ran.service_s)
    }

    /// Sets the number of warm agents.
    pub(crate) const fn set_agents(&mut self, agents: u32) {
        self.agents = agents;
    }

    pub(crate) fn finished(&mut self) {
        self.finished += 1;
    }

    pub(crate) fn depth(&mut self, t: f64, depth: u64, open_slots: usize) -> Option<Cause> {
        let clamp = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.detector.on_state(t, clamp(depth), clamp(open_slots as u64))
    }

    /// When to check a trigger again that came too soon after another one, in seconds.
    pub(crate) fn trigger_due_at(&self) -> Option<f64> {
        self.detector.due_at()
    }

    /// Discards the times of past events: the clock was set back, so those times lie in the future.
    pub(crate) fn forget_times(&mut self) {
        self.detector = EventDetector::new();
    }

    pub(crate) fn expect(&mut self, expected: &SetBaseline) {
        self.detector.expect(expected.rate_per_s, expected.service_s);
    }

    /// Returns the counters, with the single events after `mark`.
    pub(crate) fn sample(&self, mark: &QueueTotals, depth: u64) -> QueueSample {
        let listed = |tail: &Tail, seen| tail.known_after(seen).map(|(task, value)| (u64::from(task), value)).collect();
        QueueSample {
            mark: SampleMark { here: self.totals, ..SampleMark::default() },
            waits: self.waits.clone(),
            longest_wait_s: self.longest_waits.after(mark.starts).unwrap_or_default(),
            context_waits: self.context_waits.clone(),
            longest_context_wait_s: self.longest_context_waits.after(mark.starts).unwrap_or_default(),
            peak_running: self.running_peaks.after(mark.starts).unwrap_or_default(),
            running: self.concurrency(),
            depth,
            next_due: None,
            dependency: DependencyReport::default(),
            is_suspicious: false,
            arrived: with_sessions(
                self.arrived.known_after(mark.arrivals).collect(),
                self.sessions.known_after(mark.arrivals).collect(),
            ),
            completed: listed(&self.completed, mark.completions),
        }
    }

    /// Returns how many attempts run at the same time: an agent may have several leases, and runs one of them.
    pub(crate) fn concurrency(&self) -> u32 {
        match self.agents {
            0 => self.running,
            agents => self.running.min(agents),
        }
    }

    pub(crate) const fn running(&self) -> u32 {
        self.running
    }

    pub(crate) fn status(&self, depth: u64) -> QueueStatus {
        let QueueTotals { starts, late, .. } = self.totals;
        QueueStatus {
            depth,
            running: u64::from(self.running),
            started: starts,
            late,
            finished: self.finished,
            dependency: DependencyReport::default(),
        }
    }
}

/// A number for a task, the same at its arrival and at its completion: the low 32 bits of the id's random part.
/// Collisions are rare enough.
fn number(task: TaskId) -> u32 {
    task.as_uuid().as_u64_pair().1 as u32
}

#[cfg(test)]
mod tests {
    use forerunner_core::{AgentId, Timestamp};

    use super::*;

    fn id(number: u128) -> TaskId {
        TaskId::from_parts(Timestamp::default(), number)
    }

    fn task(waited_s: i64) -> Task {
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        let new = forerunner_core::NewTask::new("p".parse().unwrap(), forerunner_core::Payload::null());
        let retry = forerunner_core::RetryPolicy::default();
        let mut task = Task::accepted(id(1), new, at, std::time::Duration::from_secs(9), retry);
        task.started_at = Some(Timestamp::from_micros(at.as_micros() + waited_s * 1_000_000));
        task
    }

    #[test]
    fn readers_do_not_take_anything_from_each_other() {
        let mut stats = QueueStats::new(1.0);
        let ran = |service_s| Ran { agent: AgentId::from_parts(Timestamp::default(), 1), service_s, context_bytes: 8 };
        let (mut often, mut seldom) = (QueueSample::default(), QueueSample::default());
        let mut seen_often = Vec::new();
        for round in 1..=3_u32 {
            let _ = stats.arrived(id(u128::from(round)), None, f64::from(round));
            let (wait_s, _) = stats.started(&task(i64::from(4 - round)));
            stats.started_together(wait_s);
            let _ = stats.ended(id(u128::from(round)), f64::from(round), Some(ran(2.0)));
            let next = stats.sample(&often.mark.here, 7);
            let activity = next.since(&often);
            assert_eq!((activity.counts.arrivals, activity.counts.late, activity.depth), (1, u64::from(round < 3), 7));
            assert_eq!((activity.waits.started(), activity.peak_running, activity.running), (1, 1, 0));
            let longest = activity.waits.summary().unwrap().max;
            assert_eq!(longest, f64::from(4 - round), "of this round");
            seen_often.extend(activity.arrived);
            often = next;
        }
        let next = stats.sample(&seldom.mark.here, 7);
        let activity = next.since(&seldom);
        assert_eq!((activity.counts.arrivals, activity.counts.late, activity.counts.service_sum_s), (3, 2, 6.0));
        assert_eq!((activity.waits.started(), activity.waits.summary().unwrap().max), (3, 3.0));
        assert_eq!(activity.arrived, seen_often);
        seldom = next;
        assert_eq!(stats.sample(&seldom.mark.here, 0).since(&seldom).counts, QueueTotals::default());
    }

    #[test]
    fn tasks_that_go_on_running_are_a_peak_of_every_reader() {
        let mut stats = QueueStats::new(1.0);
        for _ in 0..3 {
            let _ = stats.started(&task(0));
            stats.started_together(0.0);
        }
        let before = stats.sample(&QueueTotals::default(), 0);
        assert_eq!(before.peak_running, 3);
        let _ = stats.ended(id(1), 0.0, None);
        let after = stats.sample(&before.mark.here, 0).since(&before);
        assert_eq!((after.peak_running, after.running), (3, 2));
    }
}
