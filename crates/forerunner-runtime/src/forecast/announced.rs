//! The announced tasks: delayed tasks, retries and schedules, read from the store.

use std::{sync::Arc, time::Duration};

use forerunner_core::{PoolName, Timestamp};
use forerunner_store::{DueTasks, Store};
use tokio::time::Instant;

/// The store is read for the tasks that are due within this number of horizons, and at least [`AT_LEAST_S`].
const HORIZONS: f64 = 3.0;
const AT_LEAST_S: f64 = 60.0;
const AT_MOST_S: f64 = 3_600.0;
/// Most rounds of starts to plan ahead.
const MOST_ROUNDS: f64 = 64.0;
/// Reads may take one part in this number of the time: a store that answers slowly is read less often.
const SHARE_OF_TIME: u32 = 10;

/// The store's last answer, and when the store may be read again.
#[derive(Debug, Default)]
pub(super) struct Announced {
    due: Vec<DueTasks>,
    /// Whether a read is in flight.
    reading: bool,
    next_read_at: Option<Instant>,
}

/// How far ahead announced tasks matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookahead {
    /// Seconds until an agent is ready that is requested at the next tick.
    pub(super) horizon_s: f64,
    /// Most agents of the pool, and most that may start at the same time.
    pub(super) agents: (u32, u32),
}

impl Lookahead {
    /// Long enough for all agents to start in time, one round after another.
    pub(super) fn window(self) -> Duration {
        let (max, max_starting) = self.agents;
        let rounds = 1.0 + (f64::from(max) / f64::from(max_starting.max(1))).min(MOST_ROUNDS);
        Duration::from_secs_f64((rounds.max(HORIZONS) * self.horizon_s).clamp(AT_LEAST_S, AT_MOST_S))
    }
}

/// The store's answer, `None` if the read failed, and how long it took.
pub(super) struct Answer {
    due: Option<Vec<DueTasks>>,
    took: Duration,
}

impl Announced {
    /// Reads from the store which tasks are due soon. Reads nothing if no task is (`next_due`), a read is in flight, or
    /// the last answer is recent enough. [`Announced::learn`] accepts the answer.
    pub(super) fn read(
        &mut self,
        store: &Arc<dyn Store>,
        pool: &PoolName,
        next_due: Option<Timestamp>,
        now: Timestamp,
        ahead: Lookahead,
    ) -> Option<impl Future<Output = Answer> + use<>> {
        let until = now + ahead.window();
        let is_early = self.next_read_at.is_some_and(|at| Instant::now() < at);
        if self.reading || is_early || next_due.is_none_or(|due| due > until) {
            return None;
        }
        self.reading = true;
        let (call, pool) = (store.due_by(pool.clone(), until), pool.clone());
        Some(async move {
            let begun = Instant::now();
            let due = call.await;
            if let Err(error) = &due {
                tracing::debug!(%pool, %error, "cannot read which tasks are due soon");
            }
            Answer { due: due.ok(), took: begun.elapsed() }
        })
    }

    /// Stores an answer.
    pub(super) fn learn(&mut self, answer: Answer) {
        self.reading = false;
        self.next_read_at = Some(Instant::now() + answer.took * SHARE_OF_TIME);
        if let Some(due) = answer.due {
            self.due = due;
        }
    }

    /// Removes tasks that have become due, or all of them if no task is delayed any more.
    pub(super) fn prune(&mut self, next_due: Option<Timestamp>, now: Timestamp) {
        match next_due {
            Some(_) => self.due.retain(|due| due.at > now),
            None => self.due.clear(),
        }
    }

    /// Returns the announced tasks: seconds from `now`, and number of tasks.
    pub(super) fn list(&self, now: Timestamp) -> Vec<(f64, u64)> {
        let ahead = self.due.iter().filter(|due| due.at > now);
        ahead.map(|due| (due.at.since(now).as_secs_f64(), due.tasks)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_all_rounds_of_starts() {
        let window = |horizon_s, agents| Lookahead { horizon_s, agents }.window().as_secs();
        assert_eq!(window(3.0, (100, u32::MAX)), 60);
        assert_eq!(window(31.0, (100, u32::MAX)), 93, "three horizons");
        assert_eq!(window(31.0, (500, 50)), 341, "ten rounds and one more");
        assert_eq!(window(300.0, (100_000, 1)), 3_600);
    }

    #[test]
    fn what_is_over_is_forgotten_and_what_is_ahead_is_told_in_seconds() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let mut announced = Announced::default();
        let due = [(5, 1), (9, 40), (30, 2)].map(|(seconds, tasks)| DueTasks { at: at(seconds), tasks });
        announced.learn(Answer { due: Some(due.to_vec()), took: Duration::ZERO });
        assert_eq!(announced.list(at(5)), [(4.0, 40), (25.0, 2)]);
        announced.learn(Answer { due: None, took: Duration::ZERO });
        assert_eq!(announced.list(at(5)).len(), 2, "a failed read removes nothing");
        announced.prune(Some(at(30)), at(10));
        assert_eq!(announced.list(at(10)), [(20.0, 2)]);
        announced.prune(None, at(11));
        assert!(announced.list(at(11)).is_empty(), "cancelled");
    }
}
