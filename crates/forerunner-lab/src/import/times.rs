//! Times and durations as logs write them.

use jiff::{SignedDuration, Timestamp, civil::DateTime, fmt::strtime, tz::TimeZone};

/// Longest span and longest duration, in seconds: a leap year.
pub const MOST_S: f64 = 366.0 * 86_400.0;
/// Epoch seconds that count as times: the years 2000 to 2099.
const EPOCH_S: std::ops::Range<f64> = 946_684_800.0..4_102_444_800.0;

/// The unit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Thousandths.
    Millis,
    /// Millionths.
    Micros,
    /// Billionths.
    Nanos,
}

impl Unit {
    const ALL: [Self; 4] = [Self::Seconds, Self::Millis, Self::Micros, Self::Nanos];

    /// Reads a unit.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "s" => Some(Self::Seconds),
            "ms" => Some(Self::Millis),
            "us" | "µs" | "μs" => Some(Self::Micros),
            "ns" => Some(Self::Nanos),
            _ => None,
        }
    }

    /// The unit that the name of a column ends in, such as `took_ms` or `durationMs`.
    pub fn of_column(name: &str) -> Option<Self> {
        let endings = [
            (Self::Millis, &["_ms", "Ms", "_millis", "Millis", "_msec", "_milliseconds"][..]),
            (Self::Micros, &["_us", "_micros", "Micros", "_usec", "_microseconds"]),
            (Self::Nanos, &["_ns", "_nanos", "Nanos", "Nano", "_nanoseconds"]),
            (Self::Seconds, &["_s", "_sec", "_secs", "_seconds"]),
        ];
        let is_named = |(_, endings): &(Self, &[&str])| endings.iter().any(|ending| name.ends_with(ending));
        endings.into_iter().find(is_named).map(|(unit, _)| unit).or_else(|| Self::named(name))
    }

    /// Units of this size in a second.
    const fn in_second(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Millis => 1e3,
            Self::Micros => 1e6,
            Self::Nanos => 1e9,
        }
    }

    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Millis => "milliseconds",
            Self::Micros => "microseconds",
            Self::Nanos => "nanoseconds",
        }
    }
}

/// How a time was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// Seconds, or parts of them, from a begin that the recording does not name.
    Relative(Unit),
    /// From 1970 on.
    Epoch(Unit),
    /// ISO 8601, or the date of an access log.
    Date,
    /// A date without a zone, which counts as UTC.
    LocalDate,
}

impl Notation {
    /// Describes it for people.
    pub fn describe(self) -> String {
        match self {
            Self::Relative(unit) => format!("{} from the begin", unit.as_str()),
            Self::Epoch(unit) => format!("epoch {}", unit.as_str()),
            Self::Date => "dates".to_owned(),
            Self::LocalDate => "dates without a zone, taken for UTC".to_owned(),
        }
    }
}

/// A time in seconds: from 1970 on, or from a begin that the recording does not name. The two never overlap.
pub type Seconds = f64;

/// Whether a time is one of the calendar.
pub fn is_epoch(time: Seconds) -> bool {
    EPOCH_S.contains(&time)
}

/// Reads a time. The size of a number shows its unit, unless one is given.
pub fn time(text: &str, unit: Option<Unit>) -> Option<(Seconds, Notation)> {
    let Some(number) = number(text) else { return date(text) };
    let read = |unit: Unit| {
        // Epoch nanoseconds have more digits than a number of this kind: a fraction of a microsecond is noise.
        let seconds = (number / unit.in_second() * 1e6).round() / 1e6;
        match () {
            () if EPOCH_S.contains(&seconds) => Some((seconds, Notation::Epoch(unit))),
            () if (0.0..=MOST_S).contains(&seconds) => Some((seconds, Notation::Relative(unit))),
            () => None,
        }
    };
    match unit {
        Some(unit) => read(unit),
        // The ranges of the units do not overlap: a thousand years are between the end of one and the begin of the next.
        None => {
            let epoch = Unit::ALL.into_iter().filter_map(read).find(|(_, how)| matches!(how, Notation::Epoch(_)));
            epoch.or_else(|| read(Unit::Seconds))
        }
    }
}

/// Reads a duration: a number with or without a unit.
pub fn duration(text: &str, unit: Option<Unit>) -> Option<f64> {
    let seconds = match number(text) {
        Some(number) => number / unit.unwrap_or(Unit::Seconds).in_second(),
        None => match forerunner_core::parse_duration(text) {
            Ok(duration) => duration.as_secs_f64(),
            Err(_) => text.parse::<SignedDuration>().ok()?.as_secs_f64(),
        },
    };
    (0.0..=MOST_S).contains(&seconds).then_some(seconds)
}

/// Writes a time of the calendar for people.
pub fn show(time: Seconds) -> String {
    let micros = (time * 1e6).round() as i64;
    Timestamp::from_microsecond(micros).map_or_else(|_| format!("{time}"), |at| format!("{at:.0}"))
}

/// A decimal number. `NaN`, `inf` and hexadecimal are none.
fn number(text: &str) -> Option<f64> {
    let is_decimal = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    (has_digit && text.bytes().all(is_decimal)).then(|| text.parse().ok()).flatten()
}

fn date(text: &str) -> Option<(Seconds, Notation)> {
    // The parsers are meant for short texts, and a cell may be megabytes.
    let text = Some(text).filter(|text| text.len() <= 64)?;
    let seconds = |at: Timestamp| at.as_microsecond() as f64 / 1e6;
    let (at, how) = if let Ok(at) = text.parse::<Timestamp>() {
        (seconds(at), Notation::Date)
    } else if let Ok(local) = text.parse::<DateTime>() {
        (seconds(TimeZone::UTC.to_timestamp(local).ok()?), Notation::LocalDate)
    } else {
        let parsed = strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).ok()?;
        (seconds(parsed.to_timestamp().ok()?), Notation::Date)
    };
    EPOCH_S.contains(&at).then_some((at, how))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_number_shows_its_unit() {
        let at = 1_700_000_000.25;
        for (text, how) in [
            ("1700000000.25", Notation::Epoch(Unit::Seconds)),
            ("1700000000250", Notation::Epoch(Unit::Millis)),
            ("1700000000250000", Notation::Epoch(Unit::Micros)),
            ("1700000000250000000", Notation::Epoch(Unit::Nanos)),
            ("1.70000000025e9", Notation::Epoch(Unit::Seconds)),
            ("2023-11-14T22:13:20.25Z", Notation::Date),
            ("2023-11-14 23:13:20.25+01", Notation::Date),
            ("2023-11-14 22:13:20.25", Notation::LocalDate),
        ] {
            assert_eq!(time(text, None), Some((at, how)), "{text}");
        }
        assert_eq!(time("14/Nov/2023:23:13:20 +0100", None), Some((1_700_000_000.0, Notation::Date)));
        assert_eq!(time("90500", Some(Unit::Millis)), Some((90.5, Notation::Relative(Unit::Millis))));
        assert_eq!(time("90.5", None), Some((90.5, Notation::Relative(Unit::Seconds))));
        for text in ["", "-1", "NaN", "inf", "1e300", "40000000", "now", "1970-01-01T00:00:00Z", "0x10", "e"] {
            assert_eq!(time(text, None), None, "{text}");
        }
    }

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, unit, seconds) in [
            ("1.5", None, 1.5),
            ("1500", Some(Unit::Millis), 1.5),
            ("1500ms", None, 1.5),
            ("1.5s", Some(Unit::Millis), 1.5),
            ("PT1.5S", None, 1.5),
            ("0", None, 0.0),
        ] {
            assert_eq!(duration(text, unit), Some(seconds), "{text}");
        }
        assert!(["-1", "", "NaN", "1e300", "soon", "-PT1S"].iter().all(|text| duration(text, None).is_none()));
        let named = ["took_ms", "durationMs", "elapsed_us", "endTimeUnixNano", "rt_s", "latency"].map(Unit::of_column);
        let units = [Unit::Millis, Unit::Millis, Unit::Micros, Unit::Nanos, Unit::Seconds].map(Some);
        assert_eq!((&named[..5], named[5]), (&units[..], None));
    }
}
