//! A pool that exists only in arithmetic: what one rule would have made of the real arrivals.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::rule::{Outlook, Rule, Standing, whole};
use crate::{PolicyLimits, hold::Hold};

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
#[derive(Debug, Clone, Default)]
pub(crate) struct Shadow {
    /// When running tasks end. Times are not negative, so their bits are in the order of the times.
    running: BinaryHeap<Reverse<u64>>,
    starting: VecDeque<f64>,
    idle: u32,
    draining: u32,
    waiting: VecDeque<ShadowTask>,
    hold: Hold,
    stretch: Stretch,
}

impl Shadow {
    /// A pool of `idle` agents.
    pub fn new(idle: u32) -> Self {
        Self { idle, ..Self::default() }
    }

    /// Lets `tasks` arrive and time pass from `from` to the tick of `outlook`, then decides by `rule`.
    pub fn play(
        &mut self,
        from: f64,
        tasks: &[ShadowTask],
        rule: &Rule,
        outlook: &Outlook,
        limits: &PolicyLimits,
    ) -> Stretch {
        let to = outlook.t;
        self.stretch = Stretch { cost_s: f64::from(self.total()) * (to - from), late: 0.0 };
        let within_s = limits.objective.within_s;
        for &task in tasks {
            self.pass(task.at, to, within_s);
            self.waiting.push_back(task);
            if self.idle > 0 {
                self.idle -= 1;
                self.start(task.at, within_s);
            }
        }
        self.pass(to, to, within_s);
        self.decide(rule, outlook, limits);
        self.stretch
    }

    fn total(&self) -> u32 {
        self.running.len() as u32 + self.starting.len() as u32 + self.idle
    }

    /// Lets tasks end and agents become ready until `until`; the stretch that is accounted for ends at `end`.
    fn pass(&mut self, until: f64, end: f64, within_s: f64) {
        loop {
            let ends = self.running.peek().map_or(f64::INFINITY, |&Reverse(bits)| f64::from_bits(bits));
            let ready = self.starting.front().copied().unwrap_or(f64::INFINITY);
            if ends.min(ready) > until {
                return;
            }
            if ends <= ready {
                self.running.pop();
                if self.draining > 0 {
                    self.draining -= 1;
                    self.stretch.cost_s -= end - ends;
                    continue;
                }
            } else {
                self.starting.pop_front();
            }
            if self.waiting.is_empty() {
                self.idle += 1;
            } else {
                self.start(ends.min(ready), within_s);
            }
        }
    }

    /// Starts the task that waits for longest.
    fn start(&mut self, now: f64, within_s: f64) {
        let Some(task) = self.waiting.pop_front() else { return };
        if now - task.at > within_s {
            self.stretch.late += 1.0;
        }
        self.running.push(Reverse((now + task.service_s).to_bits()));
    }

    fn decide(&mut self, rule: &Rule, outlook: &Outlook, limits: &PolicyLimits) {
        let standing = Standing {
            waiting: self.waiting.len() as f64,
            in_flight: self.running.len() as f64,
            draining: f64::from(self.draining),
            ready: f64::from(self.idle),
            starting: self.starting.len() as f64,
        };
        let needs = rule.needs(&standing, outlook);
        self.hold.push(outlook.t, needs.greatest());
        self.hold.forget_before(outlook.t - rule.hold_s);
        let held = self.hold.greatest_since(outlook.t - rule.hold_s).map_or(needs.greatest(), |(_, held)| held);
        let desired = limits.clamp(whole(needs.wanted(held, standing.size())));
        self.resize(desired, outlook.t + outlook.cold_s);
    }

    /// As a real pool resizes: see the simulator's model.
    fn resize(&mut self, desired: u32, ready_at: f64) {
        let size = self.total() - self.draining;
        if desired > size {
            let back = (desired - size).min(self.draining);
            self.draining -= back;
            self.starting.extend(std::iter::repeat_n(ready_at, (desired - size - back) as usize));
            return;
        }
        let mut fewer = size - desired;
        while fewer > 0 && self.starting.pop_back().is_some() {
            fewer -= 1;
        }
        let idle = fewer.min(self.idle);
        self.idle -= idle;
        self.draining += fewer - idle;
    }
}
