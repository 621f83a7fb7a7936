//! Durations as people write them: `250ms`, `5s`, `2m`, `1h`.

use std::time::Duration;

use serde::{Deserializer, Serializer, de};

use crate::Error;

const UNITS: [(&str, f64); 5] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];

/// Reads a duration such as `250ms`, `1.5s`, `2m`, `1h` or `7d`. A unit is required.
///
/// # Errors
/// [`Error::Setting`] naming the text and the accepted form.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, scale)| *scale);
    match (number.trim().parse::<f64>(), scale) {
        (Ok(number), Some(scale)) if number >= 0.0 => {
            Duration::try_from_secs_f64(number * scale).map_err(|_| refuse(text))
        }
        _ => Err(refuse(text)),
    }
}

fn refuse(text: &str) -> Error {
    Error::Setting {
        key: "duration",
        value: text.to_owned(),
        rule: "write a number and a unit, such as 250ms, 5s, 2m, 1h or 7d".to_owned(),
    }
}

/// Writes a duration in the largest unit that keeps it whole: the inverse of [`parse_duration`].
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 if duration.is_zero() => "0s".to_owned(),
        0 => format!("{}ms", duration.as_secs_f64() * 1_000.0),
        m if m % 86_400_000 == 0 => format!("{}d", m / 86_400_000),
        m if m % 3_600_000 == 0 => format!("{}h", m / 3_600_000),
        m if m % 60_000 == 0 => format!("{}m", m / 60_000),
        m if m % 1_000 == 0 => format!("{}s", m / 1_000),
        m => format!("{m}ms"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_survive_their_text_form() {
        for text in ["250ms", "5s", "90s", "2m", "1h", "7d", "0s"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration, "{text}");
        }
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
    }

    #[test]
    fn a_duration_without_a_unit_is_refused_with_the_remedy() {
        for text in ["5", "", "s", "-1s", "5 weeks", "nan s", "1e99d"] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains("250ms, 5s"), "{text}: {error}");
        }
    }
}
