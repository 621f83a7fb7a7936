//! How long the tasks on agents have run, reconstructed from what every observer reports.

use std::collections::VecDeque;

use crate::Observation;

/// Groups of tasks from which those of about the same age are put together.
const MOST_GROUPS: usize = 128;
/// Tasks that begin together often are alike: more of them prove no more than so many.
const ALIKE_TOGETHER: f64 = 5.0;
/// Ages that differ by this share are about the same.
const ALIKE: f64 = 0.06;
/// More tasks than start at once anywhere: keeps sums in range, whatever is reported.
const MOST_STARTED: u64 = 1 << 32;
/// Most completions of one observation that are matched with their starts one by one.
const MOST_MATCHED: usize = 4_096;

/// Tasks on agents that began between two observations.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Group {
    /// When the last of them began at the latest, on the clock of [`Running`].
    begun: f64,
    tasks: u64,
    /// How much each of them proves, in (0, 1].
    weight: f64,
}

/// So many tasks that were on agents from one age to another, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AgeSpan {
    pub from_s: f64,
    pub to_s: f64,
    pub tasks: u64,
    /// How much each of them proves.
    pub weight: f64,
}

/// A task that left its agent: the age that it was known to have before, and its duration, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct EndedTask {
    pub from_s: f64,
    pub service_s: f64,
    /// How much it proves.
    pub weight: f64,
}

/// The ages of the tasks on agents.
///
/// An observation counts starts and completions, and gives the durations of the latter. A completion is matched with the
/// start nearest to where its duration puts it. An age is counted from the observation that reported the start, so it is
/// never more than the true one: that no task seems older than it is matters more than the last second.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Running {
    /// In order of time; none is empty.
    groups: VecDeque<Group>,
    now: f64,
    /// The changes of the last observation; the buffers are reused.
    ended: Vec<EndedTask>,
    age_spans: Vec<AgeSpan>,
}

impl Running {
    /// Observes, `dt` seconds after the observation before.
    pub fn observe(&mut self, dt: f64, seen: &Observation) {
        let before = self.now;
        self.now += dt.max(0.0);
        let (running, in_flight) = (self.tasks(), u64::from(seen.in_flight));
        // An observer that does not report starts reports what follows from them.
        let missing = in_flight.saturating_add(seen.completions).saturating_sub(running);
        self.begin(seen.started.max(missing).min(MOST_STARTED));
        self.end(before, 0.5 * dt, seen);
        self.agree_with(in_flight);
        self.age_spans.clear();
        let age_spans = self.groups.iter().map(|group| AgeSpan {
            from_s: (before - group.begun).max(0.0),
            to_s: self.now - group.begun,
            tasks: group.tasks,
            weight: group.weight,
        });
        self.age_spans.extend(age_spans);
    }

    /// Tasks that left an agent in the last observation.
    pub fn ended(&self) -> &[EndedTask] {
        &self.ended
    }

    /// Tasks that are on agents still, and how they aged since the observation before.
    pub fn age_spans(&self) -> &[AgeSpan] {
        &self.age_spans
    }

    /// Tasks that are older than so many seconds.
    pub fn older_than(&self, age_s: f64) -> u64 {
        self.groups.iter().take_while(|group| self.now - group.begun > age_s).map(|group| group.tasks).sum()
    }

    /// Tasks on agents, and the seconds that they have run in all.
    pub fn exposure(&self) -> (f64, f64) {
        let ages = self.groups.iter().map(|group| group.tasks as f64 * (self.now - group.begun));
        (self.tasks() as f64, ages.sum())
    }

    fn tasks(&self) -> u64 {
        self.groups.iter().map(|group| group.tasks).sum()
    }

    fn begin(&mut self, tasks: u64) {
        if tasks == 0 {
            return;
        }
        self.groups.push_back(Group { begun: self.now, tasks, weight: (ALIKE_TOGETHER / tasks as f64).min(1.0) });
        if self.groups.len() > MOST_GROUPS {
            self.put_together();
        }
    }

    /// Puts neighbours of about the same age together; where that does not help, the two oldest groups.
    fn put_together(&mut self) {
        let mut kept: VecDeque<Group> = VecDeque::with_capacity(MOST_GROUPS);
        for group in &self.groups {
            let age_s = self.now - group.begun;
            match kept.back_mut() {
                Some(older) if group.begun - older.begun < ALIKE * age_s => {
                    let tasks = older.tasks + group.tasks;
                    let share = group.tasks as f64 / tasks as f64;
                    let mean = |older: f64, newer: f64| older + (newer - older) * share;
                    let (begun, weight) = (mean(older.begun, group.begun), mean(older.weight, group.weight));
                    *older = Group { begun, tasks, weight };
                }
                _ => kept.push_back(*group),
            }
        }
        if kept.len() > MOST_GROUPS
            && let (Some(oldest), Some(next)) = (kept.pop_front(), kept.front_mut())
        {
            next.tasks += oldest.tasks;
        }
        self.groups = kept;
    }

    /// Matches completions with starts. They happened `ago_s` seconds before the observation, on average.
    fn end(&mut self, before: f64, ago_s: f64, seen: &Observation) {
        self.ended.clear();
        let named = seen.completed.iter().map(|&(_, service_s)| service_s);
        let unnamed = (seen.completions as usize).saturating_sub(seen.completed.len());
        let unnamed = seen.mean_service_s.into_iter().flat_map(|mean_s| std::iter::repeat_n(mean_s, unnamed));
        for service_s in named.chain(unnamed).take(MOST_MATCHED) {
            let (begun, weight) = self.take(self.now - ago_s - service_s).unwrap_or((self.now, 1.0));
            self.ended.push(EndedTask { from_s: (before - begun).max(0.0).min(service_s), service_s, weight });
        }
    }

    /// Removes a task of the group that began nearest to `begun`, and returns when that began and how much the task proves.
    fn take(&mut self, begun: f64) -> Option<(f64, f64)> {
        let after = self.groups.partition_point(|group| group.begun < begun);
        let distance = |at: usize| self.groups.get(at).map_or(f64::INFINITY, |group| (group.begun - begun).abs());
        let at = if after > 0 && distance(after - 1) < distance(after) { after - 1 } else { after };
        let group = self.groups.get_mut(at)?;
        let taken = (group.begun, group.weight);
        group.tasks -= 1;
        if group.tasks == 0 {
            self.groups.remove(at);
        }
        Some(taken)
    }

    /// Makes the count that of the observation. Tasks that vanished without a completion failed: which ones is not known, and
    /// without the oldest nothing seems slower than it is.
    fn agree_with(&mut self, in_flight: u64) {
        let running = self.tasks();
        self.begin(in_flight.saturating_sub(running));
        let mut more = running.saturating_sub(in_flight);
        while more > 0
            && let Some(oldest) = self.groups.front_mut()
        {
            let gone = more.min(oldest.tasks);
            oldest.tasks -= gone;
            more -= gone;
            if oldest.tasks == 0 {
                self.groups.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(started: u64, in_flight: u32, durations: &[f64]) -> Observation {
        Observation {
            started,
            in_flight,
            completions: durations.len() as u64,
            completed: durations.iter().map(|&s| (0, s)).collect(),
            ..Observation::default()
        }
    }

    #[test]
    fn tasks_age_until_they_end() {
        let mut running = Running::default();
        running.observe(1.0, &seen(2, 2, &[]));
        running.observe(1.0, &seen(1, 3, &[]));
        assert_eq!(running.age_spans()[0], AgeSpan { from_s: 0.0, to_s: 1.0, tasks: 2, weight: 1.0 });
        // One of the first two: it began 1.4 s before the middle of this second.
        running.observe(1.0, &seen(0, 2, &[1.9]));
        assert_eq!(running.ended(), [EndedTask { from_s: 1.0, service_s: 1.9, weight: 1.0 }]);
        let ages: Vec<_> = running.age_spans().iter().map(|span| (span.to_s, span.tasks)).collect();
        assert_eq!(ages, [(2.0, 1), (1.0, 1)]);
        assert_eq!((running.older_than(1.5), running.older_than(0.5), running.older_than(2.0)), (1, 2, 0));
    }

    #[test]
    fn starts_follow_from_counts_where_they_are_not_reported() {
        let (mut told, mut counted) = (Running::default(), Running::default());
        for (started, in_flight, durations) in [(3, 3, [].as_slice()), (2, 4, &[0.9]), (1, 3, &[1.5, 1.1])] {
            told.observe(1.0, &seen(started, in_flight, durations));
            counted.observe(1.0, &seen(0, in_flight, durations));
        }
        assert_eq!(told, counted);
    }

    #[test]
    fn tasks_that_vanish_are_the_oldest_and_unknown_ones_begin_now() {
        let mut running = Running::default();
        running.observe(1.0, &seen(2, 2, &[]));
        running.observe(1.0, &seen(3, 5, &[]));
        running.observe(1.0, &seen(0, 2, &[]));
        assert_eq!(running.age_spans(), [AgeSpan { from_s: 0.0, to_s: 1.0, tasks: 2, weight: 1.0 }]);
        running.observe(1.0, &seen(0, 7, &[]));
        assert_eq!(running.age_spans().last(), Some(&AgeSpan { from_s: 0.0, to_s: 0.0, tasks: 5, weight: 1.0 }));
    }

    #[test]
    fn whatever_is_reported_the_count_is_that_of_the_observation() {
        let mut running = Running::default();
        for k in 0..2_000_u64 {
            let durations = vec![(k % 13) as f64 * 3.0; (k % 5) as usize];
            let in_flight = (k * 7919 % 211) as u32;
            running.observe((k % 3) as f64 * 0.7, &seen(k % 17, in_flight, &durations));
            assert_eq!(running.tasks(), u64::from(in_flight));
            assert!(running.groups.len() <= MOST_GROUPS + 1);
        }
    }
}
