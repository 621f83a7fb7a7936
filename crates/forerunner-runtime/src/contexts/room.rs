//! The bytes of contexts that a pool stores, and whether another context may begin.

use std::sync::atomic::{AtomicU64, Ordering};

use forerunner_core::PoolName;
use forerunner_store::ContextsFull;

/// Measured at intervals, and increased by each commit in between.
#[derive(Debug)]
pub(crate) struct ContextRoom {
    stored: AtomicU64,
    limit_bytes: u64,
}

impl ContextRoom {
    /// Creates a counter without a measurement: nothing is rejected before the first one.
    pub(crate) const fn new(limit_bytes: u64) -> Self {
        Self { stored: AtomicU64::new(0), limit_bytes }
    }

    /// Stores a measurement. Logs when the limit is reached, and when it no longer is.
    pub(crate) fn set_measured(&self, pool: &PoolName, bytes: u64) {
        let before = self.stored.swap(bytes, Ordering::Relaxed);
        self.log_crossing(pool, before, bytes);
    }

    /// Adds what a turn stores. The next measurement subtracts what it replaced.
    pub(crate) fn committed(&self, pool: &PoolName, added: u64) {
        let before = self.stored.fetch_add(added, Ordering::Relaxed);
        self.log_crossing(pool, before, before.saturating_add(added));
    }

    fn log_crossing(&self, pool: &PoolName, before: u64, after: u64) {
        let (limit, is_full) = (self.limit_bytes, after >= self.limit_bytes);
        match is_full {
            _ if is_full == (before >= limit) => {}
            true => tracing::warn!(
                %pool,
                stored_bytes = after,
                limit_bytes = limit,
                "the contexts of the pool are at their limit: no new one may start; delete contexts, set \
                 node.context_retention, or raise contexts.limit_bytes"
            ),
            false => tracing::info!(%pool, stored_bytes = after, limit_bytes = limit, "new contexts may start again"),
        }
    }

    /// The stored bytes and the limit, if no context may begin.
    pub(crate) fn full(&self) -> Option<ContextsFull> {
        let (stored_bytes, limit_bytes) = (self.stored(), self.limit_bytes);
        (stored_bytes >= limit_bytes).then_some(ContextsFull { stored_bytes, limit_bytes })
    }

    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub(crate) const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_context_begins_once_the_limit_is_met() {
        let (room, pool) = (ContextRoom::new(100), PoolName::new("p").unwrap());
        assert_eq!(room.full(), None);
        room.set_measured(&pool, 99);
        assert_eq!(room.full(), None);
        room.set_measured(&pool, 100);
        assert_eq!(room.full(), Some(ContextsFull { stored_bytes: 100, limit_bytes: 100 }));
        room.set_measured(&pool, 10);
        assert_eq!((room.full(), room.stored()), (None, 10));
    }
}
