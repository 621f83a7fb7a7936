//! Demand that is known before it arrives: delayed tasks, retries in backoff, schedules.
//!
//! A task is *announced early* when it was known for at least a horizon before it is due, so that an agent asked for when
//! it became due would not have been needed to see it coming. Such tasks are added to the forecast of the rest, and rates
//! are learned without them. A task that became known later is an arrival like any other: the forecast learns from it, and
//! until it is due the greater of forecast and announcement counts.

use std::{borrow::Cow, collections::VecDeque};

use serde::{Deserialize, Serialize};

use crate::{Observation, rate::sane};

/// Most announcements that are remembered: the nearest ones.
const MOST: usize = 4_096;
/// Parts of the time to the horizon. For each the pool knows how many agents it must not stop.
pub(crate) const PARTS: usize = 8;
/// Times ahead at which the announced load is computed.
const POINTS: f64 = 128.0;
/// Rounds of starts that are planned ahead at most.
const MOST_ROUNDS: f64 = 64.0;
/// Two reports of one task may differ by this many seconds in when it is due: clocks are read twice.
const SAME_S: f64 = 0.05;
/// A group of tasks is reported as due when its first task is, so that what is left of it moves by up to this.
const GROUP_S: f64 = 1.0;
/// A task that was announced is counted among the arrivals at most this many seconds after it was due.
const CREDIT_S: f64 = 5.0;
/// Announced tasks that have arrived are followed for this many seconds.
const FOLLOWED_S: f64 = 3_600.0;

/// Tasks that become due at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Announcement {
    /// On the window's clock, in seconds.
    due: f64,
    tasks: u64,
    /// Whether it was known a horizon ahead.
    early: bool,
}

/// What is known to come, and which arrivals it was known of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Announcements {
    /// In order of time, all of them ahead.
    ahead: Vec<Announcement>,
    /// Announced tasks that are due and have not been counted among the arrivals yet: when they were due, how many.
    overdue: VecDeque<(f64, u64)>,
    /// Announced tasks that have arrived: when, how many.
    arrived: VecDeque<(f64, u64)>,
}

/// The announced load about the horizon, in tasks on agents and waiting for one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AnnouncedLoad {
    /// Early ones: the most at once between the time when an agent asked for now is ready and the horizon. Of those further
    /// ahead the part that cannot wait for later starts, since only so many agents start at the same time.
    pub early: f64,
    /// Early ones: the most at once in each part of the time from now to the horizon.
    pub soon: [f64; PARTS],
    /// Share of the tasks in the system now that are still there when each part begins.
    pub still_there: [f64; PARTS],
    /// All of them, as [`AnnouncedLoad::early`].
    pub all: f64,
    /// Early ones that are due before an agent asked for now is ready, in tasks.
    pub early_before_ready: f64,
    /// The others.
    pub late_before_ready: f64,
    /// Early ones that have arrived and are expected to be in the system still.
    pub present: f64,
}

impl AnnouncedLoad {
    /// Most tasks at once from now to the horizon: early ones and others, where `others` gives the number of those when a
    /// share of the tasks in the system now is still there.
    pub fn most(&self, others: impl Fn(f64) -> f64) -> f64 {
        let parts = self.soon.iter().zip(&self.still_there);
        parts.map(|(soon, still_there)| soon + others(*still_there)).fold(0.0, f64::max)
    }

    /// The same for agents of which each starts so many tasks within the time that the objective allows.
    fn shared_by(self, starts_per_agent: f64) -> Self {
        let n = starts_per_agent.max(1.0);
        Self { early: self.early / n, soon: self.soon.map(|tasks| tasks / n), all: self.all / n, ..self }
    }
}

/// What the load is asked for.
pub(crate) struct Ahead<F, G> {
    /// Now, on the window's clock.
    pub now: f64,
    /// Seconds until an agent asked for now is ready.
    pub cold_s: f64,
    /// Seconds until an agent asked for at the next tick is ready.
    pub horizon_s: f64,
    /// Agents that may start at the same time; infinite where any number may.
    pub max_starting: f64,
    /// Tasks that one agent can start one after another within the time that the objective allows, at least 1.
    pub starts_per_agent: f64,
    /// Share of tasks that are on an agent for longer than so many seconds.
    pub survival: F,
    /// Share of the tasks on agents now that are still there so many seconds on.
    pub still_there: G,
}

impl Announcements {
    /// Records what an observation at `now` announces, and returns how many of its arrivals had been announced early.
    ///
    /// `is_first` is whether nothing was announced since the start. What is announced then counts as early: when it
    /// became known is not known.
    pub fn observe(&mut self, now: f64, horizon_s: f64, is_first: bool, seen: &Observation) -> u64 {
        let mut before = std::mem::take(&mut self.ahead);
        let mut next = sorted(now, &seen.announced);
        let known = |next: &mut Vec<Announcement>, before: &mut Vec<Announcement>, within_s: f64| {
            let mut first = 0;
            let mut found = Vec::new();
            for announced in next.iter_mut() {
                while before.get(first).is_some_and(|old| old.due < announced.due - within_s) {
                    first += 1;
                }
                let near = before[first..].iter_mut().take_while(|old| old.due <= announced.due + within_s);
                for old in near {
                    let tasks = old.tasks.min(announced.tasks);
                    (old.tasks, announced.tasks) = (old.tasks - tasks, announced.tasks - tasks);
                    if tasks > 0 {
                        found.push(Announcement { due: announced.due, tasks, early: old.early });
                    }
                }
            }
            next.retain(|announced| announced.tasks > 0);
            before.retain(|old| old.tasks > 0);
            found
        };
        let mut ahead = known(&mut next, &mut before, SAME_S);
        ahead.extend(known(&mut next, &mut before, GROUP_S));
        ahead.extend(next.iter().map(|new| Announcement { early: is_first || new.due - now >= horizon_s, ..*new }));
        ahead.sort_by(|a, b| a.due.total_cmp(&b.due));
        self.ahead = ahead;
        // What is left was cancelled, or is due by now.
        let due = before.iter().filter(|old| old.due <= now && old.early);
        self.overdue.extend(due.map(|old| (old.due, old.tasks)));
        self.settle(now, seen.arrivals)
    }

    /// Whether anything is known to come, or was.
    pub fn are_any(&self) -> bool {
        !self.ahead.is_empty() || !self.arrived.is_empty()
    }

    /// Counts arrivals against what is due.
    fn settle(&mut self, now: f64, arrivals: u64) -> u64 {
        let mut left = arrivals;
        while let Some((_, tasks)) = self.overdue.front_mut().filter(|_| left > 0) {
            let taken = left.min(*tasks);
            (*tasks, left) = (*tasks - taken, left - taken);
            if *tasks == 0 {
                self.overdue.pop_front();
            }
        }
        self.overdue.retain(|&(due, _)| due >= now - CREDIT_S);
        let announced = arrivals - left;
        if announced > 0 {
            self.arrived.push_back((now, announced));
        }
        while self.arrived.len() > MOST || self.arrived.front().is_some_and(|&(at, _)| at < now - FOLLOWED_S) {
            self.arrived.pop_front();
        }
        announced
    }

    /// The next tasks that are known to come: in how many seconds from `now`, and how many of them within the second
    /// after the first.
    pub fn next(&self, now: f64) -> Option<(f64, u64)> {
        let first = self.ahead.first()?;
        let together = self.ahead.iter().take_while(|announced| announced.due < first.due + GROUP_S);
        Some((first.due - now, together.fold(0, |sum: u64, announced| sum.saturating_add(announced.tasks))))
    }

    /// Tasks that are known to come within so many seconds from `now`.
    pub fn within(&self, now: f64, seconds: f64) -> u64 {
        let near = self.ahead.iter().take_while(|announced| announced.due <= now + seconds);
        near.fold(0, |sum, announced| sum.saturating_add(announced.tasks))
    }

    /// The announced load about the horizon.
    pub fn load<F: Fn(f64) -> f64, G: Fn(f64) -> f64>(&self, ahead: Ahead<F, G>) -> AnnouncedLoad {
        let Ahead { now, cold_s, horizon_s, max_starting, starts_per_agent, survival, still_there } = ahead;
        let present = self.arrived.iter().map(|&(at, tasks)| tasks as f64 * survival(now - at)).sum();
        let still_there = std::array::from_fn(|part| still_there(part as f64 * horizon_s / PARTS as f64));
        let mut load = AnnouncedLoad { present, still_there, ..AnnouncedLoad::default() };
        let started_at_once = max_starting.max(1.0) * starts_per_agent.max(1.0);
        let steps = self.steps(now, horizon_s + self.longer_s(cold_s, started_at_once));
        let ready = now + cold_s;
        // What is there when an agent asked for now becomes ready, or a part begins, counts as much as what comes then.
        let begins = (0..PARTS).map(|part| now + part as f64 * horizon_s / PARTS as f64);
        let times = steps.iter().map(|step| step.due).chain([ready]).chain(begins);
        for at in times {
            let (mut early, mut all) = (0.0, 0.0);
            for step in steps.iter().take_while(|step| step.due <= at) {
                let there = survival(at - step.due);
                (early, all) = (early + step.early * there, all + step.all * there);
            }
            let is_near = at <= now + horizon_s;
            if is_near {
                let part = (((at - now) / horizon_s * PARTS as f64) as usize).min(PARTS - 1);
                load.soon[part] = load.soon[part].max(early);
            }
            if at >= ready {
                let later =
                    if is_near { 0.0 } else { started_at_once * rounds(at - now - (horizon_s - cold_s), cold_s) };
                (load.early, load.all) = (load.early.max(early - later), load.all.max(all - later));
            }
        }
        for step in steps.iter().take_while(|step| step.due < ready) {
            load.early_before_ready += step.early;
            load.late_before_ready += step.all - step.early;
        }
        load.shared_by(starts_per_agent)
    }

    /// Seconds by which the first agents for all that is announced must start sooner than the last ones.
    fn longer_s(&self, cold_s: f64, started_at_once: f64) -> f64 {
        let tasks: f64 = self.ahead.iter().map(|announced| announced.tasks as f64).sum();
        cold_s * (tasks / started_at_once).min(MOST_ROUNDS).floor()
    }

    /// Announcements of the next `span_s` seconds, near ones put together.
    fn steps(&self, now: f64, span_s: f64) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let width = span_s / POINTS;
        for announced in self.ahead.iter().take_while(|announced| announced.due <= now + span_s) {
            let all = announced.tasks as f64;
            let early = if announced.early { all } else { 0.0 };
            match steps.last_mut() {
                Some(step) if announced.due < step.due + width => {
                    (step.early, step.all) = (step.early + early, step.all + all);
                }
                _ => steps.push(Step { due: announced.due, early, all }),
            }
        }
        steps
    }

    pub fn is_sound(&self) -> bool {
        self.ahead.len() <= 2 * MOST
            && self.ahead.iter().all(|announced| announced.due.is_finite())
            && self.overdue.iter().chain(&self.arrived).all(|(at, _)| at.is_finite())
    }
}

/// The observation without so many of its arrivals, the last ones: announced tasks of a tick come together.
pub(crate) fn without(announced: u64, seen: &Observation) -> Cow<'_, Observation> {
    if announced == 0 {
        return Cow::Borrowed(seen);
    }
    let mut rest = seen.clone();
    rest.arrivals -= announced.min(seen.arrivals);
    rest.arrived.truncate(rest.arrivals as usize);
    Cow::Owned(rest)
}

/// Tasks that become due at about one time.
#[derive(Debug, Clone, Copy)]
struct Step {
    due: f64,
    early: f64,
    all: f64,
}

/// Rounds of starts, one after another, that end within so many seconds.
fn rounds(seconds: f64, cold_s: f64) -> f64 {
    (seconds / cold_s.max(1e-3)).floor().max(0.0)
}

/// The announcements ahead in order of time, on the window's clock.
fn sorted(now: f64, announced: &[(f64, u64)]) -> Vec<Announcement> {
    let is_ahead = |&&(due_s, tasks): &&(f64, u64)| due_s.is_finite() && due_s > 0.0 && tasks > 0;
    let on_clock = |&(due_s, tasks): &(f64, u64)| Announcement { due: sane(now + due_s), tasks, early: false };
    let mut ahead: Vec<_> = announced.iter().filter(is_ahead).map(on_clock).collect();
    ahead.sort_by(|a, b| a.due.total_cmp(&b.due));
    ahead.truncate(MOST);
    ahead
}

#[cfg(test)]
mod tests;
