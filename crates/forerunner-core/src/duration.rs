//! Durations as people write them: `250ms`, `5s`, `2m`, `1h30m`.

use std::time::Duration;

use serde::{Deserializer, Serializer, de};

use crate::Error;

/// Longest duration that is read: ten years. What is longer does not fit timers, calendars and stores everywhere.
pub const LONGEST_DURATION: Duration = Duration::from_secs(3_650 * 86_400);

/// Units from the largest on, and their nanoseconds.
const UNITS: [(&str, u128); 5] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// Reads a duration such as `250ms`, `1.5s`, `2m`, `1h30m` or `7d`. Each number needs a unit, the largest unit first.
///
/// # Errors
/// [`Error::Setting`] naming the text and the accepted form, or [`LONGEST_DURATION`] when it is longer.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let text = text.trim();
    match sum(text) {
        Some(duration) if duration <= LONGEST_DURATION => Ok(duration),
        Some(_) => Err(refuse(text, format!("use {} (ten years) at most", format_duration(LONGEST_DURATION)))),
        None => Err(refuse(text, "write a number and a unit, such as 250ms, 5s, 2m, 1h30m or 7d".to_owned())),
    }
}

fn refuse(text: &str, rule: String) -> Error {
    Error::Setting { key: "duration", value: text.to_owned(), rule }
}

/// Adds up numbers with units, each unit smaller than the one before. What is too long for a `Duration` is its maximum.
fn sum(text: &str) -> Option<Duration> {
    let (mut total, mut rest, mut units) = (0_u128, text, UNITS.iter());
    loop {
        let (number, behind) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let (unit, left) = behind.split_at(behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len()));
        let (_, nanos) = units.find(|(name, _)| *name == unit)?;
        total = total.saturating_add(times(number.trim(), *nanos)?);
        rest = left.trim_start();
        if rest.is_empty() {
            return Some(from_nanos(total));
        }
    }
}

/// A decimal number times `each`, in whole numbers so that nothing is rounded but what is below one.
fn times(number: &str, each: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if number.len() == number.matches('.').count() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    // A digit as far behind the point as this is less than a nanosecond of a day.
    const DIGITS: usize = 14;
    let fraction = &fraction[..fraction.len().min(DIGITS)];
    let read = |digits: &str| if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u128::MAX) };
    let part = read(fraction).saturating_mul(each) / 10_u128.pow(fraction.len() as u32);
    Some(read(whole).saturating_mul(each).saturating_add(part))
}

fn from_nanos(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    u64::try_from(nanos / SECOND).map_or(Duration::MAX, |seconds| Duration::new(seconds, (nanos % SECOND) as u32))
}

/// Writes a duration in the largest unit that divides it, or in milliseconds with a fraction: the inverse of
/// [`parse_duration`].
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if let Some((unit, each)) = UNITS.iter().find(|(_, each)| nanos.is_multiple_of(*each)) {
        return format!("{}{unit}", nanos / each);
    }
    let fraction = format!("{:06}", nanos % 1_000_000);
    format!("{}.{}ms", nanos / 1_000_000, fraction.trim_end_matches('0'))
}

/// For `#[serde(with = "forerunner_core::human_duration")]`.
pub mod human_duration {
    use super::{Deserializer, Duration, Serializer, de, format_duration, parse_duration};

    /// Writes the text form.
    ///
    /// # Errors
    /// Only those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// When the text is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text: String = serde::Deserialize::deserialize(deserializer)?;
        parse_duration(&text).map_err(de::Error::custom)
    }
}

/// The same for a duration that may be absent.
pub(crate) mod optional_duration {
    use super::{Deserializer, Duration, Serializer, de, format_duration, parse_duration};

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        serde::Serialize::serialize(&duration.map(format_duration), serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = serde::Deserialize::deserialize(deserializer)?;
        text.map(|text| parse_duration(&text).map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_that_was_written_is_read_back_to_the_nanosecond(nanos in 0..=LONGEST_DURATION.as_nanos(), unit in 0..6_usize) {
            // Whole units as well, whose texts are short.
            let each = UNITS.get(unit).map_or(1, |(_, each)| *each);
            let duration = from_nanos(nanos / each * each);
            prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-z. +-]{0,24}") {
            if let Ok(duration) = parse_duration(&text) {
                prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
            }
        }
    }

    #[test]
    fn durations_survive_their_text_form() {
        for text in ["250ms", "5s", "90s", "2m", "1h", "7d", "0s", "1000.5ms", "0.000001ms", "1h30m", "3650d"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration, "{text}");
        }
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(format_duration(Duration::from_micros(1_500)), "1.5ms");
    }

    #[test]
    fn parts_add_up_from_the_largest_unit_on() {
        for (text, seconds) in [("1h30m", 5_400), ("1h 30m", 5_400), ("1d2h3m4s", 93_784), ("1m1000ms", 61)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_the_remedy() {
        for text in [
            "5", "", "s", "-1s", "5 weeks", "nan s", "1e99d", "1h30", "30m1h", "1s1s", "1h-1m", "1h,1m", "٣s", ".s",
            "1.2.3s", "+1s", "1e3s",
        ] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains("250ms, 5s"), "{text}: {error}");
        }
    }

    #[test]
    fn a_duration_beyond_ten_years_is_refused_with_the_bound() {
        for text in ["3651d", "100000000d", "200000000000000d", "99999999999999999999999999999999999999h", "3650d1ms"] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.ends_with("use 3650d (ten years) at most"), "{text}: {error}");
        }
    }
}
