//! A pool that exists only in arithmetic: what one rule would have made of the real arrivals.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::{
    requirements::{PoolState, whole},
    rule::{ForecastInputs, Rule},
    schedule::{Group, Schedule},
};
use crate::{PolicyLimits, stabilization::SlidingMaximum};

/// Seconds of a slot: the grain of time in a shadow pool. An eighth of the waits that objectives are about.
pub(crate) const SLOT_S: f64 = 0.125;
/// Slots ahead in which a shadow counts ends of tasks that had to wait; ends further ahead, beyond a minute, wait in a heap.
const AHEAD: u64 = 512;

/// The slot that a time on the window's clock falls in.
pub(super) fn slot_of(t: f64) -> u64 {
    (t / SLOT_S).max(0.0) as u64
}

/// The slot at whose begin an event at `t` counts: the nearest, so that it is neither early nor late on average.
pub(super) fn nearest_slot(t: f64) -> u64 {
    slot_of(t + 0.5 * SLOT_S)
}

/// A task as a shadow pool sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ShadowTask {
    /// When it became due, on the window's clock.
    pub at: f64,
    /// Seconds on an agent.
    pub service_s: f64,
}

impl ShadowTask {
    /// The slot that this ends in if it starts as it comes: a later one than it comes in.
    pub fn end(&self) -> u64 {
        nearest_slot(self.at + self.service_s).max(slot_of(self.at) + 1)
    }
}

/// What happened in a shadow pool in a stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Segment {
    /// Instance-seconds: agents starting, idle and busy.
    pub cost_s: f64,
    /// Tasks that started later than the objective allows.
    pub late: f64,
}

/// One queue, one pool, first come first served: the model of the simulator, reduced to what a size depends on.
///
/// Time moves in slots of an eighth of a second; within a slot tasks end first, then agents become ready, then tasks
/// arrive. When tasks end that start as they come is the same in all shadows, and [`Schedule`] has it: a shadow itself
/// counts only how tasks that had to wait differ from it. So a slot costs a few nanoseconds whatever came in it.
#[derive(Debug, Clone)]
pub(crate) struct Shadow {
    /// How many tasks end in each slot beyond those of the schedule, as a ring; fewer where tasks had to wait.
    shifted: Box<[i16]>,
    /// The same beyond the ring.
    far: BinaryHeap<Reverse<(u64, i16)>>,
    /// The next slot to be lived through.
    next: u64,
    running: u32,
    /// Slots in which agents become ready, and how many.
    starting: VecDeque<(u64, u32)>,
    warming: u32,
    idle: u32,
    draining: u32,
    waiting: VecDeque<ShadowTask>,
    recent_needs: SlidingMaximum,
    stretch: Segment,
}

impl Shadow {
    /// A pool of `idle` agents.
    pub fn new(idle: u32) -> Self {
        Self {
            shifted: vec![0; AHEAD as usize].into_boxed_slice(),
            far: BinaryHeap::new(),
            next: 0,
            running: 0,
            starting: VecDeque::new(),
            warming: 0,
            idle,
            draining: 0,
            waiting: VecDeque::new(),
            recent_needs: SlidingMaximum::default(),
            stretch: Segment::default(),
        }
    }

    /// Returns what came since the last call.
    pub fn take(&mut self) -> Segment {
        std::mem::take(&mut self.stretch)
    }

    /// Lets the tasks of `schedule` arrive and time pass until the tick of `inputs`, then decides by `rule`.
    pub fn play(&mut self, schedule: &Schedule, rule: &Rule, inputs: &ForecastInputs, limits: &PolicyLimits) {
        let until = slot_of(inputs.t);
        let within_s = limits.objective.within_s;
        let due = |groups: &[Group]| groups.first().map_or(u64::MAX, |group| group.slot);
        let mut groups = schedule.groups();
        let mut slot = if self.is_still() { due(groups).clamp(self.next, until.max(self.next)) } else { self.next };
        self.stretch.cost_s += SLOT_S * f64::from(self.total()) * until.saturating_sub(self.next) as f64;
        while slot < until {
            let ready = self.starting.front().map_or(u64::MAX, |&(slot, _)| slot);
            let far = self.far.peek().map_or(u64::MAX, |&Reverse((slot, _))| slot);
            slot = self.skip(slot, ready.min(far).min(due(groups)).min(until), schedule);
            if slot == until {
                break;
            }
            self.next = slot;
            let gone = self.finish(schedule.ends_in(slot));
            self.stretch.cost_s -= SLOT_S * f64::from(gone) * (until - slot) as f64;
            self.warm_up();
            self.assign(within_s);
            while let Some((group, later)) = groups.split_first()
                && group.slot <= slot
            {
                groups = later;
                self.arrive(schedule.tasks(group));
            }
            slot += 1;
        }
        self.next = self.next.max(until);
        // What comes at the very moment of the tick is seen by it.
        groups.iter().for_each(|group| self.arrive(schedule.tasks(group)));
        self.decide(rule, inputs, limits);
    }

    fn is_still(&self) -> bool {
        self.running == 0 && self.warming == 0 && self.waiting.is_empty()
    }

    fn total(&self) -> u32 {
        self.running + self.warming + self.idle
    }

    /// The first slot from `slot` on in which a task ends, or `until`.
    fn skip(&mut self, mut slot: u64, until: u64, schedule: &Schedule) -> u64 {
        while slot < until {
            let shifted = &mut self.shifted[(slot % AHEAD) as usize];
            if i64::from(schedule.ends_in(slot)) + i64::from(*shifted) != 0 {
                break;
            }
            *shifted = 0;
            slot += 1;
        }
        slot
    }

    /// Tasks that end in this slot, of which the schedule has `scheduled`, leave their agents. How many agents leave with
    /// them.
    fn finish(&mut self, scheduled: u32) -> u32 {
        let place = (self.next % AHEAD) as usize;
        let mut ended = i64::from(scheduled) + i64::from(std::mem::take(&mut self.shifted[place]));
        while self.far.peek().is_some_and(|&Reverse((end, _))| end <= self.next) {
            ended += self.far.pop().map_or(0, |Reverse((_, n))| i64::from(n));
        }
        let ended = ended.clamp(0, i64::from(self.running)) as u32;
        let gone = ended.min(self.draining);
        self.running -= ended;
        self.draining -= gone;
        self.idle += ended - gone;
        gone
    }

    /// Agents that have started are ready.
    fn warm_up(&mut self) {
        while let Some((_, n)) = self.starting.front().copied().filter(|&(slot, _)| slot <= self.next) {
            self.starting.pop_front();
            self.warming -= n;
            self.idle += n;
        }
    }

    /// Tasks come: idle agents take them, or they wait.
    fn arrive(&mut self, tasks: &[ShadowTask]) {
        let at_once = if self.waiting.is_empty() { (self.idle as usize).min(tasks.len()) } else { 0 };
        self.idle -= at_once as u32;
        self.running += at_once as u32;
        for task in &tasks[at_once..] {
            self.shift(task.end(), -1);
            self.waiting.push_back(*task);
        }
    }

    /// Idle agents take the tasks that wait for longest.
    fn assign(&mut self, within_s: f64) {
        let now = self.next as f64 * SLOT_S;
        while self.idle > 0
            && let Some(task) = self.waiting.pop_front()
        {
            let begin = now.max(task.at);
            if begin - task.at > within_s {
                self.stretch.late += 1.0;
            }
            self.idle -= 1;
            self.running += 1;
            self.shift(nearest_slot(begin + task.service_s).max(self.next + 1), 1);
        }
    }

    /// A task more or less than scheduled ends in this slot.
    fn shift(&mut self, end: u64, by: i16) {
        let place = &mut self.shifted[(end % AHEAD) as usize];
        match place.checked_add(by) {
            Some(sum) if end < self.next + AHEAD => *place = sum,
            _ => self.far.push(Reverse((end, by))),
        }
    }

    fn decide(&mut self, rule: &Rule, inputs: &ForecastInputs, limits: &PolicyLimits) {
        let pool = PoolState {
            waiting: self.waiting.len() as f64,
            in_flight: f64::from(self.running),
            draining: f64::from(self.draining),
            ready: f64::from(self.idle),
            starting: f64::from(self.warming),
        };
        let requirements = rule.requirements(&pool, inputs);
        self.recent_needs.push(inputs.t, requirements.rest);
        self.recent_needs.forget_before(inputs.t - rule.stabilization_s);
        let greatest_recent = self.recent_needs.greatest().unwrap_or(requirements.rest);
        let desired = limits.clamp(whole(requirements.wanted(greatest_recent, pool.size(), pool.size())));
        self.resize(desired, nearest_slot(inputs.t + inputs.cold_s));
    }

    /// As a real pool resizes: see the simulator's model.
    fn resize(&mut self, desired: u32, ready_at: u64) {
        let size = self.total() - self.draining;
        if desired > size {
            let back = (desired - size).min(self.draining);
            self.draining -= back;
            let more = desired - size - back;
            if more > 0 {
                self.starting.push_back((ready_at, more));
                self.warming += more;
            }
            return;
        }
        let mut fewer = size - desired;
        while fewer > 0
            && let Some((_, n)) = self.starting.back_mut()
        {
            let gone = fewer.min(*n);
            *n -= gone;
            fewer -= gone;
            self.warming -= gone;
            if *n == 0 {
                self.starting.pop_back();
            }
        }
        let idle = fewer.min(self.idle);
        self.idle -= idle;
        self.draining += fewer - idle;
    }
}
