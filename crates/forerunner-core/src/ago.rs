//! Times as people ask for them: an instant, or how long ago it was.

use crate::{Error, Timestamp, parse_duration};

/// Reads a time in RFC 3339, `now`, or a duration such as `2h`, which means so long before `now`.
///
/// # Errors
/// [`Error::Setting`] naming the text and the accepted forms; [`Error::TimestampRange`] for a time that cannot be
/// represented.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if let Ok(ago) = parse_duration(text) {
        return Ok(now - ago);
    }
    text.parse().map_err(|error| match error {
        Error::Timestamp { value } => Error::Setting {
            key: "time",
            value,
            rule: "write a time as 2026-11-27T10:00:00Z, or how long ago it was as 30m, 2h or 7d".to_owned(),
        },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_an_instant_or_so_long_ago() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        assert_eq!(parse_time("2h", now).unwrap(), now - Duration::from_secs(7_200));
        assert_eq!(parse_time(" now", now).unwrap(), now);
        assert_eq!(parse_time(&now.to_string(), Timestamp::default()).unwrap(), now);
        for text in ["yesterday", "2026-11-27", "-2h", ""] {
            let error = parse_time(text, now).unwrap_err().to_string();
            assert!(error.contains("how long ago"), "{text}: {error}");
        }
    }
}
