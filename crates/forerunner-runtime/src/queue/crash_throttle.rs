//! Tasks that have crashed before: tried apart from each other, so that those that kill their agents leave most of the
//! agents' time to the others.

use std::time::Duration;

use forerunner_core::Timestamp;

/// One part in so many of the agents' time is what tries of tasks that have crashed before may cost.
const SHARE: u32 = 8;
/// Longest that a task is put off.
const MOST: Duration = Duration::from_secs(30);

/// What a crash costs a pool: one of so many agents is away for a cold start.
#[derive(Debug, Clone, Copy)]
pub(super) struct CrashCost {
    pub(super) cold_start: Duration,
    pub(super) agents: u32,
}

impl CrashCost {
    /// How far apart crashes are that cost the share.
    fn apart(self) -> Duration {
        self.circuit() / self.agents.max(1)
    }

    /// How far ahead of that they may be: as many as there are agents, all of which may be killed at once by somebody.
    fn circuit(self) -> Duration {
        self.cold_start.saturating_mul(SHARE)
    }
}

/// Books the times at which tasks that crashed are tried again.
///
/// Each takes up the time in which one crash costs the share, and gives it back if it does not crash again. As long as
/// no more than the allowance is taken up, nobody waits: a crash that comes alone, and one of each agent, is tried
/// again when it is due. This is the generic cell rate algorithm (ITU-T I.371, annex A).
#[derive(Debug, Default)]
pub(super) struct CrashThrottle {
    /// Taken up until then.
    booked: Timestamp,
}

impl CrashThrottle {
    /// When to try a task again that crashed and is due: then, or up to `most` later, half a minute at most.
    pub(super) fn retry_at(&mut self, due: Timestamp, most: Duration, cost: CrashCost) -> Timestamp {
        let free = self.booked - cost.circuit();
        // What had to be put off further than may be takes up nothing.
        let last = due + MOST + cost.circuit() + cost.apart();
        self.booked = (self.booked.max(due) + cost.apart()).min(last);
        free.clamp(due, due + most.min(MOST))
    }

    /// A task that had crashed was tried again and did not crash: it was not to blame.
    pub(super) fn acquit(&mut self, cost: CrashCost) {
        self.booked = self.booked - cost.apart();
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
    /// A try each 400 ms, five at once.
    const COST: CrashCost = CrashCost { cold_start: Duration::from_millis(200), agents: 4 };

    /// How long so many tasks that crash now are put off, in milliseconds.
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
        let later = NOW + MOST + COST.circuit();
        assert_eq!(crash_throttle.retry_at(later, MOST, COST), later);
    }

    #[test]
    fn tasks_that_crash_no_more_leave_their_place_to_others() {
        let mut crash_throttle = CrashThrottle::default();
        for _ in 0..100 {
            assert_eq!(crash_throttle.retry_at(NOW, MOST, COST), NOW);
            crash_throttle.acquit(COST);
        }
        assert_eq!(put_off(&mut crash_throttle, 6, MOST)[5], 400, "and no more than their place");
    }

    #[test]
    fn nobody_is_put_off_while_the_cost_is_not_known() {
        let (mut crash_throttle, unknown) =
            (CrashThrottle::default(), CrashCost { cold_start: Duration::ZERO, agents: 0 });
        assert!((0..1_000).all(|_| crash_throttle.retry_at(NOW, MOST, unknown) == NOW));
    }

    /// Crashes as they come: milliseconds since the one before, and until the task is due.
    fn crashes() -> impl Strategy<Value = Vec<(u64, u64)>> {
        vec((prop_oneof![0..20_u64, 0..2_000_u64, 0..120_000_u64], 0..400_u64), 1..200)
    }

    fn costs() -> impl Strategy<Value = CrashCost> {
        let cost = |(ms, agents)| CrashCost { cold_start: Duration::from_millis(ms), agents };
        (0..20_000_u64, 1..200_u32).prop_map(cost)
    }

    /// When each was due, and when it is to be tried.
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
                // After so long all that went before is forgotten, however much it was.
                if last.is_none_or(|last| due >= last + MOST + cost.circuit()) {
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
            // What is put off for as long as may be comes whatever it costs.
            prop_assume!(booked.iter().all(|(due, at)| *at < *due + MOST));
            let mut tries: Vec<_> = booked.into_iter().map(|(_, at)| at).collect();
            tries.sort_unstable();
            for (first, from) in tries.iter().enumerate() {
                for (last, until) in tries.iter().enumerate().skip(first) {
                    let crashes = (last - first) as f64;
                    let agents_s = until.since(*from).as_secs_f64() * f64::from(cost.agents);
                    let costs_s = crashes * cost.cold_start.as_secs_f64();
                    let at_once_s = f64::from(cost.agents) * cost.cold_start.as_secs_f64();
                    // Times are whole microseconds: as many too early as there are tries.
                    let rounded_s = (crashes + 1.0) * 1e-6 * f64::from(cost.agents);
                    prop_assert!(costs_s <= agents_s / f64::from(SHARE) + at_once_s + rounded_s);
                }
            }
        }
    }
}
