//! See and steer one task.

use forerunner_core::{AttemptRecord, Task, TaskId};
use forerunner_runtime::status::PlacementStatus;
use forerunner_store::TaskChange;

use crate::{error::Error, service::Service};

impl Service {
    /// Cancels a task: at once if it waits; one that runs is asked to stop. A task that has ended is answered unchanged.
    ///
    /// # Errors
    /// There is no such task, or the store does not answer.
    pub async fn cancel(&self, id: TaskId) -> Result<Task, Error> {
        Ok(self.handle().cancel(id).await?)
    }

    /// Sends an ended task that did not succeed back to its queue, with fresh attempts.
    ///
    /// # Errors
    /// As [`Service::cancel`]; for any other task, that its state does not allow it.
    pub async fn retry(&self, id: TaskId) -> Result<Task, Error> {
        Ok(self.handle().retry(id).await?)
    }

    /// Removes a task that has ended, for good.
    ///
    /// # Errors
    /// As [`Service::cancel`]; for any other task, that its state does not allow it.
    pub async fn delete(&self, id: TaskId) -> Result<(), Error> {
        Ok(self.handle().delete(id).await?)
    }

    /// Changes how a task waits.
    ///
    /// # Errors
    /// As [`Service::cancel`]; for a task that does not wait, that its state does not allow it.
    pub async fn change(&self, id: TaskId, change: TaskChange) -> Result<Task, Error> {
        Ok(self.handle().update(id, change).await?)
    }

    /// Gives a task that waits to another pool of this node.
    ///
    /// # Errors
    /// As [`Service::change`]; there is no such pool, or the task cannot go there.
    pub async fn move_task(&self, id: TaskId, to: &str) -> Result<Task, Error> {
        Ok(self.handle().move_task(id, to).await?)
    }

    /// Lists the attempts of a task that did not succeed, oldest first, as far as they are kept.
    ///
    /// # Errors
    /// There is no such task, or the store does not answer.
    pub async fn attempts(&self, id: TaskId) -> Result<Vec<AttemptRecord>, Error> {
        Ok(self.handle().attempts(id).await?)
    }

    /// Says why a task went to its agent.
    ///
    /// # Errors
    /// There is no such task, or the store or the pool does not answer.
    pub async fn placement(&self, id: TaskId) -> Result<PlacementStatus, Error> {
        Ok(self.handle().placement(id).await?)
    }
}
