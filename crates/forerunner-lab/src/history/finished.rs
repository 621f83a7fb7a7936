//! Finished tasks, as the service lists them.

use anyhow::Context;
use forerunner_core::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// A task that has ended, and on which an agent worked.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedTask {
    /// When it was due.
    pub due: Timestamp,
    /// Seconds from the start to the end of its last attempt.
    pub service_s: f64,
    /// Its context.
    pub context: Option<String>,
    /// When it was submitted, if that was before it was due. Unknown for a retried task: the listing does not have the
    /// delay of its last attempt.
    pub known_before: Option<Timestamp>,
    /// Seconds that its last attempt waited for an agent, and before that for the task before it in its context; unknown
    /// where the listing does not have them.
    pub waits_s: Option<(f64, f64)>,
}

/// What is read of a listed task; the rest is ignored.
#[derive(Deserialize)]
struct ListedTask {
    state: String,
    submitted_at: Timestamp,
    run_at: Timestamp,
    #[serde(default)]
    attempt: u32,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    context: Option<String>,
    wait_agent_s: Option<f64>,
    wait_context_s: Option<f64>,
}

/// A listed task: finished, ended without an agent, or not ended.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEnd {
    /// It counts.
    Finished(FinishedTask),
    /// It was cancelled or expired before it reached an agent.
    NeverStarted,
    /// It waits or runs.
    Open,
}

impl FinishedTask {
    /// Reads a task of a listing.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(task: &Value) -> anyhow::Result<TaskEnd> {
        let task = ListedTask::deserialize(task).context("the service lists tasks in an unknown form")?;
        if ["scheduled", "queued", "running"].contains(&task.state.as_str()) {
            return Ok(TaskEnd::Open);
        }
        let Some((started, finished)) = task.started_at.zip(task.finished_at) else { return Ok(TaskEnd::NeverStarted) };
        Ok(TaskEnd::Finished(Self {
            due: task.run_at.max(task.submitted_at),
            service_s: finished.since(started).as_secs_f64(),
            context: task.context,
            waits_s: task.wait_agent_s.zip(task.wait_context_s),
            known_before: (task.attempt <= 1 && task.submitted_at < task.run_at).then_some(task.submitted_at),
        }))
    }
}

/// The part of the listing that is retained.
#[derive(Debug)]
pub struct FinishedTasks {
    /// The finished tasks; by time once sorted.
    pub tasks: Vec<FinishedTask>,
    /// Tasks that ended without an agent.
    pub skipped: u64,
    from: Timestamp,
    to: Timestamp,
}

impl FinishedTasks {
    /// Retains tasks that were due in `[from, to)`.
    pub fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Self {
        let from = from.unwrap_or(Timestamp::from_micros(i64::MIN));
        Self { tasks: Vec::new(), skipped: 0, from, to: to.unwrap_or(Timestamp::from_micros(i64::MAX)) }
    }

    /// Retains a task, or counts it.
    pub fn add(&mut self, task: TaskEnd) {
        match task {
            TaskEnd::Finished(task) if (self.from..self.to).contains(&task.due) => self.tasks.push(task),
            TaskEnd::NeverStarted => self.skipped += 1,
            TaskEnd::Finished(_) | TaskEnd::Open => {}
        }
    }

    /// Puts the tasks in order of time.
    pub fn sort(&mut self) {
        self.tasks.sort_by_key(|task| task.due);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tasks_count_from_when_they_were_due_and_only_with_an_agent() {
        let task = |state: &str, started: Option<&str>| {
            json!({
                "state": state, "submitted_at": "2026-01-31T12:00:00Z", "run_at": "2026-01-31T12:00:05Z", "context": "repo",
                "started_at": started, "finished_at": "2026-01-31T12:00:09.5Z",
            })
        };
        let mut found = FinishedTasks::between(Some("2026-01-31T12:00:05Z".parse().expect("a time")), None);
        for task in [task("succeeded", Some("2026-01-31T12:00:07Z")), task("cancelled", None), task("running", None)] {
            found.add(FinishedTask::read(&task).expect("a task"));
        }
        assert_eq!((found.tasks.len(), found.skipped), (1, 1));
        assert_eq!(
            (found.tasks[0].service_s, found.tasks[0].due.to_string().as_str()),
            (2.5, "2026-01-31T12:00:05.000000Z")
        );
        let mut later = FinishedTasks::between(Some("2026-01-31T12:00:06Z".parse().expect("a time")), None);
        later.add(TaskEnd::Finished(found.tasks[0].clone()));
        assert!(later.tasks.is_empty());
        assert!(FinishedTask::read(&json!({"state": "succeeded"})).is_err());
    }
}
