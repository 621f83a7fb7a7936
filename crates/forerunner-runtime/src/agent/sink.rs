//! The way of an agent's reports to the watchers of its task.

use std::sync::Arc;

use forerunner_core::{LeaseEpoch, LogLevel, LogLine, LogSource, Task, TaskId};

use super::{AgentDeps, ProgressSink};
use crate::status::TaskEventKind;

/// Passes the events of an agent on to the watchers of its task.
pub(crate) struct AttemptSink {
    task: TaskId,
    epoch: LeaseEpoch,
    attempt: u32,
    deps: Arc<AgentDeps>,
}

impl ProgressSink for AttemptSink {
    fn progress(&self, text: &str) {
        self.send(TaskEventKind::Progress { text: text.to_owned() });
    }

    fn output(&self, chunk: &str) {
        self.send(TaskEventKind::Output { chunk: chunk.to_owned() });
    }

    fn log(&self, source: LogSource, level: LogLevel, text: &str) {
        let at = self.deps.pool.now();
        let line = LogLine { at, attempt: self.attempt, source, level, text: text.to_owned() };
        if self.deps.pool.node.logs.push(self.task, self.epoch, line.clone()) {
            self.send(TaskEventKind::Log { line });
        }
    }
}

impl AttemptSink {
    /// A sink for the reports of an attempt of this task.
    pub(super) const fn of(task: &Task, deps: Arc<AgentDeps>) -> Self {
        Self { task: task.id, epoch: task.epoch, attempt: task.attempt, deps }
    }

    /// Directs the reports to the watchers of another task.
    pub(super) fn turn_to(&mut self, task: &Task) {
        (self.task, self.epoch, self.attempt) = (task.id, task.epoch, task.attempt);
    }

    pub(super) fn send(&self, kind: TaskEventKind) {
        let (node, now) = (&self.deps.pool.node, self.deps.pool.now());
        match node.store.persists_events() {
            true => node.events.append(self.task, self.epoch, kind, now),
            false => node.watch.publish(self.task, kind, now),
        }
    }
}
