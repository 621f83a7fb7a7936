//! See and steer one task.

use forerunner_core::{AttemptRecord, Payload, Task, TaskId, TaskLog};
use forerunner_runtime::status::PlacementStatus;
use forerunner_store::TaskChange;

use crate::{error::Error, service::Service};

impl Service {
    /// Cancels a task. A waiting task ends at once; a running one is asked to stop; an ended one is returned unchanged.
    ///
    /// # Errors
    /// The task does not exist, or the store does not answer.
    pub async fn cancel(&self, id: TaskId) -> Result<Task, Error> {
        self.own_task(id).await?;
        if let Some(by) = self.signature() {
            self.handle().note_cancellation(vec![id], by).await?;
        }
        Ok(self.shown(self.handle().cancel(id).await?))
    }

    /// Sends an ended task that did not succeed back to its queue, with fresh attempts.
    ///
    /// # Errors
    /// As [`Service::cancel`]; for any other task, that its state does not allow it.
    pub async fn retry(&self, id: TaskId) -> Result<Task, Error> {
        self.own_task(id).await?;
        Ok(self.shown(self.handle().retry(id).await?))
    }

    /// Answers what the agent of a task asked. The same answer once more changes nothing.
    ///
    /// # Errors
    /// As [`Service::cancel`]; when the agent did not ask that, the question has another answer, or the answer is none of
    /// its options.
    pub async fn answer(&self, id: TaskId, request: &str, answer: &Payload) -> Result<Task, Error> {
        self.own_task(id).await?;
        Ok(self.shown(self.handle().answer(id, request, answer).await?))
    }

    /// Removes a task that has ended, for good.
    ///
    /// # Errors
    /// As [`Service::cancel`]; for any other task, that its state does not allow it.
    pub async fn delete(&self, id: TaskId) -> Result<(), Error> {
        self.own_task(id).await?;
        Ok(self.handle().delete(id).await?)
    }

    /// Changes how a task waits.
    ///
    /// # Errors
    /// As [`Service::cancel`]; for a task that does not wait, that its state does not allow it.
    pub async fn change(&self, id: TaskId, change: TaskChange) -> Result<Task, Error> {
        self.own_task(id).await?;
        change.priority.map_or(Ok(()), |priority| self.scope().check_priority(priority))?;
        Ok(self.shown(self.handle().update(id, change).await?))
    }

    /// Moves a waiting task to another pool of this node.
    ///
    /// # Errors
    /// As [`Service::change`]; the pool does not exist, or the task cannot be moved to it.
    pub async fn move_task(&self, id: TaskId, to: &str) -> Result<Task, Error> {
        self.own_task(id).await?;
        self.own_pool(to)?;
        Ok(self.shown(self.handle().move_task(id, to).await?))
    }

    /// Lists the stored attempts of a task that did not succeed, oldest first.
    ///
    /// # Errors
    /// The task does not exist, or the store does not answer.
    pub async fn attempts(&self, id: TaskId) -> Result<Vec<AttemptRecord>, Error> {
        self.own_task(id).await?;
        let attempts = self.handle().attempts(id).await?.into_iter();
        let shown = |record: AttemptRecord| AttemptRecord {
            error: record.error.map(|error| self.shown_error(error)),
            ..record
        };
        Ok(attempts.map(shown).collect())
    }

    /// Returns the last lines that the agents of a task wrote to its log.
    ///
    /// # Errors
    /// The task does not exist, or the store does not answer.
    pub async fn log(&self, id: TaskId) -> Result<TaskLog, Error> {
        self.own_task(id).await?;
        Ok(self.handle().log(id).await?)
    }

    /// Explains the placement of a task.
    ///
    /// # Errors
    /// The task does not exist, or the store or the pool does not answer.
    pub async fn placement(&self, id: TaskId) -> Result<PlacementStatus, Error> {
        self.own_task(id).await?;
        let mut status = self.handle().placement(id).await?;
        if let Some(record) = &mut status.placement {
            record.context = record.context.to_local();
        }
        Ok(status)
    }
}
