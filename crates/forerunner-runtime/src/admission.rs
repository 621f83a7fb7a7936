//! The door in front of the actors: how many tasks may wait.
//!
//! A mailbox's capacity is no backpressure in actix (`do_send` ignores it, and each clone of an `Addr` owns a slot), so
//! every submission takes a place here before its message is sent.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

/// Counts the tasks of a pool that wait, delayed ones included.
#[derive(Debug)]
pub(crate) struct Admission {
    waiting: AtomicUsize,
    limit: usize,
    /// Completions per second, in thousandths: how soon there may be room again.
    millirate: AtomicU64,
}

impl Admission {
    pub(crate) const fn new(waiting: usize, limit: usize) -> Self {
        Self { waiting: AtomicUsize::new(waiting), limit, millirate: AtomicU64::new(0) }
    }

    /// Takes a place; answers how many wait if there is none.
    pub(crate) fn enter(&self) -> Result<(), usize> {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        if waiting < self.limit {
            return Ok(());
        }
        self.leave(1);
        Err(waiting)
    }

    /// Takes as many places as there are, at most `count`; answers how many it took.
    pub(crate) fn enter_some(&self, count: usize) -> usize {
        let mut taken = 0;
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            taken = count.min(self.limit.saturating_sub(waiting));
            Some(waiting + taken)
        });
        taken
    }

    /// Takes places for tasks that come back, over the limit if need be: they were accepted before.
    pub(crate) fn reenter(&self, count: usize) {
        self.waiting.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes over a count of those that wait in a store that others use too.
    pub(crate) fn count(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Gives places back.
    pub(crate) fn leave(&self, count: usize) {
        let _ = self
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| Some(waiting.saturating_sub(count)));
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn note_completion_rate(&self, per_sec: f64) {
        self.millirate.store((per_sec.max(0.0) * 1_000.0) as u64, Ordering::Relaxed);
    }

    /// The time the pool needs for a tenth of its queue: 1 s to 60 s.
    pub(crate) fn retry_after(&self) -> Duration {
        let per_sec = self.millirate.load(Ordering::Relaxed) as f64 / 1_000.0;
        let secs = if per_sec > 0.0 { self.limit as f64 / 10.0 / per_sec } else { 1.0 };
        Duration::from_secs(secs.ceil().clamp(1.0, 60.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_closes_at_the_limit_and_opens_when_a_place_is_given_back() {
        let admission = Admission::new(1, 2);
        assert_eq!(admission.enter(), Ok(()));
        assert_eq!(admission.enter(), Err(2));
        admission.leave(1);
        assert_eq!(admission.enter(), Ok(()));
        admission.reenter(5);
        assert_eq!((admission.waiting(), admission.enter_some(3)), (7, 0));
        admission.leave(6);
        assert_eq!((admission.enter_some(3), admission.waiting()), (1, 2));
    }

    #[test]
    fn the_hint_grows_with_the_time_to_work_a_tenth_off() {
        let admission = Admission::new(0, 1_000);
        assert_eq!(admission.retry_after(), Duration::from_secs(1));
        admission.note_completion_rate(10.0);
        assert_eq!(admission.retry_after(), Duration::from_secs(10));
        admission.note_completion_rate(0.001);
        assert_eq!(admission.retry_after(), Duration::from_secs(60));
    }
}
