//! The state of a pool, and what a rule asks for.

use super::rule::{RECALL, Rule, Source};

/// A need this little above a whole number does not need one agent more.
const ROUNDING: f64 = 1e-6;

/// The state of a pool: the real one or a shadow.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PoolState {
    pub waiting: f64,
    pub in_flight: f64,
    pub draining: f64,
    pub ready: f64,
    pub starting: f64,
}

impl PoolState {
    /// Tasks on agents and waiting.
    pub fn in_system(&self) -> f64 {
        self.in_flight + self.waiting
    }

    /// The pool as if at most so many tasks were in the system; fewer wait.
    pub fn with_at_most(&self, tasks: f64) -> Self {
        let in_flight = self.in_flight.min(tasks);
        Self { in_flight, waiting: self.waiting.min(tasks - in_flight), ..*self }
    }

    /// Agents that exist or start, and may get tasks.
    pub fn size(&self) -> f64 {
        (self.in_flight - self.draining).max(0.0) + self.ready + self.starting
    }
}

/// Sizes that different layers ask for, in agents.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Requirements {
    /// Of the forecast, or of the surge that overrides it, with what is announced.
    pub forecast: f64,
    /// The part of `forecast` that is neither margin nor announced: agents that are busy on average, or tasks present.
    pub basis: f64,
    /// The part of `forecast` that is there for announced tasks only.
    pub announced: f64,
    /// Of the backlog; 0 without one.
    pub backlog: f64,
    /// Greatest of forecast and backlog without announced tasks, those ahead and those in the system: what the
    /// stabilization window retains, since announced tasks are known to end.
    pub rest: f64,
    /// Greatest between now and the horizon: below this the pool must not shrink.
    pub until_horizon: f64,
    /// The same with what is announced; 0 where nothing is.
    pub known_until_horizon: f64,
    /// Of what came at this time of days before; 0 where nothing is about to come. The stabilization window does not cover
    /// it: what does not come after all costs a few minutes.
    pub recalled: f64,
    /// Whether the fast rate took the forecast's place.
    pub surge: bool,
}

impl Requirements {
    /// Greatest need by what is known of today.
    pub fn greatest(&self) -> f64 {
        self.forecast.max(self.backlog)
    }

    /// Agents wanted before bounds, given the greatest need of the stabilization window, the pool's size, and the size that
    /// was asked for, which the pool may not have reached yet.
    pub fn wanted(&self, recent: f64, size: f64, asked: f64) -> f64 {
        let kept = self.until_horizon.min(size).max(self.known_until_horizon.min(asked));
        recent.max(self.greatest()).max(kept).max(self.recalled)
    }

    /// The requirements of a pool that has shrunk to nothing and has no task. In silence no average rises, so that only
    /// another rule in charge could ask for an agent; what came at this time of a period or a day before is no such
    /// reason.
    pub fn asleep(self, rule: &Rule) -> Self {
        match rule.source {
            Source::Rate(RECALL) => self,
            _ => {
                let announced = self.announced;
                Self { forecast: announced, basis: 0.0, backlog: 0.0, rest: 0.0, until_horizon: 0.0, ..self }
            }
        }
    }

    /// Whether more agents are wanted because of what came at this time of days before.
    pub fn is_recalled(&self, recent: f64, size: f64, asked: f64) -> bool {
        let today = Self { recalled: 0.0, ..*self };
        whole(self.wanted(recent, size, asked)) > whole(today.wanted(recent, size, asked))
    }
}

/// Whole agents for a need.
pub(crate) fn whole(need: f64) -> u32 {
    (need - ROUNDING).ceil().max(0.0) as u32
}
