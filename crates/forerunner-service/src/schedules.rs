//! Read and change schedules.

use forerunner_core::{NewTask, Payload, ScheduleDefinition, ScheduleName, Task};
use forerunner_runtime::{SchedulePatch, ScheduleStatus};

use crate::{cursor, error::Error, fields, problem_kind::ProblemKind, service::Service};

impl Service {
    /// Makes a schedule.
    ///
    /// # Errors
    /// A field or the pool is refused, there is one of its name, or there are too many.
    pub async fn create_schedule(&self, definition: ScheduleDefinition) -> Result<ScheduleStatus, Error> {
        check(&definition)?;
        Ok(self.handle().create_schedule(definition).await?)
    }

    /// Shows a schedule.
    ///
    /// # Errors
    /// There is none of the name, or the store does not answer.
    pub async fn schedule(&self, name: &ScheduleName) -> Result<ScheduleStatus, Error> {
        Ok(self.handle().schedule(name).await?)
    }

    /// Lists schedules by name, from behind a cursor. Returns the cursor of the page that follows, if one does.
    ///
    /// # Errors
    /// The cursor is none, or the store does not answer.
    pub async fn schedules(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ScheduleStatus>, Option<String>), Error> {
        let after = cursor.map(cursor::read_schedule).transpose()?;
        let (schedules, more) = self.handle().schedules(after.as_ref(), limit).await?;
        let next = schedules.last().filter(|_| more).map(|last| cursor::after_schedule(&last.definition.name));
        Ok((schedules, next))
    }

    /// Changes a schedule.
    ///
    /// # Errors
    /// As [`Service::create_schedule`] and [`Service::schedule`].
    pub async fn update_schedule(&self, name: &ScheduleName, patch: &SchedulePatch) -> Result<ScheduleStatus, Error> {
        if patch.is_empty() {
            let detail = "nothing to change; send a field of the schedule, such as `enabled`";
            return Err(Error::new(ProblemKind::InvalidValue, detail));
        }
        let before = self.handle().schedule(name).await?.definition;
        check(&patch.apply(&before)?)?;
        Ok(self.handle().update_schedule(name, patch).await?)
    }

    /// Removes a schedule. Tasks that it submitted continue.
    ///
    /// # Errors
    /// As [`Service::schedule`].
    pub async fn delete_schedule(&self, name: &ScheduleName) -> Result<(), Error> {
        Ok(self.handle().delete_schedule(name).await?)
    }

    /// Submits a task of a schedule now.
    ///
    /// # Errors
    /// As [`Service::schedule`], and as a submission.
    pub async fn run_schedule(&self, name: &ScheduleName) -> Result<Task, Error> {
        Ok(self.handle().run_schedule(name).await?)
    }
}

/// Checks what of its tasks has bounds.
fn check(definition: &ScheduleDefinition) -> Result<(), Error> {
    fields::check(&NewTask {
        timeout: definition.timeout,
        max_attempts: definition.max_attempts,
        labels: definition.labels.clone(),
        ..NewTask::new(definition.pool.clone(), Payload::null())
    })
}
