//! A pool that exists only in arithmetic: what one rule would have made of the real arrivals.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::rule::{Outlook, Rule, Standing, whole};
use crate::{PolicyLimits, hold::Hold};

/// Seconds of a slot: the grain of time in a shadow pool. An eighth of the waits that objectives are about.
pub(crate) const SLOT_S: f64 = 0.125;
/// Slots ahead in which ends of tasks are counted; ends further ahead, beyond a minute, wait in a heap.
const AHEAD: u64 = 512;

/// The slot that a time on the window's clock falls in.
fn slot_of(t: f64) -> u64 {
    (t / SLOT_S).max(0.0) as u64
}

/// The slot at whose begin what happens at `t` is taken to have happened: the nearest, so that it is neither early nor late
/// on average.
fn nearest_slot(t: f64) -> u64 {
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

/// What a stretch of time brought a shadow pool.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Stretch {
    /// Instance-seconds: agents starting, idle and busy.
    pub cost_s: f64,
    /// Tasks that started later than the objective allows.
    pub late: f64,
}

/// One queue, one pool, first come first served: the model of the simulator, reduced to what a size depends on.
///
/// Time moves in slots of an eighth of a second; within a slot tasks end first, then agents become ready, then tasks
/// arrive. Counting ends by slot makes a task cost a few nanoseconds whatever the pool's size.
#[derive(Debug, Clone)]
pub(crate) struct Shadow {
    /// How many tasks end in each slot, as a ring.
    ends: Box<[u16]>,
    /// Ends beyond the ring.
    far: BinaryHeap<Reverse<u64>>,
    /// The next slot to be lived through.
    next: u64,
    running: u32,
    /// Slots in which agents become ready, and how many.
    starting: VecDeque<(u64, u32)>,
    warming: u32,
    idle: u32,
    draining: u32,
    waiting: VecDeque<ShadowTask>,
    hold: Hold,
    stretch: Stretch,
}

impl Shadow {
    /// A pool of `idle` agents.
    pub fn new(idle: u32) -> Self {
        Self {
            ends: vec![0; AHEAD as usize].into_boxed_slice(),
            far: BinaryHeap::new(),
            next: 0,
            running: 0,
            starting: VecDeque::new(),
            warming: 0,
            idle,
            draining: 0,
            waiting: VecDeque::new(),
            hold: Hold::default(),
            stretch: Stretch::default(),
        }
    }

    /// What came since this was last asked.
    pub fn take(&mut self) -> Stretch {
        std::mem::take(&mut self.stretch)
    }

    /// Lets `tasks` arrive and time pass until the tick of `outlook`, then decides by `rule`.
    pub fn play(&mut self, tasks: &[ShadowTask], rule: &Rule, outlook: &Outlook, limits: &PolicyLimits) {
        let until = slot_of(outlook.t);
        let within_s = limits.objective.within_s;
        let due = |tasks: &[ShadowTask]| tasks.first().map_or(u64::MAX, |task| slot_of(task.at));
        let mut tasks = tasks;
        let mut slot = if self.is_still() { due(tasks).clamp(self.next, until.max(self.next)) } else { self.next };
        self.stretch.cost_s += SLOT_S * f64::from(self.total()) * until.saturating_sub(self.next) as f64;
        while slot < until {
            let ready = self.starting.front().map_or(u64::MAX, |&(slot, _)| slot);
            let far = self.far.peek().map_or(u64::MAX, |&Reverse(slot)| slot);
            let happens = ready.min(far).min(due(tasks));
            while slot < until && slot < happens && self.ends[(slot % AHEAD) as usize] == 0 {
                slot += 1;
            }
            if slot == until {
                break;
            }
            self.next = slot;
            let gone = self.finish();
            self.stretch.cost_s -= SLOT_S * f64::from(gone) * (until - slot) as f64;
            self.warm_up();
            self.assign(within_s);
            while let Some((task, later)) = tasks.split_first()
                && slot_of(task.at) <= slot
            {
                tasks = later;
                self.arrive(task);
            }
            slot += 1;
        }
        self.next = self.next.max(until);
        // What comes at the very moment of the tick is seen by it.
        tasks.iter().for_each(|task| self.arrive(task));
        self.decide(rule, outlook, limits);
    }

    fn is_still(&self) -> bool {
        self.running == 0 && self.warming == 0 && self.waiting.is_empty()
    }

    fn total(&self) -> u32 {
        self.running + self.warming + self.idle
    }

    /// Tasks that end in this slot leave their agents. How many agents leave with them.
    fn finish(&mut self) -> u32 {
        let place = (self.next % AHEAD) as usize;
        let mut ended = u32::from(std::mem::take(&mut self.ends[place]));
        while self.far.peek().is_some_and(|&Reverse(end)| end <= self.next) {
            self.far.pop();
            ended += 1;
        }
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

    /// A task comes: an idle agent takes it, or it waits.
    fn arrive(&mut self, task: &ShadowTask) {
        if self.idle > 0 && self.waiting.is_empty() {
            self.start(task.at + task.service_s);
        } else {
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
            self.start(begin + task.service_s);
        }
    }

    /// An idle agent takes a task that ends at `end`.
    fn start(&mut self, end: f64) {
        self.idle -= 1;
        self.running += 1;
        let end = nearest_slot(end).max(self.next + 1);
        let place = &mut self.ends[(end % AHEAD) as usize];
        if end < self.next + AHEAD && *place < u16::MAX {
            *place += 1;
        } else {
            self.far.push(Reverse(end));
        }
    }

    fn decide(&mut self, rule: &Rule, outlook: &Outlook, limits: &PolicyLimits) {
        let standing = Standing {
            waiting: self.waiting.len() as f64,
            in_flight: f64::from(self.running),
            draining: f64::from(self.draining),
            ready: f64::from(self.idle),
            starting: f64::from(self.warming),
        };
        let needs = rule.needs(&standing, outlook);
        self.hold.push(outlook.t, needs.greatest());
        self.hold.forget_before(outlook.t - rule.hold_s);
        let held = self.hold.greatest().unwrap_or(needs.greatest());
        let desired = limits.clamp(whole(needs.wanted(held, standing.size())));
        self.resize(desired, nearest_slot(outlook.t + outlook.cold_s));
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
