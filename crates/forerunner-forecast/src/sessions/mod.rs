//! Sessions: a session that had a turn a moment ago will have another one.
//!
//! Tasks of one session run one after another. So a task counts as an arrival when it could start: when it comes, or when
//! the turn before it ends. From then on it is up to the agents.
//!
//! The forecast is the sum, over the sessions that pause, of the chance that each returns within the horizon, and of those
//! that will pause by then, plus new sessions and tasks without one.

mod idle;
mod pauses;
mod returns;
mod table;

use std::{borrow::Cow, collections::VecDeque};

use serde::{Deserialize, Serialize};

pub(crate) use self::returns::Ahead;
use self::{
    idle::Idle,
    pauses::{BEGINS_S, CLASSES, CLOSED_S, Pauses, class_of},
    table::{Session, State, Table},
};
use crate::{Arrival, Observation, rate::Ewma};

/// A task waits for the turn before it for at most this long, in seconds. Ends of turns can get lost.
const BLOCKED_S: f64 = 600.0;
/// Tasks of one session that wait at most; more count as if they could start.
const MOST_BLOCKED: usize = 1_024;
/// Time constant of the rate of new sessions and of tasks without one, in seconds.
const NEW_TAU_S: f64 = 120.0;
/// The assumed length of a pause that no observation saw, as a part of the time between two observations.
const UNSEEN: f64 = 0.5;

/// What is known of the sessions of a pool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sessions {
    pauses: Pauses,
    new: Ewma,
    /// After a restart sessions are new until they are seen again.
    #[serde(skip)]
    table: Table,
    #[serde(skip)]
    idle: Idle,
    /// Turns in the pool, by the class that their sessions have afterwards.
    #[serde(skip)]
    busy: [u32; CLASSES],
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            pauses: Pauses::default(),
            new: Ewma::new(NEW_TAU_S),
            table: Table::default(),
            idle: Idle::default(),
            busy: [0; CLASSES],
        }
    }
}

/// The arrivals of an observation that could start.
struct Turns<'a> {
    arrived: Vec<Arrival>,
    /// The same for those that had been announced.
    announced: Vec<Arrival>,
    seen: &'a Observation,
    now: f64,
    dt: f64,
}

impl Sessions {
    /// Records what was seen at `now`, `dt` seconds after the observation before. The last `announced` arrivals had
    /// been announced early.
    ///
    /// Returns the observation with the arrivals that could start, and how many of these, the last ones, were announced.
    pub fn observe<'a>(
        &mut self,
        (now, dt): (f64, f64),
        announced: u64,
        seen: &'a Observation,
    ) -> (Cow<'a, Observation>, u64) {
        if self.table.sessions.is_empty() && seen.arrived.iter().all(|arrival| arrival.session.is_none()) {
            self.new.observe(seen.arrivals.saturating_sub(announced) as f64 / dt.max(1e-3), dt);
            return (Cow::Borrowed(seen), announced);
        }
        self.pauses.expose(self.idle.counts(), dt);
        let mut turns = Turns { arrived: Vec::new(), announced: Vec::new(), seen, now, dt };
        let listed = seen.arrived.len() as u64 == seen.arrivals;
        let ended: Vec<u64> = seen.completed.iter().map(|(task, _)| *task).collect();
        // A turn may come and end, and its session come again, between two observations.
        ended.iter().for_each(|task| self.end(*task, &mut turns));
        let mut new = if listed { 0 } else { seen.arrivals.saturating_sub(announced) };
        let first_announced = seen.arrivals.saturating_sub(announced);
        for (at, arrival) in (0..).zip(&seen.arrived).filter(|_| listed) {
            let is_new = self.arrive(*arrival, at >= first_announced, &mut turns);
            new += u64::from(is_new && at < first_announced);
        }
        ended.iter().for_each(|task| self.end(*task, &mut turns));
        // Ages are those of the observation before, when the exposure began, until here.
        self.idle.age(now);
        self.forget(&mut turns);
        self.new.observe(new as f64 / dt.max(1e-3), dt);
        turns.observation(listed, announced)
    }

    /// Whether sessions are followed, so that a forecast by them is better than an average.
    pub fn are_known(&self) -> bool {
        !self.table.sessions.is_empty() && self.pauses.are_known()
    }

    /// Whether it is known how long sessions pause, also before any is followed.
    pub fn have_learned(&self) -> bool {
        self.pauses.are_known()
    }

    /// The chance that a session returns within so many seconds, by the seconds since its last turn; empty before any did.
    pub fn return_chances(&self, within_s: f64) -> Vec<(f64, f64)> {
        if !self.have_learned() {
            return Vec::new();
        }
        let hazard = self.pauses.pooled();
        let ages = BEGINS_S.into_iter().chain([CLOSED_S]);
        ages.map(|age_s| (age_s, if age_s < CLOSED_S { hazard.within(age_s, within_s) } else { 0.0 })).collect()
    }

    /// Sessions that pause.
    #[cfg(test)]
    fn idle_sessions(&self) -> u32 {
        self.idle.counts().iter().flatten().sum()
    }

    pub fn is_sound(&self) -> bool {
        self.pauses.is_sound() && self.new.is_sound()
    }

    /// A task comes. Returns whether it is of a new session, or of none.
    fn arrive(&mut self, arrival: Arrival, was_announced: bool, turns: &mut Turns<'_>) -> bool {
        let Some(number) = arrival.session else {
            turns.come(arrival, was_announced);
            return true;
        };
        let Some(session) = self.table.sessions.get_mut(&number) else {
            self.table.sessions.insert(number, Session::default());
            self.begin(number, arrival.task, 0.0, turns.now);
            turns.come(arrival, was_announced);
            return true;
        };
        match &mut session.state {
            State::Busy { blocked, .. } if blocked.len() < MOST_BLOCKED => {
                blocked.push_back((arrival.task, was_announced));
                false
            }
            State::Busy { .. } => {
                turns.come(arrival, was_announced);
                false
            }
            State::Idle { cohort, since } => {
                let (cohort, since, class) = (*cohort, *since, session.class);
                let bin = self.idle.leave(cohort, class);
                // What was announced is no return that could have been forecast.
                if let Some(bin) = bin.filter(|_| !was_announced) {
                    match since == turns.now {
                        true => self.pauses.returned_at_once(class, UNSEEN * turns.dt),
                        false => self.pauses.returned(class, bin),
                    }
                }
                self.begin(number, arrival.task, turns.now - since, turns.now);
                turns.come(arrival, was_announced);
                false
            }
        }
    }

    /// The next turn of a session could start.
    fn begin(&mut self, number: u64, task: u64, pause_s: f64, now: f64) {
        let Some(session) = self.table.sessions.get_mut(&number) else { return };
        session.turns = session.turns.saturating_add(1);
        session.class = class_of(session.turns, pause_s);
        session.state = State::Busy { task, since: now, blocked: VecDeque::new() };
        self.busy[session.class] += 1;
        self.table.tasks.insert(task, number);
        self.table.busy.push_back((number, now));
    }

    /// A task has left its agent.
    fn end(&mut self, task: u64, turns: &mut Turns<'_>) {
        let Some(number) = self.table.tasks.remove(&task) else { return };
        let Some(session) = self.table.sessions.get_mut(&number) else { return };
        let State::Busy { task: current, blocked, .. } = &mut session.state else { return };
        if *current != task {
            return;
        }
        self.busy[session.class] -= 1;
        let mut blocked = std::mem::take(blocked);
        let Some((next, was_announced)) = blocked.pop_front() else {
            let cohort = self.idle.enter(turns.now, session.class);
            session.state = State::Idle { cohort, since: turns.now };
            self.table.idle.push_back((number, turns.now));
            return;
        };
        turns.come(Arrival { task: next, at: turns.seen.t, session: Some(number) }, was_announced);
        self.begin(number, next, 0.0, turns.now);
        if let Some(Session { state: State::Busy { blocked: waiting, .. }, .. }) = self.table.sessions.get_mut(&number)
        {
            *waiting = blocked;
        }
    }

    /// Forgets sessions that have not come back, and turns whose end got lost.
    fn forget(&mut self, turns: &mut Turns<'_>) {
        while let Some(session) = self.table.next_forgotten(turns.now - CLOSED_S) {
            if let State::Idle { cohort, .. } = session.state {
                self.idle.leave(cohort, session.class);
            }
        }
        let nothing_there = turns.seen.in_flight == 0 && turns.seen.queue_depth == 0;
        let stuck_since = if nothing_there { turns.now - turns.dt } else { turns.now - BLOCKED_S };
        while let Some(number) = self.table.next_stuck(stuck_since) {
            let Some(session) = self.table.sessions.get(&number) else { continue };
            let State::Busy { task, blocked, .. } = &session.state else { continue };
            let (task, is_waited_for) = (*task, !blocked.is_empty());
            if nothing_there || is_waited_for {
                self.end(task, turns);
            } else {
                // A long turn. If its end got lost, the next task of the session shows it.
                self.release(number, task);
            }
        }
    }

    /// Removes a session whose turn lasts for very long.
    fn release(&mut self, number: u64, task: u64) {
        self.table.tasks.remove(&task);
        if let Some(session) = self.table.sessions.remove(&number) {
            self.busy[session.class] -= 1;
        }
    }
}

impl<'a> Turns<'a> {
    /// A task could start.
    fn come(&mut self, arrival: Arrival, was_announced: bool) {
        if was_announced { &mut self.announced } else { &mut self.arrived }.push(arrival);
    }

    /// The observation with these arrivals, and how many of them had been announced.
    fn observation(mut self, listed: bool, announced: u64) -> (Cow<'a, Observation>, u64) {
        let more = self.announced.len() as u64;
        if !listed {
            // Only their number is known; those that waited for the turn before come on top.
            let freed = self.arrived.len() as u64;
            let arrivals = self.seen.arrivals + freed + more;
            let seen = Observation { arrivals, arrived: Vec::new(), ..self.seen.clone() };
            return (Cow::Owned(seen), announced + more);
        }
        self.arrived.append(&mut self.announced);
        if self.arrived == self.seen.arrived {
            return (Cow::Borrowed(self.seen), more);
        }
        let arrivals = self.arrived.len() as u64;
        (Cow::Owned(Observation { arrivals, arrived: self.arrived, ..self.seen.clone() }), more)
    }
}

#[cfg(test)]
mod tests;
