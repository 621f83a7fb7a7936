//! Spaces out retries of tasks that crashed before, so that tasks that kill their agents leave most of the agents' time
//! to other tasks.

use std::time::Duration;

use forerunner_core::Timestamp;

/// Retries of crashed tasks may cost one part in this number of the agents' time.
const SHARE: u32 = 8;
/// The longest that a retry is delayed.
const MOST: Duration = Duration::from_secs(30);

/// What a crash costs a pool: one of its agents is missing for one cold start.
#[derive(Debug, Clone, Copy)]
pub(super) struct CrashCost {
    pub(super) cold_start: Duration,
    pub(super) agents: u32,
}

impl CrashCost {
    /// The interval between crashes at which they cost the share exactly.
    fn apart(self) -> Duration {
        self.allowance() / self.agents.max(1)
    }

    /// By how much retries may run ahead of that interval. It allows one crash of each agent at once, since one cause
    /// may kill them all.
    fn allowance(self) -> Duration {
        self.cold_start.saturating_mul(SHARE)
    }
}

/// Schedules the retries of tasks that crashed.
///
/// Each retry reserves the interval in which one crash costs the share. A retry that does not crash returns its
/// reservation. While the reservations stay within the allowance, retries run when they are due: those of a single
/// crash, and of one crash of each agent. This is the generic cell rate algorithm (ITU-T I.371, annex A).
#[derive(Debug, Default)]
pub(super) struct CrashThrottle {
    /// The end of the reserved time.
    booked: Timestamp,
}

impl CrashThrottle {
    /// Returns when to retry a crashed task that is due at `due`: then, or at most `most` later, and never more than 30
    /// s later.
    pub(super) fn retry_at(&mut self, due: Timestamp, most: Duration, cost: CrashCost) -> Timestamp {
        let free = self.booked - cost.allowance();
        // A retry that reached the longest delay reserves nothing.
        let last = due + MOST + cost.allowance() + cost.apart();
        self.booked = (self.booked.max(due) + cost.apart()).min(last);
        free.clamp(due, due + most.min(MOST))
    }

    /// Returns the reservation of a retry that did not crash: the task did not cause the earlier crash.
    pub(super) fn clear(&mut self, cost: CrashCost) {
        self.booked = self.booked - cost.apart();
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
    /// One retry every 400 ms, five at once.
    const COST: CrashCost = CrashCost { cold_start: Duration::from_millis(200), agents: 4 };

    /// By how many milliseconds the retries of `tasks` tasks that crash now are delayed.
    fn put_off(crash_throttle: &mut CrashThrottle, tasks: usize, most: Duration) -> Vec<u128> {
        (0..tasks).map(|_| crash_throttle.retry_at(NOW, most, COST).since(NOW).as_millis()).collect()
    }

    #[test]
    fn a_crash_of_each_agent_is_tried_again_at_once_and_more_are_apart() {
        let mut crash_throttle = CrashThrottle::default();
        assert_eq!(put_off(&mut crash_throttle, 8, MOST), [0, 0, 0, 0, 0, 400, 800, 1_200]);
        let rested = NOW + COST.apart() * 8;
        assert_eq!(crash_throttle.retry_at(rested, MOST, COST), rested, "what was long ago is forgotten");
    }

    #[test]
    fn nobody_waits_longer_than_the_most_and_the_next_ones_not_for_what_was_beyond_it() {
        let mut crash_throttle = CrashThrottle::default();
        let off = put_off(&mut crash_throttle, 1_000, MOST);
        assert_eq!(off.last(), Some(&30_000));
        assert_eq!(crash_throttle.retry_at(NOW, Duration::from_millis(50), COST), NOW + Duration::from_millis(50));
        let later = NOW + MOST + COST.allowance();
        assert_eq!(crash_throttle.retry_at(later, MOST, COST), later);
    }

    #[test]
    fn tasks_that_crash_no_more_leave_their_place_to_others() {
        let mut crash_throttle = CrashThrottle::default();
        for _ in 0..100 {
            assert_eq!(crash_throttle.retry_at(NOW, MOST, COST), NOW);
            crash_throttle.clear(COST);
        }
        assert_eq!(put_off(&mut crash_throttle, 6, MOST)[5], 400, "and no more than their place");
    }

    #[test]
    fn nobody_is_put_off_while_the_cost_is_not_known() {
        let (mut crash_throttle, unknown) =
            (CrashThrottle::default(), CrashCost { cold_start: Duration::ZERO, agents: 0 });
        assert!((0..1_000).all(|_| crash_throttle.retry_at(NOW, MOST, unknown) == NOW));
    }

    /// Crashes in sequence: milliseconds since the crash before, and milliseconds until the task is due.
    fn crashes() -> impl Strategy<Value = Vec<(u64, u64)>> {
        vec((prop_oneof![0..20_u64, 0..2_000_u64, 0..120_000_u64], 0..400_u64), 1..200)
    }

    fn costs() -> impl Strategy<Value = CrashCost> {
        let cost = |(ms, agents)| CrashCost { cold_start: Duration::from_millis(ms), agents };
        (0..20_000_u64, 1..200_u32).prop_map(cost)
    }

    /// For each crash: when the task was due, and when its retry runs.
    fn book(crashes: &[(u64, u64)], cost: CrashCost) -> Vec<(Timestamp, Timestamp)> {
        let (mut crash_throttle, mut now) = (CrashThrottle::default(), NOW);
        let mut book = |&(since, delay): &(u64, u64)| {
            now = now + Duration::from_millis(since);
            let due = now + Duration::from_millis(delay);
            (due, crash_throttle.retry_at(due, MOST, cost))
        };
        crashes.iter().map(&mut book).collect()
    }

    proptest! {
        #[test]
        fn a_crash_that_comes_alone_is_never_put_off(crashes in crashes(), cost in costs()) {
            let booked = book(&crashes, cost);
            let mut last = None::<Timestamp>;
            for (due, at) in booked {
                // After this time earlier crashes no longer count, however many there were.
                if last.is_none_or(|last| due >= last + MOST + cost.allowance()) {
                    prop_assert_eq!(at, due);
                }
                last = last.max(Some(due));
            }
        }

        #[test]
        fn nobody_is_put_off_for_longer_than_the_most(crashes in crashes(), cost in costs()) {
            for (due, at) in book(&crashes, cost) {
                prop_assert!(due <= at && at <= due + MOST, "{due} {at}");
            }
        }

        #[test]
        fn tries_cost_no_more_than_their_share_beside_one_of_each_agent(crashes in crashes(), cost in costs()) {
            let booked = book(&crashes, cost);
            // A retry that has reached the longest delay runs, whatever it costs.
            prop_assume!(booked.iter().all(|(due, at)| *at < *due + MOST));
            let mut tries: Vec<_> = booked.into_iter().map(|(_, at)| at).collect();
            tries.sort_unstable();
            for (first, from) in tries.iter().enumerate() {
                for (last, until) in tries.iter().enumerate().skip(first) {
                    let crashes = (last - first) as f64;
                    let agents_s = until.since(*from).as_secs_f64() * f64::from(cost.agents);
                    let costs_s = crashes * cost.cold_start.as_secs_f64();
                    let at_once_s = f64::from(cost.agents) * cost.cold_start.as_secs_f64();
                    // Times are rounded to whole microseconds: each retry may be one microsecond early.
                    let rounded_s = (crashes + 1.0) * 1e-6 * f64::from(cost.agents);
                    prop_assert!(costs_s <= agents_s / f64::from(SHARE) + at_once_s + rounded_s);
                }
            }
        }
    }
}
