//! The text of a stored instant. Most texts of a moment share their second: its text is made once.

use std::cell::Cell;

/// Bytes of the longest text: of a year before 0, to the microsecond.
const LONGEST: usize = 40;
/// Digits behind the second, and the `Z`.
const FRACTION: usize = 7;
const SECOND: i64 = 1_000_000;

thread_local! {
    static LAST: Cell<Option<Prefix>> = const { Cell::new(None) };
}

/// The text of a second up to the point, as `2026-11-27T10:00:00.`.
#[derive(Clone, Copy)]
struct Prefix {
    second: i64,
    bytes: [u8; LONGEST],
    length: usize,
}

impl Prefix {
    fn of(second: i64) -> Option<Self> {
        if let Some(last) = LAST.get().filter(|last| last.second == second) {
            return Some(last);
        }
        let text = jiff::Timestamp::from_second(second).ok()?.to_string();
        let text = text.strip_suffix('Z').filter(|text| text.len() + 1 + FRACTION <= LONGEST)?;
        let mut bytes = [b'.'; LONGEST];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let prefix = Self { second, bytes, length: text.len() + 1 };
        LAST.set(Some(prefix));
        Some(prefix)
    }
}

/// An instant in RFC 3339, to the microsecond.
pub(crate) struct TimeText {
    bytes: [u8; LONGEST],
    length: usize,
}

impl TimeText {
    /// Returns the text of so many microseconds since the Unix epoch; none for an instant beyond the calendar.
    pub(crate) fn of(micros: i64) -> Option<Self> {
        // The calendar ends with a fraction of its last second.
        jiff::Timestamp::from_microsecond(micros).ok()?;
        let Prefix { mut bytes, length, .. } = Prefix::of(micros.div_euclid(SECOND))?;
        let mut fraction = micros.rem_euclid(SECOND);
        for digit in bytes[length..length + FRACTION - 1].iter_mut().rev() {
            *digit = b'0' + (fraction % 10) as u8;
            fraction /= 10;
        }
        bytes[length + FRACTION - 1] = b'Z';
        Some(Self { bytes, length: length + FRACTION })
    }

    /// Returns it as text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("digits and signs are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_text_is_that_of_the_calendar(micros in -377_705_116_800_000_000..=253_402_207_200_999_999_i64, step in -2_000_000..2_000_000_i64) {
            for micros in [micros, micros.saturating_add(step)] {
                let expected = jiff::Timestamp::from_microsecond(micros).ok().map(|instant| format!("{instant:.6}"));
                prop_assert_eq!(TimeText::of(micros).map(|text| text.as_str().to_owned()), expected);
            }
        }
    }

    #[test]
    fn an_instant_beyond_the_calendar_has_no_text() {
        assert!(TimeText::of(i64::MAX).is_none() && TimeText::of(i64::MIN).is_none());
    }
}
