//! Fields of a submission, read within bounds.

use std::{fmt, num::NonZeroU32, time::Duration};

use forerunner_core::{Labels, Payload, format_duration, parse_duration};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// Longest run of an attempt that can be asked for.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 86_400);
/// Most labels of a task: listings show them all, and a page has up to 1,000 tasks.
const MOST_LABELS: usize = 64;
/// Most bytes of a label's name, and of its value.
const MOST_LABEL_BYTES: usize = 256;

/// Copies the input once, from the bytes of the request.
pub(crate) fn input<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
    Payload::from_raw(<&RawValue>::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Reads a timeout that an attempt can keep, and that can be stored.
pub(crate) fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let asked = parse_duration(&text).map_err(de::Error::custom)?;
    if asked.is_zero() || asked > LONGEST_TIMEOUT {
        let most = format_duration(LONGEST_TIMEOUT);
        return Err(de::Error::custom(format_args!(
            "timeout {text} is out of range; use more than 0s, and {most} at most"
        )));
    }
    Ok(Some(asked))
}

/// Reads a number of attempts; none at all would be no task.
pub(crate) fn max_attempts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let asked = Option::<u32>::deserialize(deserializer)?;
    match asked.map(NonZeroU32::new) {
        Some(None) => Err(de::Error::custom("max_attempts 0 is out of range; use 1 or more")),
        _ => Ok(asked),
    }
}

/// Reads labels that a listing can show.
pub(crate) fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    let labels = Option::<Labels>::deserialize(deserializer)?.unwrap_or_default();
    if let Some(name) = labels.keys().find(|name| name.contains([':', '='])) {
        let name = name.chars().take(MOST_LABEL_BYTES).collect::<String>();
        return Err(de::Error::custom(format_args!(
            "label name `{name}` has a `:` or a `=`, which part a name from its value in filters; leave them out"
        )));
    }
    if labels.len() > MOST_LABELS {
        return Err(too_much("labels", labels.len(), MOST_LABELS));
    }
    match labels.iter().flat_map(|(name, value)| [name.len(), value.len()]).find(|bytes| *bytes > MOST_LABEL_BYTES) {
        Some(bytes) => Err(too_much("bytes in a label", bytes, MOST_LABEL_BYTES)),
        None => Ok(labels),
    }
}

/// Reads a value whose `null` means the same as its absence.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn too_much<E: de::Error>(what: impl fmt::Display, found: usize, most: usize) -> E {
    E::custom(format_args!("{found} {what} are too many; use {most} at most"))
}
