//! The last single events of one kind. They are numbered, so that each reader gets those after its last sample.

use std::collections::VecDeque;

use forerunner_forecast::Arrival;
use serde::{Deserialize, Serialize};

/// The last of `end` events; their number is bounded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tail {
    end: u64,
    /// A task's number and a value that belongs to the event.
    last: VecDeque<(u32, f64)>,
}

impl Tail {
    /// Adds an event, and drops the oldest one if there are more than `most`.
    pub(crate) fn push(&mut self, event: (u32, f64), most: usize) {
        self.end += 1;
        if self.last.len() >= most {
            self.last.pop_front();
        }
        self.last.push_back(event);
    }

    /// Adds `count` events. If `listed` does not have all of them, all single events are dropped.
    pub(crate) fn add(&mut self, count: u64, listed: &[(u32, f64)], most: usize) {
        self.end += count;
        if listed.len() as u64 != count {
            self.last.clear();
            return;
        }
        self.last.extend(listed);
        self.last.drain(..self.last.len().saturating_sub(most));
    }

    /// Returns the number of events so far.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Returns the remembered events after the first `seen` ones: the newest.
    pub(crate) fn known_after(&self, seen: u64) -> impl Iterator<Item = (u32, f64)> {
        let new = usize::try_from(self.end.saturating_sub(seen)).unwrap_or(usize::MAX);
        self.last.iter().skip(self.last.len().saturating_sub(new)).copied()
    }

    /// Returns the events after the first `seen` ones, or none if some of them are no longer remembered.
    pub(crate) fn all_after(&self, seen: u64) -> impl Iterator<Item = (u32, f64)> {
        let is_known = self.end.saturating_sub(seen) <= self.last.len() as u64;
        self.known_after(if is_known { seen } else { self.end })
    }

    /// Returns the same events with mapped values.
    pub(crate) fn map(&self, value: impl Fn(f64) -> f64) -> Self {
        Self { end: self.end, last: self.last.iter().map(|&(task, old)| (task, value(old))).collect() }
    }
}

/// Joins arrivals with the sessions of the same tasks. Where these are not listed, the tasks have none.
pub(crate) fn with_sessions(arrived: Vec<(u32, f64)>, sessions: Vec<(u32, f64)>) -> Vec<Arrival> {
    let are_listed = arrived.len() == sessions.len();
    let session = |at: usize| sessions.get(at).filter(|_| are_listed).map(|(_, session)| *session as u64);
    let joined = arrived.iter().enumerate().map(|(at, &(task, came))| Arrival {
        task: u64::from(task),
        at: came,
        session: session(at).filter(|session| *session != 0),
    });
    joined.collect()
}

/// The number of a session as the value of an event: 0 for none. Collisions are rare enough.
pub(crate) fn session_value(session: Option<u64>) -> f64 {
    session.map_or(0.0, |session| f64::from((session as u32).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tail: impl Iterator<Item = (u32, f64)>) -> Vec<u32> {
        tail.map(|(task, _)| task).collect()
    }

    #[test]
    fn each_reader_gets_what_comes_after_what_it_has_read() {
        let mut tail = Tail::default();
        (1..=5).for_each(|task| tail.push((task, 0.0), 4));
        assert_eq!(tail.end(), 5);
        for seen in [3, 4, 5, 9] {
            let rest: Vec<u32> = (seen as u32 + 1..=5).collect();
            assert_eq!((of(tail.known_after(seen)), of(tail.all_after(seen))), (rest.clone(), rest), "{seen}");
        }
        assert_eq!((of(tail.known_after(0)), of(tail.all_after(0))), (vec![2, 3, 4, 5], vec![]), "the first is gone");
    }

    #[test]
    fn arrivals_are_joined_with_their_sessions_where_these_are_known() {
        let arrived = vec![(1, 0.5), (2, 0.75)];
        let sessions = [Some(9), None].map(session_value);
        let joined = with_sessions(arrived.clone(), vec![(1, sessions[0]), (2, sessions[1])]);
        assert_eq!(joined, [Arrival { task: 1, at: 0.5, session: Some(9) }, (2, 0.75).into()]);
        assert_eq!(with_sessions(arrived, Vec::new()), [(1, 0.5).into(), (2, 0.75).into()]);
    }

    #[test]
    fn events_that_are_not_listed_are_counted() {
        let mut tail = Tail::default();
        tail.add(2, &[(1, 0.0)], 4);
        tail.add(1, &[(3, 0.0)], 4);
        assert_eq!((tail.end(), of(tail.all_after(2)), of(tail.all_after(1))), (3, vec![3], vec![]));
        tail.add(6, &[4, 5, 6, 7, 8, 9].map(|task| (task, 0.0)), 4);
        assert_eq!(of(tail.known_after(0)), [6, 7, 8, 9]);
    }
}
