//! Clocks, and the ids that are made from them.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;

use forerunner_core::{Clock, NodeId, TaskId, Timestamp};
use forerunner_store::{Store, StoreError};
use tokio::time::Instant;

/// Least step back of a clock that counts: more than clocks are slewed between two checks.
const STEP: Duration = Duration::from_millis(500);
/// 1970-01-01T00:00:00Z: ids of tasks and dates in HTTP cannot be earlier.
const EARLIEST: Timestamp = Timestamp::from_micros(0);
/// 9998-01-01T00:00:00Z: times of tasks end with the year 9999, and there must be time left after now.
const LATEST: Timestamp = Timestamp::from_micros(253_339_228_800_000_000);

/// The operating system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let micros = |span: std::time::Duration| {
            let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
            seconds.saturating_mul(1_000_000).saturating_add(i64::from(span.subsec_micros()))
        };
        Timestamp::from_micros(match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        })
    }
}

/// A wall clock that follows tokio's clock, so that `tokio::time::pause` and `advance` move both.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    begun: Instant,
    epoch: Timestamp,
}

impl VirtualClock {
    /// Creates a clock that shows `epoch` now. Needs a tokio runtime.
    pub fn starting_at(epoch: Timestamp) -> Self {
        Self { begun: Instant::now(), epoch }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.epoch + self.begun.elapsed()
    }
}

/// The clock of the store that nodes share. The nodes agree on the time, whatever their own clocks show, and however
/// those are set meanwhile. Without an answer of the store it is the node's own clock.
pub(crate) struct StoreClock {
    own: Arc<dyn Clock>,
    /// Whether the store has a clock: without one, each reading costs one clock only.
    is_answered: AtomicBool,
    /// The store's last answer, with the time of a monotonic clock.
    answer: RwLock<Option<(Timestamp, Instant)>>,
    /// The last possible time that the node's own clock showed, with the time of a monotonic clock.
    seen: RwLock<(Timestamp, Instant)>,
}

impl StoreClock {
    pub(crate) fn new(own: Arc<dyn Clock>) -> Self {
        let seen = RwLock::new((own.now(), Instant::now()));
        Self { own, is_answered: AtomicBool::new(false), answer: RwLock::new(None), seen }
    }

    /// Why this clock is unusable; `None` if it is usable.
    pub(crate) fn fault(&self) -> Option<String> {
        let now = self.now();
        let years = format!("{EARLIEST} to {LATEST}");
        (!is_possible(now)).then(|| format!("the clock of this machine shows a time outside of {years}; set it"))
    }

    /// Checks whether the node's own clock was set back since the last check. Returns the time, and by how much it was
    /// set back.
    ///
    /// A clock that shows an impossible time is ignored: time then continues from the last check.
    pub(crate) fn check(&self) -> (Timestamp, Option<Duration>) {
        let (now, moment) = (self.own.now(), Instant::now());
        let mut seen = self.seen.write();
        if !is_possible(now) {
            return (expected(*seen, moment), None);
        }
        let back = expected(*seen, moment).since(now);
        *seen = (now, moment);
        (now, (back >= STEP).then_some(back))
    }

    fn own(&self) -> Timestamp {
        let now = self.own.now();
        if is_possible(now) {
            return now;
        }
        expected(*self.seen.read(), Instant::now())
    }

    /// Reads the time of a store.
    pub(crate) async fn synchronise(&self, store: &dyn Store) -> Result<(), StoreError> {
        let asked = Instant::now();
        if let Some(answer) = store.time().await? {
            self.learn(answer, asked, Instant::now());
        }
        Ok(())
    }

    /// Applies an answer that was given at some moment between the two. An answer that is consistent with the current
    /// time changes nothing, so that varying round trips do not move the clock to and fro.
    fn learn(&self, answer: Timestamp, asked: Instant, answered: Instant) {
        let way = answered.saturating_duration_since(asked);
        let known = self.at(answered);
        if !known.is_some_and(|known| (answer..=answer + way).contains(&known)) {
            *self.answer.write() = Some((answer + way / 2, answered));
            self.is_answered.store(true, Ordering::Release);
        }
    }

    fn at(&self, moment: Instant) -> Option<Timestamp> {
        let answer = *self.answer.read();
        answer.map(|(time, at)| time + moment.saturating_duration_since(at))
    }
}

impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        if !self.is_answered.load(Ordering::Acquire) {
            return self.own();
        }
        self.at(Instant::now()).unwrap_or_else(|| self.own())
    }
}

impl fmt::Debug for StoreClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreClock").field("answer", &self.answer).finish_non_exhaustive()
    }
}

fn expected((shown, at): (Timestamp, Instant), moment: Instant) -> Timestamp {
    shown + moment.saturating_duration_since(at)
}

fn is_possible(time: Timestamp) -> bool {
    (EARLIEST..=LATEST).contains(&time)
}

/// Creates task ids that sort in the order of their creation on this node (RFC 9562 §6.2, method 1).
#[derive(Debug)]
pub(crate) struct IdMaker {
    /// Milliseconds of the newest id in the upper 52 bits, its counter in the lower 12.
    newest: AtomicU64,
    random: RandomState,
    /// Random numbers of this process, under which counters become the random parts of ids.
    secret: [u64; 2],
}

impl IdMaker {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        let secret = [random.hash_one(1_u8), random.hash_one(2_u8)];
        Self { newest: AtomicU64::new(0), random, secret }
    }

    pub(crate) fn task(&self, now: Timestamp) -> TaskId {
        let wanted = (now.as_micros().max(0) as u64 / 1_000) << 12;
        let stamp =
            match self.newest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |newest| Some(wanted.max(newest + 1)))
            {
                Ok(newest) | Err(newest) => wanted.max(newest + 1),
            };
        let made_at = Timestamp::from_micros((stamp >> 12) as i64 * 1_000);
        TaskId::from_parts(made_at, u128::from(stamp & 0xfff) << 64 | u128::from(self.scattered(stamp)))
    }

    /// Scatters a counter, one to one, under the numbers of this process (the finaliser of MurmurHash3, twice).
    const fn scattered(&self, counter: u64) -> u64 {
        mixed(mixed(counter ^ self.secret[0]) ^ self.secret[1])
    }

    pub(crate) fn node(&self, now: Timestamp) -> NodeId {
        NodeId::from_parts(now, u128::from(self.random_u64(1)) << 16 | u128::from(self.random_u64(2) & 0xffff))
    }

    /// A number that differs between processes and salts.
    pub(crate) fn random_u64(&self, salt: u64) -> u64 {
        self.random.hash_one((salt, u64::from(std::process::id())))
    }
}

/// Mixes the bits of a number, one to one.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ number >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ number >> 33
}

/// Uniform numbers in [0, 1) for jitter: xorshift64* (Vigna 2016). Jitter needs no better numbers.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    pub(crate) fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_they_were_made_even_when_the_clock_stands_or_steps_back() {
        let maker = IdMaker::new();
        let mut now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut before = maker.task(now);
        for step in 0..10_000 {
            if step == 5_000 {
                now = now - std::time::Duration::from_secs(5);
            }
            let id = maker.task(now);
            assert!(before < id);
            before = id;
        }
    }

    /// A clock that the test sets.
    struct Set(AtomicU64);

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(Ordering::Relaxed) as i64)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_the_store_goes_on_whatever_the_nodes_own_shows() {
        let at = |secs: i64| Timestamp::from_micros(secs * 1_000_000);
        let own = Arc::new(Set(AtomicU64::new(7_000_000)));
        let clock = StoreClock::new(own.clone());
        assert_eq!(clock.now(), at(7), "the store gave no time yet");
        let begun = Instant::now();
        clock.learn(at(1_000), begun, begun);
        own.0.store(90_000_000_000, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), at(1_005));
        let now = Instant::now();
        clock.learn(at(1_004), now - Duration::from_secs(2), now);
        assert_eq!(clock.now(), at(1_005), "it may have been 1004 one of two seconds ago");
        clock.learn(at(1_002), now - Duration::from_secs(2), now);
        assert_eq!(clock.now(), at(1_003), "half of the way ago it was 1002");
        clock.learn(at(2_000), now, now);
        assert_eq!(clock.now(), at(2_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_is_noticed_once_and_one_that_shows_nonsense_is_not_followed() {
        let at = |secs: i64| Timestamp::from_micros(secs * 1_000_000);
        let own = Arc::new(Set(AtomicU64::new(7_000_000_000)));
        let clock = StoreClock::new(own.clone());
        tokio::time::advance(Duration::from_secs(5)).await;
        own.0.store(7_005_000_000, Ordering::Relaxed);
        assert_eq!(clock.check(), (at(7_005), None));
        own.0.store(3_405_000_000, Ordering::Relaxed);
        assert_eq!(clock.check(), (at(3_405), Some(Duration::from_secs(3_600))));
        assert_eq!(clock.check(), (at(3_405), None), "once");
        own.0.store(90_000_000_000, Ordering::Relaxed);
        assert_eq!(clock.check(), (at(90_000), None), "set forward");
        for nonsense in [i64::MAX, -1] {
            own.0.store(nonsense as u64, Ordering::Relaxed);
            tokio::time::advance(Duration::from_secs(5)).await;
            assert_eq!(clock.check().1, None);
            assert!(clock.now() > at(90_000) && clock.now() <= at(90_010) && clock.fault().is_none());
        }
        assert!(StoreClock::new(own).fault().unwrap().contains("1970-01-01T00:00:00"));
    }

    #[test]
    fn jitter_is_spread_over_the_unit_interval() {
        let mut jitter = Jitter::new(7);
        let draws: Vec<f64> = (0..1_000).map(|_| jitter.next()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
