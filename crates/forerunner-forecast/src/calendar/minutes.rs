//! Arrivals by the minute over ten days, a byte each.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::text::{decoded, encoded};
use crate::rate::sane;

/// Seconds in a minute.
pub(super) const MINUTE_S: f64 = 60.0;
/// Minutes in a day.
pub(super) const DAY: u64 = 1_440;
/// Minutes kept: ten days. A week ago has to be compared with the two days before it.
pub(super) const KEPT: usize = 10 * DAY as usize;
/// Seconds of a minute that have to be observed for it to be known.
const KNOWN_S: f64 = 30.0;
/// The code of a minute that no node observed.
const UNKNOWN: u8 = u8::MAX;
/// Counts up to this are kept as they are.
const EXACT: usize = 32;
/// Ratio of each count that can be kept to the one before, beyond that: counts are at most 2.7 % off, below what chance
/// does to them up to 1,300 tasks a minute. The greatest is 4.4 million.
const STEP: f64 = 1.055;
/// Latest minute since the begin that is believed: see [`clean`](crate::predictive::clean).
const LATEST: u64 = 1 << 40;
/// Minutes on either side that a count is averaged with, where they are alike.
const ALIKE_WITHIN: u64 = 3;
/// Standard deviations of a difference of counts up to which they are alike.
pub(super) const ALIKE: f64 = 3.0;

/// The counts that can be kept, by their codes.
const COUNTS: [f64; UNKNOWN as usize] = {
    let mut counts = [0.0; UNKNOWN as usize];
    let mut code = 1;
    while code < counts.len() {
        counts[code] = if code <= EXACT { code as f64 } else { counts[code - 1] * STEP };
        code += 1;
    }
    counts
};

/// A ring of counts. A minute that no node observed is unknown, not zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SavedMinutes", into = "SavedMinutes")]
pub(super) struct Minutes {
    /// Codes of the minutes that are over, the newest last.
    codes: VecDeque<u8>,
    /// The minute under way: its number since the begin.
    current: u64,
    /// Tasks that came in it, and the seconds of it that were observed.
    count: f64,
    observed_s: f64,
}

impl Default for Minutes {
    fn default() -> Self {
        Self { codes: VecDeque::with_capacity(KEPT), current: 0, count: 0.0, observed_s: 0.0 }
    }
}

impl Minutes {
    /// The minute under way.
    pub fn current(&self) -> u64 {
        self.current
    }

    /// Observes that `arrivals` tasks came between `from` and `to`, in seconds since the begin and not before anything
    /// observed so far; evenly, for all that is known.
    pub fn observe(&mut self, from: f64, to: f64, arrivals: f64) {
        let from = from.max(to - KEPT as f64 * MINUTE_S);
        let (first, last) = (minute_of(from), minute_of(to));
        self.close_until(first);
        if to <= from {
            self.count = sane(self.count + arrivals);
            return;
        }
        for minute in first..=last {
            self.close_until(minute);
            let begin = (minute as f64 * MINUTE_S).max(from);
            let seconds = (((minute + 1) as f64) * MINUTE_S).min(to) - begin;
            self.count = sane(self.count + arrivals * seconds / (to - from));
            self.observed_s += seconds;
        }
    }

    fn close_until(&mut self, minute: u64) {
        if minute > self.current + KEPT as u64 {
            self.codes.clear();
            (self.current, self.count, self.observed_s) = (minute, 0.0, 0.0);
        }
        while self.current < minute {
            if self.codes.len() == KEPT {
                self.codes.pop_front();
            }
            let is_known = self.observed_s >= KNOWN_S;
            self.codes.push_back(if is_known { code_of(self.count * MINUTE_S / self.observed_s) } else { UNKNOWN });
            (self.current, self.count, self.observed_s) = (self.current + 1, 0.0, 0.0);
        }
    }

    /// Tasks that came in a minute that is over; `None` if it is unknown.
    pub fn count(&self, minute: u64) -> Option<f64> {
        let back = self.current.checked_sub(minute)? as usize;
        let at = self.codes.len().checked_sub(back)?;
        COUNTS.get(usize::from(*self.codes.get(at)?)).copied()
    }

    /// Tasks a minute around a minute that is over: the mean of its count and those near it that chance alone may have made
    /// different (the sigma filter; Lee 1983, "Digital image smoothing and the sigma filter"). Noise is averaged out, and an
    /// edge stays where it is.
    pub fn level(&self, minute: u64) -> Option<f64> {
        let middle = self.count(minute)?;
        let near = (minute.saturating_sub(ALIKE_WITHIN)..=minute + ALIKE_WITHIN).filter_map(|near| self.count(near));
        let alike = near.filter(|count| !differ(*count, middle));
        let (sum, n) = alike.fold((0.0, 0.0), |(sum, n), count| (sum + count, n + 1.0));
        Some(sum / n)
    }

    /// The greatest level within a minute of one that is over: what comes is seldom on time to the second.
    pub fn peak(&self, minute: u64) -> Option<f64> {
        let middle = self.level(minute)?;
        let sides = [minute.checked_sub(1), Some(minute + 1)].into_iter().flatten();
        Some(sides.filter_map(|side| self.level(side)).fold(middle, f64::max))
    }

    /// Whether this can have come about.
    pub fn is_sound(&self) -> bool {
        self.current <= LATEST
            && self.codes.len() <= KEPT
            && self.codes.len() as u64 <= self.current
            && self.count.is_finite()
            && self.count >= 0.0
            && (0.0..=MINUTE_S + 1.0).contains(&self.observed_s)
    }
}

/// Whether two counts differ by more than chance explains.
pub(super) fn differ(one: f64, other: f64) -> bool {
    (one - other).powi(2) > ALIKE * ALIKE * (one + other)
}

/// The minute that a time falls in.
pub(super) fn minute_of(t: f64) -> u64 {
    (t / MINUTE_S).max(0.0) as u64
}

/// The code of the count nearest to this one.
fn code_of(count: f64) -> u8 {
    let above = COUNTS.partition_point(|kept| *kept < count).min(COUNTS.len() - 1);
    let below = above.saturating_sub(1);
    (if count - COUNTS[below] < COUNTS[above] - count { below } else { above }) as u8
}

/// How minutes are written down.
#[derive(Serialize, Deserialize)]
struct SavedMinutes {
    current: u64,
    count: f64,
    observed_s: f64,
    codes: String,
}

impl From<Minutes> for SavedMinutes {
    fn from(Minutes { codes, current, count, observed_s }: Minutes) -> Self {
        Self { current, count, observed_s, codes: encoded(codes) }
    }
}

impl TryFrom<SavedMinutes> for Minutes {
    type Error = String;

    fn try_from(saved: SavedMinutes) -> Result<Self, String> {
        let SavedMinutes { current, count, observed_s, codes } = saved;
        let codes =
            decoded(&codes, KEPT).ok_or_else(|| format!("`codes` is not text of at most {KEPT} bytes in base64"))?;
        let minutes = Self { codes, current, count, observed_s };
        if minutes.is_sound() {
            Ok(minutes)
        } else {
            Err(format!("no minutes end like this: {current}, {count}, {observed_s}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(minutes: u64, count: impl Fn(u64) -> f64) -> Minutes {
        let mut fed = Minutes::default();
        (0..minutes).for_each(|minute| {
            let from = minute as f64 * MINUTE_S;
            fed.observe(from, from + MINUTE_S, count(minute));
        });
        fed
    }

    #[test]
    fn counts_are_kept_to_a_few_per_cent() {
        for count in [0.0, 1.0, 7.0, 32.0, 33.0, 60.0, 999.0, 12_345.0, 600_000.0, 4e6] {
            let kept = COUNTS[usize::from(code_of(count))];
            assert!((kept - count).abs() <= 0.028 * count, "{count} kept as {kept}");
        }
        assert_eq!(code_of(f64::MAX), UNKNOWN - 1, "the greatest there is");
    }

    #[test]
    fn an_observation_is_spread_over_the_minutes_it_is_about() {
        let mut minutes = Minutes::default();
        minutes.observe(0.0, 90.0, 30.0);
        minutes.observe(90.0, 180.0, 0.0);
        assert_eq!([0, 1, 2, 3].map(|minute| minutes.count(minute)), [Some(20.0), Some(10.0), Some(0.0), None]);
    }

    #[test]
    fn what_nobody_observed_is_unknown() {
        let mut minutes = fed(3, |_| 5.0);
        minutes.observe(20.75 * MINUTE_S, 21.0 * MINUTE_S, 9.0);
        minutes.observe(21.25 * MINUTE_S, 22.0 * MINUTE_S, 9.0);
        assert_eq!([2, 3, 20, 21].map(|minute| minutes.count(minute)), [Some(5.0), None, None, Some(12.0)]);
        minutes.observe(1e9, 1e9 + 1.0, 1.0);
        assert!(minutes.codes.is_empty() && minutes.is_sound(), "the gap is longer than what is kept");
        minutes.observe(1e9, 1e12, 1e300);
        assert!(minutes.codes.len() == KEPT && minutes.is_sound(), "ten days in one go");
    }

    #[test]
    fn chance_is_averaged_out_and_edges_stay() {
        let minutes = fed(30, |minute| if minute < 15 { 8.0 + (minute % 3) as f64 } else { 60.0 });
        assert_eq!(minutes.level(7).map(f64::round), Some(9.0));
        assert_eq!(
            [13, 14, 15].map(|minute| minutes.peak(minute).map(|peak| peak > 50.0)),
            [false, true, true].map(Some)
        );
        assert!(minutes.level(15).is_some_and(|level| (58.0..62.0).contains(&level)));
        let burst = fed(30, |minute| if minute == 15 { 60.0 } else { 1.0 });
        assert!(burst.level(15) > Some(58.0), "a minute by itself is not averaged away");
    }

    #[test]
    fn they_are_written_down_shortly_and_read_back_as_they_were() {
        let mut minutes = fed(KEPT as u64 + 700, |minute| (minute % 977) as f64);
        minutes.observe(minutes.current as f64 * MINUTE_S, minutes.current as f64 * MINUTE_S + 7.0, 3.0);
        let text = serde_json::to_string(&minutes).expect("plain text and numbers");
        assert!(text.len() < 19_500, "{}", text.len());
        assert_eq!(serde_json::from_str::<Minutes>(&text).expect("own output"), minutes);
    }

    #[test]
    fn what_cannot_have_been_written_is_refused() {
        let text = |current: &str, codes: &str| {
            format!(r#"{{"current":{current},"count":1.5,"observed_s":3.0,"codes":"{codes}"}}"#)
        };
        let read = |text: &str| serde_json::from_str::<Minutes>(text);
        assert!(read(&text("9", "AAAA")).is_ok());
        let long = "AAAA".repeat(KEPT);
        for (current, codes) in
            [("2", "AAAA"), ("9", "A"), ("9", "A*AA"), ("18446744073709551615", "AAAA"), ("99999", &long)]
        {
            assert!(read(&text(current, codes)).is_err(), "{current} {codes:.9}");
        }
        for (from, to) in [("3.0", "-1.0"), ("3.0", "1e9"), ("1.5", "-4"), ("1.5", "null")] {
            assert!(read(&text("9", "AAAA").replace(from, to)).is_err(), "{from} as {to}");
        }
    }
}
