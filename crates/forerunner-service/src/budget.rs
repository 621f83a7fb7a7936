//! The memory budget of bodies and answers, over all connections.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::{Gauge, gauge};

use crate::metrics::MEMORY;

/// A budget of bytes. Cloning is cheap, and shares it.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    most: usize,
    used: AtomicUsize,
    gauge: Gauge,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, used: AtomicUsize::new(0), gauge: gauge!(MEMORY) }))
    }

    /// Reserves bytes; `None` if there are not enough left.
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let mut reservation = self.empty();
        reservation.grow(bytes).then_some(reservation)
    }

    /// Begins a reservation that grows.
    pub fn empty(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    /// Returns whether more than half is used: then slow clients delay others.
    pub fn is_tight(&self) -> bool {
        self.0.used.load(Ordering::Relaxed) > self.0.most / 2
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.0.most);
        let taken = self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if taken {
            self.0.gauge.increment(bytes as f64);
        }
        taken
    }
}

/// Bytes that are in use until it is dropped.
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// Reserves more; returns whether there was enough left.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.0.gauge.decrement(self.bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_reserved_up_to_the_limit_and_given_back() {
        let budget = Budget::new(10);
        let mut first = budget.reserve(4).unwrap();
        assert!(!budget.is_tight());
        assert!(first.grow(3) && !first.grow(4) && budget.is_tight());
        assert!(budget.reserve(4).is_none() && budget.reserve(usize::MAX).is_none());
        let second = budget.reserve(3).unwrap();
        drop(first);
        assert!(budget.reserve(8).is_none());
        drop(second);
        assert!(budget.reserve(10).is_some());
    }
}
