//! The evidence of the tasks on agents about durations.

use std::collections::VecDeque;

use super::{
    Shift,
    life_table::{LifeTable, Shape},
    running::Running,
    slowdown_filter::{Change, SlowdownFilter},
};
use crate::Observation;

/// Observations with completions that wait to be learned from, at most; of more the newest.
const MOST_PENDING: usize = 512;

/// The evidence of the tasks on agents, and what it is compared with.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RunningEvidence {
    pub running: Running,
    pub slowdown: SlowdownFilter,
    /// Of all tasks while no change shows.
    pub lives: LifeTable,
    /// What running tasks are compared with, and the mean of it; `None` while too few durations are known.
    pub known: Option<(Shape, f64)>,
    pub change: Option<Change>,
    /// Completions since the change was first believed: whether they are to be learned from is not known yet.
    pub pending: VecDeque<Observation>,
    /// The last change that replaced the known durations, and how many seconds ago.
    pub settled: Option<(Shift, f64)>,
    /// The longer of the means before and after the last change that was believed, in seconds.
    pub believed_s: f64,
    /// Seconds since the last change was believed, whether it passed or not; `None` before the first.
    pub calm_s: Option<f64>,
}

impl RunningEvidence {
    pub fn observe(&mut self, dt: f64, seen: &Observation) {
        self.running.observe(dt, seen);
        if let Some((_, ago_s)) = &mut self.settled {
            *ago_s += dt.max(0.0);
        }
        if self.change.is_none() {
            self.lives.observe(&self.running);
        }
        let Some((shape, mean_s)) = &self.known else { return };
        self.slowdown.observe(dt, shape, *mean_s, &self.running, seen.started);
        self.change = self.slowdown.change();
        if let Some(change) = self.change {
            self.believed_s = mean_s * change.factor.max(1.0);
        }
        self.calm_s = if self.change.is_some() { Some(0.0) } else { self.calm_s.map(|calm_s| calm_s + dt.max(0.0)) };
    }

    /// Puts completions by until it is known whether durations have changed.
    pub fn wait_with(&mut self, seen: &Observation) {
        if seen.completions == 0 {
            return;
        }
        if self.pending.len() == MOST_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(Observation {
            completions: seen.completions,
            mean_service_s: seen.mean_service_s,
            mean_context_tokens: seen.mean_context_tokens,
            completed: seen.completed.clone(),
            ..Observation::default()
        });
    }

    pub fn settle(&mut self, steps: i32, shift: Shift) {
        self.slowdown.settle(steps);
        self.lives.shift(SlowdownFilter::bins(steps));
        self.change = None;
        self.settled = Some((shift, 0.0));
    }
}
