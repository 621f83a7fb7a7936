//! When the command of a provisioner runs, and for how many agents.

use std::{collections::VecDeque, time::Duration};

use forerunner_core::Backoff;
use tokio::time::Instant;

use super::ProvisionerSpec;

/// The pause after the first failure in a row.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// Decides when to run the command of a pool's provisioner. It reads no clock and starts nothing.
///
/// - More agents are asked for at once, fewer after `scale_down_delay`: the number is the highest that the pool wanted in
///   this time.
/// - One run at a time. After a failure the pause doubles, from 1 s to `max_backoff`: a circuit that opens at the first
///   failure, with one probe at a time.
#[derive(Debug, Clone)]
pub struct ProvisionPlan {
    scale_down_delay: Duration,
    repeat: Duration,
    backoff: Backoff,
    /// What the pool wanted: falling numbers, each with the time when it was wanted last.
    wanted: VecDeque<(u32, Instant)>,
    /// The number of the newest run that succeeded.
    applied: Option<u32>,
    failures: u32,
    is_running: bool,
    /// Not before this time, unless the number changes after a success.
    next_at: Option<Instant>,
}

impl ProvisionPlan {
    /// Begins with `agents` that are there already: a node that has just become the leader stops none at once.
    pub fn new(spec: &ProvisionerSpec, agents: u32, now: Instant) -> Self {
        Self {
            scale_down_delay: spec.scale_down_delay,
            repeat: spec.repeat,
            backoff: Backoff { initial: FIRST_BACKOFF, max: spec.max_backoff },
            wanted: VecDeque::from([(agents, now)]),
            applied: None,
            failures: 0,
            is_running: false,
            next_at: None,
        }
    }

    /// Takes what the pool wants now. Returns the number to run the command with, if it is to run now; then
    /// [`ProvisionPlan::ended`] follows.
    pub fn next_run(&mut self, wanted: u32, now: Instant) -> Option<u32> {
        let number = self.highest_wanted(wanted, now);
        let is_early = self.next_at.is_some_and(|at| now < at);
        let has_changed = self.failures == 0 && self.applied != Some(number);
        if self.is_running || (is_early && !has_changed) {
            return None;
        }
        self.is_running = true;
        Some(number)
    }

    /// The run for `number` agents has ended. Returns the pause before the next try if it has failed.
    pub fn ended(&mut self, number: u32, has_succeeded: bool, now: Instant) -> Option<Duration> {
        self.is_running = false;
        if has_succeeded {
            (self.applied, self.failures) = (Some(number), 0);
            self.next_at = now.checked_add(self.repeat);
            return None;
        }
        let pause = self.backoff.after(self.failures);
        self.failures += 1;
        self.next_at = now.checked_add(pause);
        Some(pause)
    }

    /// Returns how many runs in a row have failed.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The highest number of the last `scale_down_delay`.
    fn highest_wanted(&mut self, wanted: u32, now: Instant) -> u32 {
        while self.wanted.back().is_some_and(|&(lower, _)| lower <= wanted) {
            self.wanted.pop_back();
        }
        self.wanted.push_back((wanted, now));
        let is_old = |at: Instant| now.saturating_duration_since(at) >= self.scale_down_delay;
        while self.wanted.len() > 1 && self.wanted.front().is_some_and(|&(_, at)| is_old(at)) {
            self.wanted.pop_front();
        }
        self.wanted.front().map_or(wanted, |&(number, _)| number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(agents: u32, now: Instant) -> ProvisionPlan {
        ProvisionPlan::new(&ProvisionerSpec::default(), agents, now)
    }

    fn after(begun: Instant, secs: u64) -> Instant {
        begun + Duration::from_secs(secs)
    }

    #[test]
    fn more_agents_are_asked_for_at_once_and_fewer_after_the_delay() {
        let begun = Instant::now();
        let mut plan = plan(0, begun);
        assert_eq!(plan.next_run(3, begun), Some(3));
        assert_eq!(plan.next_run(5, after(begun, 1)), None, "one run at a time");
        assert_eq!(plan.ended(3, true, after(begun, 1)), None);
        assert_eq!(plan.next_run(5, after(begun, 2)), Some(5));
        plan.ended(5, true, after(begun, 2));
        assert_eq!(plan.next_run(5, after(begun, 3)), None, "nothing has changed");
        assert_eq!(plan.next_run(2, after(begun, 4)), None, "the delay has only begun");
        assert_eq!(plan.next_run(1, after(begun, 62)), None, "5 were wanted 59 s ago");
        assert_eq!(plan.next_run(1, after(begun, 63)), Some(2), "2 were wanted 59 s ago");
        plan.ended(2, true, after(begun, 63));
        assert_eq!(plan.next_run(1, after(begun, 64)), Some(1));
    }

    #[test]
    fn a_new_leader_stops_no_agents_that_are_there() {
        let begun = Instant::now();
        let mut plan = plan(8, begun);
        assert_eq!(plan.next_run(2, begun), Some(8), "the other system may have forgotten them");
        plan.ended(8, true, begun);
        assert_eq!(plan.next_run(2, after(begun, 59)), None);
        assert_eq!(plan.next_run(2, after(begun, 60)), Some(2));
    }

    #[test]
    fn pauses_after_failures_double_up_to_a_bound_and_end_with_a_success() {
        let begun = Instant::now();
        let (mut plan, mut now, mut pauses) = (plan(0, begun), begun, Vec::new());
        for number in 1..=8 {
            assert_eq!(plan.next_run(number, now), Some(number));
            let pause = plan.ended(number, false, now).expect("it failed");
            let early = now + pause.checked_sub(Duration::from_millis(1)).unwrap();
            assert_eq!(plan.next_run(number + 1, early), None, "another number does not end the pause");
            now += pause;
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(plan.failures(), 8);
        assert_eq!(plan.next_run(9, now), Some(9));
        plan.ended(9, true, now);
        assert_eq!((plan.failures(), plan.next_run(10, now)), (0, Some(10)));
    }

    #[test]
    fn the_command_is_repeated_although_nothing_has_changed() {
        let begun = Instant::now();
        let mut plan = plan(0, begun);
        plan.next_run(3, begun);
        plan.ended(3, true, begun);
        assert_eq!(plan.next_run(3, after(begun, 299)), None);
        assert_eq!(plan.next_run(3, after(begun, 300)), Some(3));
    }

    proptest! {
        /// The number is what the pool wants at the highest within the delay, so never below what it wants now.
        #[test]
        fn the_number_is_the_highest_wanted_within_the_delay(wanted in prop::collection::vec((0_u32..50, 0_u64..30), 1..80)) {
            let begun = Instant::now();
            let mut plan = plan(0, begun);
            let (mut now, mut seen, mut applied) = (begun, Vec::new(), None);
            for (number, pause) in wanted {
                now += Duration::from_secs(pause);
                seen.push((number, now));
                let run = plan.next_run(number, now);
                let delay = Duration::from_secs(60);
                let expected = seen.iter().filter(|(_, at)| now - *at < delay).map(|(number, _)| *number).max();
                if let Some(run) = run {
                    prop_assert_eq!(Some(run), expected);
                    plan.ended(run, true, now);
                    applied = Some(run);
                }
                prop_assert_eq!(applied, expected, "what was asked for is what is wanted");
            }
        }
    }
}
