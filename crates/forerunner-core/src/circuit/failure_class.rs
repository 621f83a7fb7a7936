//! What makes failures alike.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use super::AttemptFailure;
use crate::TaskError;

/// Longest that a dependency may ask the pool to wait.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Words of an error by which failures are alike.
const WORDS: usize = 8;

/// What failures share that are alike: the first words of the error, without those that have digits, such as ids and times.
/// All that agents blame on the dependency are alike.
pub(super) fn class_of(error: &TaskError) -> u64 {
    if error.dependency.is_some() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    let words = error.message.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty() && !word.contains(|c: char| c.is_ascii_digit()));
    for word in words.take(WORDS) {
        word.to_lowercase().hash(&mut hasher);
    }
    hasher.finish() | 1
}

/// How long the dependency asks callers to wait.
pub(super) fn retry_after(failure: &AttemptFailure<'_>) -> Duration {
    let asked = failure.error.dependency.and_then(|dependency| dependency.retry_after);
    asked.unwrap_or_default().min(MOST_RETRY_AFTER)
}
