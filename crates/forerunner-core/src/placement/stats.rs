//! What a pool learned about its contexts.

use std::{collections::HashMap, hash::Hash, time::Duration};

use super::{Rates, RestoreMeter, RunningMean};
use crate::Timestamp;

/// Contexts whose last use is recorded: at least this many, at most twice as many.
const REMEMBERED: usize = 4_096;

/// Measures [`Rates`] from what happens in a pool.
#[derive(Debug, Clone)]
pub struct PlacementStats<K> {
    restore: RestoreMeter,
    service: RunningMean,
    returns: RunningMean,
    bytes: RunningMean,
    /// When contexts were last used: two generations, so that memory is bounded and forgetting costs nothing.
    recent: HashMap<K, Timestamp>,
    older: HashMap<K, Timestamp>,
}

impl<K> Default for PlacementStats<K> {
    fn default() -> Self {
        Self {
            restore: RestoreMeter::default(),
            service: RunningMean::default(),
            returns: RunningMean::default(),
            bytes: RunningMean::default(),
            recent: HashMap::new(),
            older: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> PlacementStats<K> {
    /// A task of the context begins at `now`.
    pub fn used(&mut self, context: &K, now: Timestamp) {
        let last = match self.recent.get_mut(context) {
            Some(last) => Some(std::mem::replace(last, now)),
            None => {
                if self.recent.len() >= REMEMBERED {
                    self.older = std::mem::take(&mut self.recent);
                }
                self.recent.insert(context.clone(), now);
                self.older.remove(context)
            }
        };
        if let Some(last) = last {
            self.returns.add(now.since(last).as_secs_f64());
        }
    }

    /// Adds a restore: so many bytes of a context in so many seconds.
    pub fn restored(&mut self, bytes: u64, seconds: f64) {
        self.restore.add(bytes, seconds);
    }

    /// A context has this size.
    pub fn sized(&mut self, bytes: u64) {
        self.bytes.add(bytes as f64);
    }

    /// Returns the mean size of contexts; 0 before the first.
    pub fn mean_bytes(&self) -> u64 {
        self.bytes.get().map_or(0, |mean| mean as u64)
    }

    /// Adds a task: its seconds on the agent, without the restore.
    pub fn served(&mut self, time: Duration) {
        self.service.add(time.as_secs_f64());
    }

    /// Returns what is known now.
    pub fn rates(&self) -> Rates {
        let unknown = Rates::default();
        Rates {
            restore: self.restore.cost(),
            service_s: self.service.get().unwrap_or(unknown.service_s),
            return_s: self.returns.get().unwrap_or(unknown.return_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn rates_come_from_what_happened() {
        let mut pool = PlacementStats::default();
        assert_eq!(pool.rates(), Rates::default());
        for (context, now) in [("a", 0), ("b", 5), ("a", 10), ("b", 35)] {
            pool.used(&context, at(now));
        }
        pool.restored(1_000, 2.0);
        pool.served(Duration::from_secs(4));
        let rates = pool.rates();
        assert_eq!((rates.return_s, rates.service_s, rates.restore.s_per_byte), (20.0, 4.0, 0.002));
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_was_used_last() {
        let mut pool = PlacementStats::default();
        (0..30_000_u32).for_each(|context| pool.used(&context, at(0)));
        assert!(pool.recent.len() + pool.older.len() <= 2 * REMEMBERED);
        pool.used(&29_000, at(7));
        assert_eq!(pool.rates().return_s, 7.0);
    }
}
