//! Whether claims may have given out leases that never arrived.
//!
//! No index has the node of a lease, so finding all leases of a node in a pool reads all its unfinished tasks. That is
//! done for a while after an operation failed, and now and then in case an answer was lost otherwise.

use std::{collections::HashMap, time::Duration};

use forerunner_core::PoolName;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long after a failure all leases are read, and the longest time between two such reads.
const PERIOD: Duration = Duration::from_secs(60);

/// What failed, and which pools were read, when.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    failed_at: Option<Instant>,
    read_at: HashMap<PoolName, Instant>,
}

impl Unanswered {
    /// Records that an operation got no answer, or that a lease was found whose claim got none.
    pub fn note(&self, now: Instant) {
        self.0.lock().failed_at = Some(now);
    }

    /// Whether all leases in a pool are to be read.
    pub fn may_be_some(&self, pool: &PoolName, now: Instant) -> bool {
        let is_past = |at: Option<&Instant>| at.is_none_or(|at| now.duration_since(*at) >= PERIOD);
        let mut times = self.0.lock();
        if is_past(times.failed_at.as_ref()) && !is_past(times.read_at.get(pool)) {
            return false;
        }
        times.read_at.insert(pool.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_read_at_first_then_once_a_period_and_all_the_time_after_a_failure() {
        let (unanswered, pool, begun) = (Unanswered::default(), PoolName::new("coder").unwrap(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let is_read = |seconds| unanswered.may_be_some(&pool, at(seconds));
        assert_eq!([0, 5, 59, 60, 65].map(is_read), [true, false, false, true, false]);
        unanswered.note(at(70));
        assert_eq!([75, 80, 129, 130].map(is_read), [true, true, true, false]);
    }
}
