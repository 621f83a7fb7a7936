//! Limits of the fields of a submission. Fronts check a field where they read it, to report its position; `check`
//! applies to all fronts.

use std::time::Duration;

use forerunner_core::{Labels, NewTask, format_duration};

use crate::{error::Error, problem_kind::ProblemKind};

/// Greatest timeout of an attempt.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 86_400);
/// Most labels of a task: listings show them all, and a page has up to 1,000 tasks.
const MOST_LABELS: usize = 64;
/// Most bytes of a label's name, and of its value.
const MOST_LABEL_BYTES: usize = 256;

/// Checks all fields of a submission that have bounds.
pub(crate) fn check(new: &NewTask) -> Result<(), Error> {
    let timeout = new.timeout.filter(|timeout| !is_in_range(*timeout));
    let checked = check_labels(&new.labels)
        .and_then(|()| timeout.map_or(Ok(()), |timeout| check_timeout(timeout, &format_duration(timeout))))
        .and_then(|()| new.max_attempts.map_or(Ok(()), check_max_attempts));
    checked.map_err(|fault| Error::new(ProblemKind::InvalidValue, fault))
}

fn is_in_range(timeout: Duration) -> bool {
    !timeout.is_zero() && timeout <= LONGEST_TIMEOUT
}

/// Checks that a timeout is possible for an attempt, and can be stored. `text` is the caller's text.
///
/// # Errors
/// Why it is invalid, and what to write.
pub fn check_timeout(timeout: Duration, text: &str) -> Result<(), String> {
    if is_in_range(timeout) {
        return Ok(());
    }
    let most = format_duration(LONGEST_TIMEOUT);
    Err(format!("timeout {text} is out of range; use more than 0s, and {most} at most"))
}

/// Checks a number of attempts; none at all would be no task.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn check_max_attempts(attempts: u32) -> Result<(), String> {
    if attempts > 0 {
        return Ok(());
    }
    Err("max_attempts 0 is out of range; use 1 or more".to_owned())
}

/// Checks that a listing can show labels, and filter by them.
///
/// # Errors
/// What is wrong with them, and what to write.
pub fn check_labels(labels: &Labels) -> Result<(), String> {
    // On the way of each submission, and nearly always so.
    if labels.len() <= MOST_LABELS && labels.iter().all(is_label) {
        return Ok(());
    }
    if let Some(name) = labels.keys().find(|name| name.contains([':', '='])) {
        let name = name.chars().take(MOST_LABEL_BYTES).collect::<String>();
        return Err(format!(
            "label name `{name}` has a `:` or a `=`, which part a name from its value in filters; leave them out"
        ));
    }
    if labels.len() > MOST_LABELS {
        return Err(too_many("labels", labels.len(), MOST_LABELS));
    }
    match labels.iter().flat_map(|(name, value)| [name.len(), value.len()]).find(|bytes| *bytes > MOST_LABEL_BYTES) {
        Some(bytes) => Err(too_many("bytes in a label", bytes, MOST_LABEL_BYTES)),
        None => Ok(()),
    }
}

fn is_label((name, value): (&String, &String)) -> bool {
    let parts = |byte: u8| matches!(byte, b':' | b'=');
    name.len() <= MOST_LABEL_BYTES && value.len() <= MOST_LABEL_BYTES && !name.bytes().any(parts)
}

fn too_many(what: &str, found: usize, most: usize) -> String {
    format!("{found} {what} are too many; use {most} at most")
}

#[cfg(test)]
mod tests {
    use forerunner_core::{Payload, PoolName};

    use super::*;

    fn fault(change: impl FnOnce(&mut NewTask)) -> String {
        let mut new = NewTask::new(PoolName::new("coder").unwrap(), Payload::null());
        change(&mut new);
        check(&new).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_submission_is_checked_whatever_front_it_comes_from() {
        let label =
            |name: String, value: &'static str| move |new: &mut NewTask| new.labels = [(name, value.to_owned())].into();
        assert_eq!(fault(|_| {}), "");
        assert_eq!(fault(label("a".to_owned(), "1")), "");
        assert!(fault(label("a:b".to_owned(), "1")).starts_with("label name `a:b`"));
        assert!(fault(label("a".repeat(257), "1")).starts_with("257 bytes in a label"));
        let many = (0..65).map(|index| (index.to_string(), String::new())).collect();
        assert!(fault(|new| new.labels = many).starts_with("65 labels"));
        assert!(fault(|new| new.timeout = Some(Duration::ZERO)).starts_with("timeout 0s"));
        assert!(fault(|new| new.timeout = Some(LONGEST_TIMEOUT * 2)).starts_with("timeout 730d"));
        assert!(fault(|new| new.max_attempts = Some(0)).starts_with("max_attempts 0"));
    }
}
