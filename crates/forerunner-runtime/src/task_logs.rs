//! The logs of the tasks that run on this node.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use forerunner_core::{IdState, LeaseEpoch, LogLine, TaskId, TaskLog};

/// Most bytes of an attempt's log that those who follow the task receive as events. The log itself continues.
const MOST_EVENT_BYTES: usize = 64 << 10;

/// The logs of the tasks that run on this node, until their attempts end.
#[derive(Debug, Default)]
pub(crate) struct TaskLogs {
    running: DashMap<TaskId, AttemptLog, IdState>,
    /// Number of logs. While there are none, no task is looked up.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct AttemptLog {
    epoch: LeaseEpoch,
    log: TaskLog,
    bytes: usize,
}

impl TaskLogs {
    /// Adds a line of an attempt. Returns whether those who follow the task should receive it.
    pub(crate) fn push(&self, task: TaskId, epoch: LeaseEpoch, line: LogLine) -> bool {
        let mut entry = self.running.entry(task).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::Relaxed);
            AttemptLog::default()
        });
        if entry.epoch != epoch {
            *entry = AttemptLog { epoch, ..AttemptLog::default() };
        }
        entry.bytes = entry.bytes.saturating_add(line.text.len());
        let is_within = entry.bytes <= MOST_EVENT_BYTES;
        entry.log.push(line);
        is_within
    }

    /// Returns the log of an attempt that runs.
    pub(crate) fn get(&self, task: TaskId) -> Option<TaskLog> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.running.get(&task).map(|attempt| attempt.log.clone())
    }

    /// Removes and returns the log of an attempt that ends.
    pub(crate) fn take(&self, task: TaskId, epoch: LeaseEpoch) -> Option<TaskLog> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let Entry::Occupied(entry) = self.running.entry(task) else { return None };
        if entry.get().epoch != epoch {
            return None;
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(entry.remove().log)
    }
}

#[cfg(test)]
mod tests {
    use forerunner_core::{LogLevel, LogSource, Timestamp};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1);

    fn line(bytes: usize) -> LogLine {
        LogLine { at: NOW, attempt: 1, source: LogSource::Agent, level: LogLevel::Info, text: "x".repeat(bytes) }
    }

    #[test]
    fn a_log_belongs_to_one_attempt() {
        let (logs, task) = (TaskLogs::default(), TaskId::from_parts(NOW, 1));
        assert_eq!(logs.get(task), None);
        logs.push(task, LeaseEpoch(1), line(1));
        logs.push(task, LeaseEpoch(2), line(2));
        assert_eq!(logs.get(task).unwrap().lines, [line(2)], "another attempt begins anew");
        assert_eq!(logs.take(task, LeaseEpoch(1)), None);
        assert_eq!(logs.take(task, LeaseEpoch(2)).unwrap().lines, [line(2)]);
        assert!(logs.running.is_empty() && logs.count.load(Ordering::Relaxed) == 0);
    }

    #[test]
    fn a_flood_reaches_the_log_and_not_those_who_follow() {
        let (logs, task) = (TaskLogs::default(), TaskId::from_parts(NOW, 1));
        let told = (0..200).filter(|_| logs.push(task, LeaseEpoch(1), line(1_000))).count();
        assert_eq!(told, MOST_EVENT_BYTES / 1_000);
        let log = logs.get(task).unwrap();
        assert_eq!(log.lines.len() as u64 + log.dropped, 200);
    }
}
