//! What a task has besides what its queue needs: stored as one JSON text each, so that a new value changes no schema.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ApiKeyName, Payload, TaskLog, Timestamp};

/// The fields of a submission that are written once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskSpec {
    /// Free data of the submitter. Nothing reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Payload>,
    /// The trace that the task belongs to, in the form of W3C Trace Context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The occurrence of a schedule that submitted the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Occurrence>,
    /// When the task became known, if that was before its submission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced_at: Option<Timestamp>,
    /// The name of the key by which the task was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitted_by: Option<ApiKeyName>,
    /// Parts of the input that are stored elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// What the end of a task adds to its result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskReport {
    /// What the agent used, by name: tokens, requests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub usage: BTreeMap<String, u64>,
    /// The name of the key by which somebody asked to cancel the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<ApiKeyName>,
    /// Parts of the output that are stored elsewhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Part>,
    /// The last lines that its agents wrote to its log.
    #[serde(skip_serializing_if = "TaskLog::is_empty")]
    pub log: TaskLog,
}

impl TaskReport {
    /// Adds what a later attempt reported: counts are summed up, lines are appended.
    pub fn add(&mut self, later: Self) {
        for (name, count) in later.usage {
            let sum = self.usage.entry(name).or_default();
            *sum = sum.saturating_add(count);
        }
        self.artifacts.extend(later.artifacts);
        self.log.append(later.log);
    }
}

/// An occurrence of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// The id of the schedule.
    pub schedule: String,
    /// The time that the schedule names.
    pub at: Timestamp,
}

/// A part of an input or an output, by reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is, such as `image/png`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its bytes.
    pub size_bytes: u64,
    /// What its bytes are stored under: their hash.
    pub blob: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_of_attempts_is_summed_up() {
        let report = |count| TaskReport { usage: [("tokens".to_owned(), count)].into(), ..TaskReport::default() };
        let mut sum = report(7);
        sum.add(report(u64::MAX));
        sum.add(TaskReport { usage: [("requests".to_owned(), 1)].into(), ..TaskReport::default() });
        assert_eq!(sum.usage, [("tokens".to_owned(), u64::MAX), ("requests".to_owned(), 1)].into());
    }

    #[test]
    fn values_of_a_later_version_are_ignored_and_missing_ones_are_defaults() {
        let spec: TaskSpec = serde_json::from_str(r#"{"traceparent": "00-1", "not": "known"}"#).unwrap();
        assert_eq!(spec, TaskSpec { traceparent: Some("00-1".to_owned()), ..TaskSpec::default() });
        assert_eq!(serde_json::to_string(&TaskSpec::default()).unwrap(), "{}");
        assert_eq!(serde_json::to_string(&TaskReport::default()).unwrap(), "{}");
    }
}
