//! Fields of a submission, read within the limits of the service. Errors have line and column.

use std::time::Duration;

use forerunner_core::{Labels, Payload, parse_duration};
use forerunner_service::fields;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// Copies the input once, from the bytes of the request.
pub(crate) fn input<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
    Payload::from_raw(<&RawValue>::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Reads a timeout.
pub(crate) fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let asked = parse_duration(&text).map_err(de::Error::custom)?;
    fields::check_timeout(asked, &text).map_err(de::Error::custom)?;
    Ok(Some(asked))
}

/// Reads a number of attempts.
pub(crate) fn max_attempts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let asked = Option::<u32>::deserialize(deserializer)?;
    asked.map_or(Ok(()), fields::check_max_attempts).map_err(de::Error::custom)?;
    Ok(asked)
}

/// Reads labels.
pub(crate) fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    let labels = Option::<Labels>::deserialize(deserializer)?.unwrap_or_default();
    fields::check_labels(&labels).map_err(de::Error::custom)?;
    Ok(labels)
}

/// Reads a value for which `null` means absent.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
