//! How many agents should start at the same time.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Rounds that are known of each level.
const ROUNDS: usize = 8;
/// Levels of concurrency: each reaches twice as far as the one before.
const LEVELS: usize = 18;
/// What is older is forgotten, so that the pool tries again whether more starts at once have become faster.
const MEMORY: Duration = Duration::from_secs(3_600);
/// A round without end is cut after this time.
const LONGEST_ROUND: Duration = Duration::from_secs(60);
/// Starts that must be measured where few start at once, and where many do.
const MEASURED_FEW: u32 = 2;
const MEASURED_MANY: u32 = 4;
/// Starts slow each other where they take this many times as long as a few do.
const SLOWED: f64 = 2.0;
/// Starts faster than this, in seconds, are not worth waiting for each other.
const WORTH_WAITING_S: f64 = 0.1;

/// Learns how many agents should start at the same time.
///
/// Agents that start together slow each other where a processor, a disk or a service is the bottleneck. A *round* lasts from the
/// first start until nothing starts any more. It yields the mean number of starts at once, the mean time of a start, and so
/// their rate (Little 1961). By the same law no more starts are needed at once than the greatest rate times the time of a start
/// that nothing slows: with more of them no agent is ready sooner, and the first ones are ready later.
#[derive(Debug, Clone)]
pub struct StartConcurrency {
    most: u32,
    fixed: Option<u32>,
    /// Seconds of starting agents, summed, in all rounds before this one.
    earlier_s: f64,
    round: Round,
    levels: [VecDeque<Round>; LEVELS],
    limit: u32,
}

/// Starts between two moments at which nothing starts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Round {
    began: Timestamp,
    /// When `starting` last changed.
    last: Timestamp,
    starting: u32,
    /// Seconds of starting agents, summed.
    agent_s: f64,
    started: u32,
    /// Whether an agent failed, or was stopped, before it had started.
    is_spoiled: bool,
}

impl Round {
    fn seconds(&self) -> f64 {
        self.last.since(self.began).as_secs_f64()
    }
}

/// The starts of a pool's agents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartStatus {
    /// Most agents that may start at the same time on this node.
    pub at_once: u32,
    /// Whether that was learned from starts that slow each other.
    pub is_learned: bool,
    /// How long starts took, by how many there were at once, rising; of the last hour.
    pub measured: Vec<MeasuredStarts>,
}

/// How long agents took to start while so many started at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MeasuredStarts {
    /// Starts at once, on average.
    pub at_once: f64,
    /// Mean seconds of a start.
    pub seconds: f64,
    /// Number of starts.
    pub starts: u32,
}

impl StartConcurrency {
    /// Begins with `fixed`, or else with `most` until starts have shown that they slow each other; never more than `most`.
    pub fn new(most: u32, fixed: Option<u32>) -> Self {
        let (most, fixed) = (most.max(1), fixed.map(|fixed| fixed.clamp(1, most.max(1))));
        let levels = std::array::from_fn(|_| VecDeque::new());
        Self { most, fixed, earlier_s: 0.0, round: Round::default(), levels, limit: fixed.unwrap_or(most) }
    }

    /// Returns how many agents may start at the same time.
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns the seconds of starting agents, summed, until `now`.
    pub(super) fn agent_seconds(&self, now: Timestamp) -> f64 {
        let since_s = now.since(self.round.last).as_secs_f64();
        self.earlier_s + self.round.agent_s + since_s * f64::from(self.round.starting)
    }

    /// Notes that an agent has started.
    pub(super) fn started(&mut self) {
        self.round.started += 1;
    }

    /// Notes that an agent failed or was stopped before it had started: the round says nothing.
    pub(super) fn spoil(&mut self) {
        self.round.is_spoiled = true;
    }

    /// Notes how many agents start from `now` on.
    pub(super) fn observe(&mut self, starting: u32, now: Timestamp) {
        if starting == 0 && self.round.starting == 0 {
            return;
        }
        if self.round.starting == 0 {
            self.round = Round { began: now, ..Round::default() };
        } else {
            self.round.agent_s += now.since(self.round.last).as_secs_f64() * f64::from(self.round.starting);
        }
        (self.round.last, self.round.starting) = (now, starting);
        let is_long = now.since(self.round.began) >= LONGEST_ROUND && self.round.started >= MEASURED_MANY;
        if starting == 0 || is_long {
            self.earlier_s += self.round.agent_s;
            let round =
                std::mem::replace(&mut self.round, Round { began: now, last: now, starting, ..Round::default() });
            self.learn(round, now);
        }
    }

    fn learn(&mut self, round: Round, now: Timestamp) {
        if round.is_spoiled || round.started == 0 || round.seconds() <= 0.0 {
            return;
        }
        let level = &mut self.levels[level_of(round.agent_s / round.seconds())];
        level.push_back(round);
        if level.len() > ROUNDS {
            level.pop_front();
        }
        self.forget(now);
    }

    /// Forgets what is old, and sets the limit anew.
    pub(super) fn forget(&mut self, now: Timestamp) {
        for level in &mut self.levels {
            level.retain(|round| now.since(round.last) < MEMORY);
        }
        self.limit = self.fixed.or_else(|| self.learned()).unwrap_or(self.most).min(self.most);
    }

    /// The limit by what was measured; `None` while starts do not slow each other.
    fn learned(&self) -> Option<u32> {
        let measured = || self.levels.iter().filter_map(measured_in);
        let alone = measured().find(|few| few.starts >= MEASURED_FEW)?;
        let many = || measured().filter(|many| many.starts >= MEASURED_MANY);
        let crowded = many().next_back()?;
        if crowded.seconds < (SLOWED * alone.seconds).max(WORTH_WAITING_S) {
            return None;
        }
        let greatest_rate = many().map(|many| many.at_once / many.seconds).fold(0.0, f64::max);
        // What is a little above a whole number is that number, measured.
        Some(((greatest_rate * alone.seconds - 0.25).ceil() as u32).max(1))
    }

    /// Returns the limit, and what it follows from.
    pub fn status(&self) -> StartStatus {
        StartStatus {
            at_once: self.limit,
            is_learned: self.fixed.is_none() && self.limit < self.most,
            measured: self.levels.iter().filter_map(measured_in).collect(),
        }
    }
}

fn level_of(at_once: f64) -> usize {
    // From 0.75 to 1.5 at once, to 3, to 6, and so on.
    let level = (at_once / 0.75).max(1.0).log2();
    (level as usize).min(LEVELS - 1)
}

fn measured_in(level: &VecDeque<Round>) -> Option<MeasuredStarts> {
    let starts: u32 = level.iter().map(|round| round.started).sum();
    let agent_s: f64 = level.iter().map(|round| round.agent_s).sum();
    let seconds: f64 = level.iter().map(Round::seconds).sum();
    (starts > 0 && agent_s > 0.0).then(|| MeasuredStarts {
        at_once: agent_s / seconds,
        seconds: agent_s / f64::from(starts),
        starts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts on so many cores, each `alone_s` of a core: they share them evenly.
    struct Cores {
        cores: f64,
        alone_s: f64,
    }

    impl Cores {
        /// Starts `agents`, at most the limit at once, from `now` on; returns when the last one is ready.
        fn start(&self, pace: &mut StartConcurrency, agents: u32, now: Timestamp) -> Timestamp {
            let (mut left, mut at) = (agents, now);
            while left > 0 {
                let at_once = left.min(pace.limit());
                pace.observe(at_once, at);
                let slowed = (f64::from(at_once) / self.cores).max(1.0);
                at = at + Duration::from_secs_f64(self.alone_s * slowed);
                (0..at_once).for_each(|_| pace.started());
                left -= at_once;
                if left > 0 {
                    pace.observe(left.min(pace.limit()), at);
                }
            }
            pace.observe(0, at);
            at + Duration::from_secs(10)
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn starts_that_share_cores_are_limited_to_the_cores() {
        for cores in [1, 2, 5, 8] {
            let host = Cores { cores: f64::from(cores), alone_s: 3.0 };
            let mut pace = StartConcurrency::new(32, None);
            let mut now = host.start(&mut pace, 32, at(0));
            assert_eq!(pace.limit(), 32, "nothing to compare with yet");
            for _ in 0..2 {
                now = host.start(&mut pace, 1, now);
            }
            assert_eq!((pace.limit(), pace.status().is_learned), (cores, true), "{:?}", pace.status());
            // The same under the limit: it stays.
            now = host.start(&mut pace, 20, now);
            assert_eq!(pace.limit(), cores, "{:?}", pace.status());
            let limit = pace.status().measured.into_iter().map(|starts| starts.seconds).fold(0.0, f64::max);
            assert!(limit >= 3.0 * 32.0 / f64::from(cores) - 1e-6, "{limit}");
            assert!(now > at(0));
        }
    }

    #[test]
    fn starts_one_after_another_are_limited_to_one() {
        let mut pace = StartConcurrency::new(32, None);
        let mut now = at(0);
        // Ten at once, of which one is ready each second: a lock.
        for left in (0..=10).rev() {
            pace.observe(left, now);
            if left > 0 {
                pace.started();
                now = now + Duration::from_secs(1);
            }
        }
        for _ in 0..2 {
            now = Cores { cores: 1.0, alone_s: 1.0 }.start(&mut pace, 1, now + Duration::from_secs(5));
        }
        assert_eq!(pace.limit(), 1, "{:?}", pace.status());
    }

    #[test]
    fn starts_that_do_not_slow_each_other_have_no_limit_but_the_greatest() {
        let host = Cores { cores: 1_000.0, alone_s: 3.0 };
        let mut pace = StartConcurrency::new(32, None);
        let mut now = at(0);
        for agents in [1, 32, 1, 5, 1, 17, 32] {
            now = host.start(&mut pace, agents, now);
            assert_eq!((pace.limit(), pace.status().is_learned), (32, false));
        }
    }

    #[test]
    fn starts_of_milliseconds_are_never_limited() {
        let host = Cores { cores: 1.0, alone_s: 0.002 };
        let mut pace = StartConcurrency::new(32, None);
        let mut now = at(0);
        for agents in [32, 1, 1, 32] {
            now = host.start(&mut pace, agents, now);
        }
        assert_eq!(pace.limit(), 32, "{:?}", pace.status());
    }

    #[test]
    fn what_was_learned_is_forgotten_after_an_hour_so_that_more_are_tried_again() {
        let host = Cores { cores: 2.0, alone_s: 3.0 };
        let mut pace = StartConcurrency::new(32, None);
        let mut now = host.start(&mut pace, 32, at(0));
        for _ in 0..2 {
            now = host.start(&mut pace, 1, now);
        }
        assert_eq!(pace.limit(), 2);
        pace.forget(now + MEMORY);
        assert_eq!(pace.limit(), 32);
    }

    #[test]
    fn a_round_in_which_a_start_failed_says_nothing_and_a_fixed_number_stays() {
        let host = Cores { cores: 1.0, alone_s: 3.0 };
        let mut pace = StartConcurrency::new(32, None);
        let mut now = host.start(&mut pace, 1, at(0));
        now = host.start(&mut pace, 1, now);
        pace.observe(32, now);
        pace.spoil();
        now = host.start(&mut pace, 32, now);
        assert_eq!(pace.limit(), 32, "{:?}", pace.status());
        let mut fixed = StartConcurrency::new(32, Some(4));
        for agents in [1, 1, 32] {
            now = host.start(&mut fixed, agents, now);
        }
        assert_eq!((fixed.limit(), fixed.status().is_learned), (4, false));
        assert_eq!(StartConcurrency::new(8, Some(0)).limit(), 1);
        assert_eq!(StartConcurrency::new(8, Some(40)).limit(), 8);
    }
}
