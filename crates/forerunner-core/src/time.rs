//! Stored instants, and the only door to the wall clock.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, time_text::TimeText};

/// A point in wall-clock time, in microseconds since 1970-01-01T00:00:00Z.
///
/// Written as RFC 3339 in JSON and text.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last one that has a text form, to the second: 9999-12-30T22:00:00Z.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// Builds from microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Returns seconds since the Unix epoch.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Time from `earlier` until this instant; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MAX`].
    fn add(self, delay: Duration) -> Self {
        let sum = self.0.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX));
        Self(sum.min(Self::MAX.0.max(self.0)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, delay: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TimeText::of(self.0) {
            Some(text) => f.write_str(text.as_str()),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let value = || text.to_owned();
        match text.parse::<jiff::Timestamp>() {
            Ok(instant) => Ok(Self(instant.as_microsecond())),
            Err(_) if is_well_formed(text) => {
                Err(Error::TimestampRange { value: value(), latest: jiff::Timestamp::MAX.to_string() })
            }
            Err(_) => Err(Error::Timestamp { value: value() }),
        }
    }
}

/// Whether a text is a time in RFC 3339, be it one that cannot be represented.
fn is_well_formed(text: &str) -> bool {
    jiff::fmt::temporal::Pieces::parse(text).is_ok_and(|pieces| pieces.time().is_some() && pieces.offset().is_some())
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match TimeText::of(self.0) {
            Some(text) => serializer.serialize_str(text.as_str()),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Reads the time: the only access to the wall clock. All code below the edge gets `now` as an argument.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current wall-clock time.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_rfc_3339_and_keeps_microseconds() {
        let instant = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(instant.to_string(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(instant.to_string().parse::<Timestamp>().unwrap(), instant);
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn a_time_that_is_too_late_is_refused_by_its_value_and_the_limit() {
        let refused = |text: &str| text.parse::<Timestamp>().unwrap_err().to_string();
        let message = refused("9999-12-31T23:59:59Z");
        assert!(message.contains("`9999-12-31T23:59:59Z`") && message.contains("9999-12-30T22:00:00"), "{message}");
        assert!(message.contains("leave it out"), "{message}");
        assert!("9999-12-30T21:59:59Z".parse::<Timestamp>().is_ok());
        for text in ["soon", "2026-13-01T00:00:00Z", "2026-11-27", "2026-11-27T10:00:00"] {
            assert!(refused(text).contains("RFC 3339"), "{text}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::from_micros(i64::MAX) + Duration::from_secs(1), Timestamp::from_micros(i64::MAX));
        let last = Timestamp::from_micros(0) + Duration::from_secs(100_000_000 * 86_400);
        assert_eq!((last, last.to_string().as_str()), (Timestamp::MAX, "9999-12-30T22:00:00.000000Z"));
        assert_eq!(last.to_string().parse::<Timestamp>().unwrap(), last);
        assert_eq!(Timestamp::from_micros(5).since(Timestamp::from_micros(9)), Duration::ZERO);
    }
}
