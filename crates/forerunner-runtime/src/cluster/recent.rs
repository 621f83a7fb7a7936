//! The last single events of a pool on one node: with them, whoever forecasts sees arrivals where they fell and not only
//! how many there were.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::queue::messages::QueueSample;

/// Most events of each kind that are told; of a pace above this in a beat, the counts say enough.
const MOST: usize = 256;

/// The last events of a row that has had `end` of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Tail {
    end: u64,
    /// A task's number, and a number that belongs to it.
    last: VecDeque<(u32, f64)>,
}

impl Tail {
    /// Adds events, of which all or only some are listed.
    fn add(&mut self, count: u64, listed: &[(u64, f64)]) {
        self.end += count;
        if listed.len() as u64 != count {
            self.last.clear();
            return;
        }
        // The low half: the same at the arrival and at the completion, and different enough.
        self.last.extend(listed.iter().map(|&(task, value)| (task as u32, value)));
        self.last.drain(..self.last.len().saturating_sub(MOST));
    }

    /// The events after the first `seen`, if all of them are known.
    fn since(&self, seen: u64) -> Option<impl Iterator<Item = (u32, f64)>> {
        let new = usize::try_from(self.end.saturating_sub(seen)).ok()?;
        let skipped = self.last.len().checked_sub(new)?;
        Some(self.last.iter().skip(skipped).copied())
    }
}

/// The last arrivals and completions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Recent {
    /// With times: here on the node's clock in seconds, in a report how many seconds before it.
    arrived: Tail,
    /// With seconds on an agent.
    completed: Tail,
}

/// How many of another node's events were seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SeenEvents {
    arrived: u64,
    completed: u64,
}

impl Recent {
    pub(crate) fn add(&mut self, sample: &QueueSample) {
        self.arrived.add(sample.arrivals, &sample.arrived);
        self.completed.add(sample.completions, &sample.completed);
    }

    /// As it is told at `now_s` to nodes with clocks of their own.
    pub(crate) fn told_at(&self, now_s: f64) -> Self {
        let mut told = self.clone();
        for (_, at) in &mut told.arrived.last {
            // Milliseconds are enough.
            *at = ((now_s - *at).max(0.0) * 1e3).round() / 1e3;
        }
        told
    }

    pub(crate) const fn seen(&self) -> SeenEvents {
        SeenEvents { arrived: self.arrived.end, completed: self.completed.end }
    }

    /// Adds to `sample` what was told since `seen`, as if it had been told at `now_s`. Where some events are missing none is
    /// added: then their counts speak.
    pub(crate) fn add_since(&self, seen: SeenEvents, now_s: f64, sample: &mut QueueSample) {
        let arrived = self.arrived.since(seen.arrived).into_iter().flatten();
        sample.arrived.extend(arrived.map(|(task, ago)| (u64::from(task), now_s - ago)));
        let completed = self.completed.since(seen.completed).into_iter().flatten();
        sample.completed.extend(completed.map(|(task, service_s)| (u64::from(task), service_s)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(arrived: &[(u64, f64)], completed: &[(u64, f64)]) -> QueueSample {
        QueueSample {
            arrivals: arrived.len() as u64,
            completions: completed.len() as u64,
            arrived: arrived.to_vec(),
            completed: completed.to_vec(),
            ..QueueSample::default()
        }
    }

    #[test]
    fn events_are_told_once_with_their_age() {
        let mut recent = Recent::default();
        recent.add(&sample(&[(1, 10.0), (2, 10.5)], &[]));
        let seen = recent.told_at(11.0).seen();
        recent.add(&sample(&[(3, 11.25)], &[(1, 0.75)]));
        let mut got = QueueSample::default();
        recent.told_at(12.0).add_since(seen, 500.0, &mut got);
        assert_eq!((got.arrived, got.completed), (vec![(3, 499.25)], vec![(1, 0.75)]));
    }

    #[test]
    fn what_is_not_known_in_full_is_not_told() {
        let mut recent = Recent::default();
        let seen = recent.seen();
        recent.add(&QueueSample { arrivals: 2, ..sample(&[(1, 1.0)], &[(7, 1.0)]) });
        recent.add(&sample(&[(2, 2.0)], &[]));
        let mut got = QueueSample::default();
        recent.add_since(seen, 9.0, &mut got);
        assert_eq!((got.arrived, got.completed), (vec![], vec![(7, 1.0)]));
        let many: Vec<_> = (0..MOST as u64 + 1).map(|task| (task, 3.0)).collect();
        let seen = recent.seen();
        recent.add(&sample(&many, &[]));
        let mut got = QueueSample::default();
        recent.add_since(seen, 9.0, &mut got);
        assert_eq!(got.arrived, []);
        assert_eq!(recent.arrived.last.len(), MOST);
    }
}
