//! Pairs arrivals with the durations that are learned later.

use std::collections::{HashMap, VecDeque};

use super::shadow::ShadowTask;
use crate::Observation;

/// Most tasks that wait for their replay; older ones are forgotten first.
const MOST: usize = 65_536;

/// Arrivals in order of time, until they are replayed.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventFeed {
    tasks: VecDeque<Arrival>,
    /// Number of the first task of `tasks` since the begin.
    first: u64,
    by_id: HashMap<u64, u64>,
    /// Whether durations come with task numbers.
    numbered: bool,
}

#[derive(Debug, Clone, Copy)]
struct Arrival {
    id: Option<u64>,
    at: f64,
    service_s: Option<f64>,
}

impl EventFeed {
    /// Records what happened between `from` and `to` on the window's clock; `shift_s` converts times in `seen` to it.
    pub fn observe(&mut self, from: f64, to: f64, shift_s: f64, seen: &Observation) {
        if seen.arrived.len() as u64 == seen.arrivals {
            let mut last = self.tasks.back().map_or(0.0, |task| task.at);
            for &crate::Arrival { task: id, at, .. } in &seen.arrived {
                last = if at.is_finite() { (at + shift_s).clamp(from, to) } else { to }.max(last);
                self.push(Some(id), last);
            }
        } else {
            let n = seen.arrivals.min(MOST as u64);
            for k in 0..n {
                self.push(None, from + (to - from) * (k as f64 + 0.5) / n as f64);
            }
        }
        for &(id, service_s) in &seen.completed {
            if let Some(number) = self.by_id.remove(&id) {
                self.numbered = true;
                if let Some(task) = self.tasks.get_mut(number.wrapping_sub(self.first) as usize) {
                    task.service_s = Some(service_s);
                }
            }
        }
    }

    /// Moves the tasks that arrived until `until` to `out`. `guess` gives a duration above its
    /// argument where none is known: what has not completed until `now` lasts longer.
    pub fn take(&mut self, until: f64, now: f64, out: &mut Vec<ShadowTask>, mut guess: impl FnMut(f64) -> f64) {
        out.clear();
        while let Some(task) = self.tasks.front().copied().filter(|task| task.at <= until) {
            self.pop();
            let service_s = task
                .service_s
                .unwrap_or_else(|| guess(if self.numbered && task.id.is_some() { now - task.at } else { 0.0 }));
            out.push(ShadowTask { at: task.at, service_s });
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn push(&mut self, id: Option<u64>, at: f64) {
        if self.tasks.len() == MOST {
            self.pop();
        }
        if let Some(id) = id {
            self.by_id.insert(id, self.first + self.tasks.len() as u64);
        }
        self.tasks.push_back(Arrival { id, at, service_s: None });
    }

    fn pop(&mut self) {
        if let Some(task) = self.tasks.pop_front() {
            self.first += 1;
            if let Some(id) = task.id.filter(|id| self.by_id.get(id) == Some(&(self.first - 1))) {
                self.by_id.remove(&id);
            }
        }
    }
}
