//! Clocks, and the ids that are made from them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use forerunner_core::{Clock, NodeId, TaskId, Timestamp};
use tokio::time::Instant;

/// The operating system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A wall clock that follows tokio's clock, so that `tokio::time::pause` and `advance` move both.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    begun: Instant,
    epoch: Timestamp,
}

impl VirtualClock {
    /// A clock that shows `epoch` now. Needs a tokio runtime.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { begun: Instant::now(), epoch }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.epoch + self.begun.elapsed()
    }
}

/// Makes task ids that sort in the order they were made on this node (RFC 9562 §6.2, method 1).
#[derive(Debug)]
pub(crate) struct IdMaker {
    /// Milliseconds of the newest id in the upper 52 bits, its counter in the lower 12.
    newest: AtomicU64,
    random: RandomState,
}

impl IdMaker {
    pub(crate) fn new() -> Self {
        Self { newest: AtomicU64::new(0), random: RandomState::new() }
    }

    pub(crate) fn task(&self, now: Timestamp) -> TaskId {
        let wanted = (now.as_micros().max(0) as u64 / 1_000) << 12;
        let stamp =
            match self.newest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |newest| Some(wanted.max(newest + 1)))
            {
                Ok(newest) | Err(newest) => wanted.max(newest + 1),
            };
        let made_at = Timestamp::from_micros((stamp >> 12) as i64 * 1_000);
        TaskId::from_parts(made_at, u128::from(stamp & 0xfff) << 64 | u128::from(self.random.hash_one(stamp)))
    }

    pub(crate) fn node(&self, now: Timestamp) -> NodeId {
        NodeId::from_parts(now, u128::from(self.random_u64(1)) << 16 | u128::from(self.random_u64(2) & 0xffff))
    }

    /// A number that differs between processes and salts.
    pub(crate) fn random_u64(&self, salt: u64) -> u64 {
        self.random.hash_one((salt, u64::from(std::process::id())))
    }
}

/// Uniform numbers in [0, 1) for jitter: xorshift64* (Vigna 2016), which needs no more than to be scattered.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    pub(crate) fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_they_were_made_even_when_the_clock_stands_or_steps_back() {
        let maker = IdMaker::new();
        let mut now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut before = maker.task(now);
        for step in 0..10_000 {
            if step == 5_000 {
                now = now - std::time::Duration::from_secs(5);
            }
            let id = maker.task(now);
            assert!(before < id);
            before = id;
        }
    }

    #[test]
    fn jitter_is_spread_over_the_unit_interval() {
        let mut jitter = Jitter::new(7);
        let draws: Vec<f64> = (0..1_000).map(|_| jitter.next()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
