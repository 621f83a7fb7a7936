//! The logs of tasks.

use forerunner_core::{Task, TaskId, TaskLog, TaskState};

use super::Handle;
use crate::{Error, status::TaskEventKind};

/// Most events in one read.
const PAGE: usize = 500;
/// Most reads of the events of an attempt that another node runs.
const PAGES: usize = 20;

impl Handle {
    /// Returns the last lines that the agents of a task wrote to its log, with those of the attempt that runs.
    ///
    /// # Errors
    /// As [`Handle::task`].
    pub async fn log(&self, id: TaskId) -> Result<TaskLog, Error> {
        let task = self.task(id).await?;
        let running = match task.state {
            TaskState::Running => self.running_log(&task).await?,
            _ => None,
        };
        let mut log = task.report.map(|report| report.log).unwrap_or_default();
        log.append(running.unwrap_or_default());
        Ok(log)
    }

    /// The log of the attempt that runs: on this node, or what another node has stored of it.
    async fn running_log(&self, task: &Task) -> Result<Option<TaskLog>, Error> {
        let deps = &self.shared.deps;
        let here = deps.logs.get(task.id);
        if here.is_some() || task.node == Some(deps.node) || !deps.store.persists_events() {
            return Ok(here);
        }
        let (mut log, mut after) = (TaskLog::default(), 0);
        for _ in 0..PAGES {
            let Some(page) = deps.store.events(task.id, after, PAGE).await? else { break };
            let Some(last) = page.events.last() else { break };
            after = last.seq;
            for event in page.events {
                match event.kind {
                    TaskEventKind::Log { line } if line.attempt == task.attempt => log.push(line),
                    _ => {}
                }
            }
        }
        Ok(Some(log))
    }
}
