//! Histograms of the time that tasks waited: small enough to store an hour of them, precise enough for percentiles.

use crate::status::WaitSummary;

/// Waits below 2^-13 s (122 µs) count as none: the first class.
const LEAST_EXPONENT: u64 = 1023 - 13;
/// Each doubling has 8 classes, so the middle of a class is within 6 % of all waits in it. The last class begins after
/// five days.
const CLASS_BITS: u32 = 3;
/// Bits of an `f64` below those that select the class: 52 bits of its fraction, less [`CLASS_BITS`].
const REST_BITS: u32 = 52 - CLASS_BITS;
/// The number of classes that a `u8` can name.
const CLASSES: usize = 256;

/// The number of tasks for each class of waits, since the start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WaitTotals(Box<[u64; CLASSES]>);

impl Default for WaitTotals {
    fn default() -> Self {
        Self(Box::new([0; CLASSES]))
    }
}

impl WaitTotals {
    /// Counts the wait of a task that begins now.
    pub(crate) fn note(&mut self, wait_s: f64) {
        self.0[usize::from(class_of(wait_s))] += 1;
    }

    /// Returns the waits since `before`, with the number of late tasks and the longest wait among them.
    pub(crate) fn since(&self, before: &Self, late: u64, greatest_s: f64) -> WaitHistogram {
        let counts = self.0.iter().zip(before.0.iter()).map(|(now, before)| now.saturating_sub(*before));
        let classes = (0..=u8::MAX).zip(counts).filter(|(_, count)| *count > 0);
        let classes = classes.map(|(class, count)| (class, u32::try_from(count).unwrap_or(u32::MAX)));
        WaitHistogram { late, greatest_s, classes: classes.collect() }
    }
}

/// Waits of the tasks that began in some period. Stores at most 256 counts, whatever the number of tasks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct WaitHistogram {
    late: u64,
    greatest_s: f64,
    /// Class and count, in order.
    classes: Vec<(u8, u32)>,
}

impl WaitHistogram {
    /// Counts the wait of a task.
    #[cfg(test)]
    pub(crate) fn note(&mut self, wait_s: f64, late: bool) {
        self.late += u64::from(late);
        self.greatest_s = self.greatest_s.max(wait_s);
        self.add(class_of(wait_s), 1);
    }

    /// Adds the waits of another period.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.late += other.late;
        self.greatest_s = self.greatest_s.max(other.greatest_s);
        for (class, count) in &other.classes {
            self.add(*class, *count);
        }
    }

    fn add(&mut self, class: u8, count: u32) {
        match self.classes.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(place) => self.classes[place].1 = self.classes[place].1.saturating_add(count),
            Err(place) => self.classes.insert(place, (class, count)),
        }
    }

    /// Returns the number of tasks that began.
    pub(crate) fn started(&self) -> u64 {
        self.classes.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// Returns how many of them waited longer than the objective allows.
    pub(crate) const fn late(&self) -> u64 {
        self.late
    }

    /// Summarises the waits; `None` if no task began.
    pub(crate) fn summary(&self) -> Option<WaitSummary> {
        let started = self.started();
        let at = |share: f64| self.at_rank((share * started as f64).ceil().max(1.0) as u64);
        (started > 0).then(|| WaitSummary { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: micros(self.greatest_s) })
    }

    /// The wait of the task at this rank, counted from the shortest wait.
    fn at_rank(&self, rank: u64) -> f64 {
        let mut seen = 0;
        let class = self.classes.iter().find(|(_, count)| {
            seen += u64::from(*count);
            seen >= rank
        });
        // The greatest wait is exact, and no percentile may exceed it.
        micros(class.map_or(self.greatest_s, |(class, _)| middle(*class)).min(self.greatest_s))
    }
}

/// Rounds to microseconds, the precision of the measurement.
fn micros(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

fn class_of(wait_s: f64) -> u8 {
    let first = LEAST_EXPONENT << CLASS_BITS;
    // Positive floats are in the order of their bits.
    let place = (wait_s.max(0.0).to_bits() >> REST_BITS).saturating_sub(first - 1);
    u8::try_from(place).unwrap_or(u8::MAX)
}

fn middle(class: u8) -> f64 {
    let edge = |class: u64| f64::from_bits(((LEAST_EXPONENT << CLASS_BITS) + class) << REST_BITS);
    match u64::from(class) {
        0 => 0.0,
        class => f64::midpoint(edge(class - 1), edge(class)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(of: impl IntoIterator<Item = f64>) -> WaitHistogram {
        let mut waits = WaitHistogram::default();
        for wait_s in of {
            waits.note(wait_s, wait_s > 1.0);
        }
        waits
    }

    #[test]
    fn percentiles_are_within_six_per_cent() {
        for scale in [0.000_3, 0.01, 1.0, 300.0] {
            let found = waits((1..=1_000).map(|i| f64::from(i) * scale)).summary().unwrap();
            for (percentile, rank) in [(found.p50, 500.0), (found.p95, 950.0), (found.p99, 990.0)] {
                let exact = rank * scale;
                assert!((percentile / exact - 1.0).abs() < 0.063, "{percentile} is not about {exact}");
            }
            assert!((found.max - 1_000.0 * scale).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_for_a_class_is_still_counted() {
        let found = waits([-1.0, 0.0, 0.000_1, f64::MAX, f64::NAN]);
        assert_eq!(found.started(), 5);
        assert!(found.classes.len() <= 2, "{found:?}");
        assert_eq!(waits([0.0]).summary().unwrap(), WaitSummary { p50: 0.0, p95: 0.0, p99: 0.0, max: 0.0 });
        assert_eq!(waits([]).summary(), None);
    }

    #[test]
    fn the_difference_of_two_totals_is_what_came_in_between() {
        let mut totals = WaitTotals::default();
        [0.1, 2.0].into_iter().for_each(|wait_s| totals.note(wait_s));
        let before = totals.clone();
        [0.1, 0.2, 3.0].into_iter().for_each(|wait_s| totals.note(wait_s));
        assert_eq!(totals.since(&before, 1, 3.0), waits([0.1, 0.2, 3.0]));
        assert_eq!(totals.since(&totals, 0, 0.0), WaitHistogram::default());
    }

    #[test]
    fn no_percentile_is_above_the_greatest() {
        let one = waits([0.262]).summary().unwrap();
        assert_eq!((one.p99, one.max), (0.262, 0.262));
    }

    #[test]
    fn what_was_counted_apart_adds_up() {
        let mut sum = waits([0.1, 2.0]);
        sum.absorb(&waits([0.1, 0.2, 3.0]));
        assert_eq!(sum, waits([0.1, 0.1, 0.2, 2.0, 3.0]));
        assert_eq!((sum.started(), sum.late()), (5, 2));
    }
}
