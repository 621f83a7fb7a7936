//! Which session has a turn in the pool, and which one pauses.

use std::collections::{HashMap, VecDeque};

/// Most sessions that are followed, and most turns at once. Of more, those without an event for longest are forgotten.
pub(super) const MOST: usize = 65_536;

/// The state of a session.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// Between two turns.
    Idle {
        /// Its cohort.
        cohort: u64,
        /// When the last turn ended.
        since: f64,
    },
    /// With a turn that waits for an agent or has one.
    Busy {
        /// Number of the task.
        task: u64,
        /// When it could start.
        since: f64,
        /// Tasks that wait for the end of this turn, and whether each had been announced.
        blocked: VecDeque<(u64, bool)>,
    },
}

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Session {
    pub state: State,
    /// Turns that have begun.
    pub turns: u32,
    pub class: usize,
}

impl Default for Session {
    /// A session before its first turn.
    fn default() -> Self {
        Self { state: State::Idle { cohort: u64::MAX, since: f64::INFINITY }, turns: 0, class: 0 }
    }
}

/// All sessions that are followed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    pub sessions: HashMap<u64, Session>,
    /// Which session a task in the pool belongs to.
    pub tasks: HashMap<u64, u64>,
    /// In order of time: the session, and since when it is in its state. Entries of states that are over are skipped.
    pub idle: VecDeque<(u64, f64)>,
    pub busy: VecDeque<(u64, f64)>,
}

impl Table {
    /// The next session that has been idle since `before` or earlier, or is one too many. It is removed.
    pub fn next_forgotten(&mut self, before: f64) -> Option<Session> {
        loop {
            let too_many = self.sessions.len() > MOST || self.idle.len() > 2 * MOST;
            let (number, since) = next_of(&mut self.idle, before, too_many)?;
            let is_it = |found: &Session| matches!(found.state, State::Idle { since: at, .. } if at == since);
            if self.sessions.get(&number).is_some_and(is_it) {
                return self.sessions.remove(&number);
            }
        }
    }

    /// The next session whose turn could start at `before` or earlier, or is one too many. It stays.
    pub fn next_stuck(&mut self, before: f64) -> Option<u64> {
        loop {
            let too_many = self.busy.len() > MOST;
            let (number, since) = next_of(&mut self.busy, before, too_many)?;
            let is_it = |found: &Session| matches!(found.state, State::Busy { since: at, .. } if at == since);
            if self.sessions.get(&number).is_some_and(is_it) {
                return Some(number);
            }
        }
    }
}

/// Removes the first entry that is from `before` or earlier, or any if there are too many.
fn next_of(entries: &mut VecDeque<(u64, f64)>, before: f64, too_many: bool) -> Option<(u64, f64)> {
    let is_due = entries.front().is_some_and(|(_, since)| too_many || *since <= before);
    if is_due { entries.pop_front() } else { None }
}
