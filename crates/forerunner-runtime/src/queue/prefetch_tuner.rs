//! How much is worth claiming ahead: what the agents of a pool complete while a claim is under way.

use std::time::Duration;

use forerunner_core::Timestamp;

/// Ends that must be known before anything is claimed ahead.
const KNOWN: u32 = 8;
/// Most tasks held for the agents of one pool.
const MOST: f64 = 512.0;
/// Claims that are bridged: one that is under way, and one that waits for the commit before it.
const TRIPS: f64 = 2.0;
/// Most work held, in seconds for each agent: what waits here might be done elsewhere.
const WORK_S: f64 = 0.05;
/// A store that answers sooner, in seconds, is asked when there is need.
const INSTANT_S: f64 = 100e-6;
/// The least that a task takes, with all that is done about it, in seconds.
const OVERHEAD_S: f64 = 20e-6;
/// How long nothing is claimed ahead after a task came that is not to be held.
const QUIET: Duration = Duration::from_secs(30);

/// Watches how long tasks and claims take.
#[derive(Debug, Default)]
pub(super) struct PrefetchTuner {
    ends: u32,
    service_s: f64,
    trip_s: f64,
    /// Agents at work at once, lately.
    agents: f64,
    quiet_until: Option<Timestamp>,
}

impl PrefetchTuner {
    /// An attempt took so long. Longer ones count sooner than shorter ones.
    pub(super) fn ended(&mut self, service_s: f64) {
        let share = if self.ends == 0 {
            1.0
        } else if service_s > self.service_s {
            0.25
        } else {
            0.0625
        };
        self.service_s += (service_s - self.service_s) * share;
        self.ends = self.ends.saturating_add(1);
    }

    /// A claim that brought tasks took so long.
    pub(super) fn claimed(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        let share = if self.trip_s == 0.0 { 1.0 } else { 0.25 };
        self.trip_s += (took - self.trip_s) * share;
    }

    /// So many agents are at work.
    pub(super) fn occupied(&mut self, agents: usize) {
        let agents = agents as f64;
        let share = if agents > self.agents { 1.0 } else { 0.0625 };
        self.agents += (agents - self.agents) * share;
    }

    /// A task came that only an agent should have: with a context, or one that was in a crash.
    pub(super) fn be_quiet(&mut self, now: Timestamp) {
        self.quiet_until = Some(now + QUIET);
    }

    /// Agents did not take what was held for them: what is known of them no longer holds.
    pub(super) fn forget(&mut self) {
        self.ends = 0;
    }

    /// How many tasks to hold.
    pub(super) fn ahead(&self, now: Timestamp) -> usize {
        let quiet = self.quiet_until.is_some_and(|until| now < until);
        if quiet || self.ends < KNOWN || self.trip_s < INSTANT_S {
            return 0;
        }
        let bridged_s = (self.trip_s * TRIPS).min(WORK_S);
        (self.agents * bridged_s / self.service_s.max(OVERHEAD_S)).min(MOST) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn pace(service: Duration, trip: Duration) -> PrefetchTuner {
        let mut pace = PrefetchTuner::default();
        (0..KNOWN).for_each(|_| pace.ended(service.as_secs_f64()));
        pace.claimed(trip);
        pace.occupied(8);
        pace
    }

    #[test]
    fn as_much_is_held_as_is_done_while_a_claim_is_under_way() {
        let (ms, us) = (Duration::from_millis, Duration::from_micros);
        assert_eq!(pace(ms(1), ms(3)).ahead(NOW), 48);
        assert_eq!(pace(us(1), ms(3)).ahead(NOW), 512, "not without bound");
        assert_eq!(pace(ms(100), ms(3)).ahead(NOW), 0, "a long task is claimed by who begins it");
        assert_eq!(pace(ms(20), ms(900)).ahead(NOW), 20, "a slow store does not make a node greedy");
        assert_eq!(pace(us(1), us(5)).ahead(NOW), 0, "a store in memory is asked when there is need");
    }

    #[test]
    fn nothing_is_held_before_the_pace_is_known_or_when_it_no_longer_holds() {
        let ms = Duration::from_millis;
        let mut pace = pace(ms(1), ms(3));
        pace.be_quiet(NOW);
        assert_eq!(pace.ahead(NOW + ms(29_999)), 0);
        assert!(pace.ahead(NOW + ms(30_000)) > 0);
        pace.ended(2.0);
        assert_eq!(pace.ahead(NOW + ms(30_000)), 0, "one long task is enough");
        pace.forget();
        assert_eq!(PrefetchTuner { service_s: 0.001, ..pace }.ahead(NOW + ms(30_000)), 0);
    }
}
