//! How many tasks are worth prefetching: as many as the agents of a pool complete while a claim is in flight.

use std::time::Duration;

use forerunner_core::Timestamp;

/// Number of attempts that must have ended before tasks are prefetched.
const KNOWN: u32 = 8;
/// Most prefetched tasks of one pool.
const MOST: f64 = 512.0;
/// Claims to bridge: one in flight, and one that waits for the commit before it.
const TRIPS: f64 = 2.0;
/// Most prefetched work, in seconds for each agent: another node might do it sooner.
const WORK_S: f64 = 0.05;
/// A store that answers faster than this, in seconds, needs no prefetch.
const INSTANT_S: f64 = 100e-6;
/// The least time that a task costs with its overhead, in seconds.
const OVERHEAD_S: f64 = 20e-6;
/// Pause of the prefetch after a task that must not be prefetched.
const PAUSE: Duration = Duration::from_secs(30);

/// Measures how long tasks and claims take.
#[derive(Debug, Default)]
pub(super) struct PrefetchTuner {
    ends: u32,
    service_s: f64,
    trip_s: f64,
    /// Agents at work at the same time, recently.
    agents: f64,
    paused_until: Option<Timestamp>,
}

impl PrefetchTuner {
    /// Adds the duration of an attempt. Longer attempts raise the average faster than shorter ones lower it.
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

    /// Adds the duration of a claim that returned tasks.
    pub(super) fn claimed(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        let share = if self.trip_s == 0.0 { 1.0 } else { 0.25 };
        self.trip_s += (took - self.trip_s) * share;
    }

    /// Notes how many agents are at work.
    pub(super) fn occupied(&mut self, agents: usize) {
        let agents = agents as f64;
        let share = if agents > self.agents { 1.0 } else { 0.0625 };
        self.agents += (agents - self.agents) * share;
    }

    /// Pauses the prefetch: a task appeared that must not be prefetched, with a context or after a crash.
    pub(super) fn pause(&mut self, now: Timestamp) {
        self.paused_until = Some(now + PAUSE);
    }

    /// Discards the measurements: no agent was free for the prefetched tasks, so the measured tuner is outdated.
    pub(super) fn reset(&mut self) {
        self.ends = 0;
    }

    /// The number of tasks to prefetch.
    pub(super) fn limit(&self, now: Timestamp) -> usize {
        let paused = self.paused_until.is_some_and(|until| now < until);
        if paused || self.ends < KNOWN || self.trip_s < INSTANT_S {
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

    fn tuner(service: Duration, trip: Duration) -> PrefetchTuner {
        let mut tuner = PrefetchTuner::default();
        (0..KNOWN).for_each(|_| tuner.ended(service.as_secs_f64()));
        tuner.claimed(trip);
        tuner.occupied(8);
        tuner
    }

    #[test]
    fn as_much_is_held_as_is_done_while_a_claim_is_under_way() {
        let (ms, us) = (Duration::from_millis, Duration::from_micros);
        assert_eq!(tuner(ms(1), ms(3)).limit(NOW), 48);
        assert_eq!(tuner(us(1), ms(3)).limit(NOW), 512, "not without bound");
        assert_eq!(tuner(ms(100), ms(3)).limit(NOW), 0, "a long task is claimed by who begins it");
        assert_eq!(tuner(ms(20), ms(900)).limit(NOW), 20, "a slow store does not make a node greedy");
        assert_eq!(tuner(us(1), us(5)).limit(NOW), 0, "a store in memory is asked when there is need");
    }

    #[test]
    fn nothing_is_held_before_the_pace_is_known_or_when_it_no_longer_holds() {
        let ms = Duration::from_millis;
        let mut tuner = tuner(ms(1), ms(3));
        tuner.pause(NOW);
        assert_eq!(tuner.limit(NOW + ms(29_999)), 0);
        assert!(tuner.limit(NOW + ms(30_000)) > 0);
        tuner.ended(2.0);
        assert_eq!(tuner.limit(NOW + ms(30_000)), 0, "one long task is enough");
        tuner.reset();
        assert_eq!(PrefetchTuner { service_s: 0.001, ..tuner }.limit(NOW + ms(30_000)), 0);
    }
}
