//! Read and change schedules.

use forerunner_core::{NewTask, Payload, ScheduleDefinition, ScheduleName, Task};
use forerunner_runtime::{SchedulePatch, ScheduleStatus};

use forerunner_store::ScheduleConflict;

use crate::{cursor, error::Error, fields, problem_kind::ProblemKind, service::Service};

impl Service {
    /// Makes a schedule.
    ///
    /// # Errors
    /// A field or the pool is refused, there is one of its name, or there are too many.
    pub async fn create_schedule(&self, mut definition: ScheduleDefinition) -> Result<ScheduleStatus, Error> {
        check(&definition)?;
        if definition.tenant.is_default() {
            definition.tenant = self.tenant();
        }
        self.may_schedule(&definition)?;
        Ok(self.handle().create_schedule(definition).await?)
    }

    /// Shows a schedule.
    ///
    /// # Errors
    /// There is none of the name, or the store does not answer.
    pub async fn schedule(&self, name: &ScheduleName) -> Result<ScheduleStatus, Error> {
        let schedule = self.handle().schedule(name).await?;
        if self.has_schedule(&schedule) {
            return Ok(self.shown_schedule(schedule));
        }
        Err(ScheduleConflict::NotFound { name: name.clone() }.into())
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
        let own = schedules.into_iter().filter(|one| self.has_schedule(one));
        let schedules = own.map(|one| self.shown_schedule(one)).collect();
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
        self.own_schedule(name).await?;
        let before = self.handle().schedule(name).await?.definition;
        let after = patch.apply(&before)?;
        check(&after)?;
        self.may_schedule(&after)?;
        Ok(self.shown_schedule(self.handle().update_schedule(name, patch).await?))
    }

    /// Removes a schedule. Tasks that it submitted continue.
    ///
    /// # Errors
    /// As [`Service::schedule`].
    pub async fn delete_schedule(&self, name: &ScheduleName) -> Result<(), Error> {
        self.own_schedule(name).await?;
        Ok(self.handle().delete_schedule(name).await?)
    }

    /// Submits a task of a schedule now.
    ///
    /// # Errors
    /// As [`Service::schedule`], and as a submission.
    pub async fn run_schedule(&self, name: &ScheduleName) -> Result<Task, Error> {
        self.own_schedule(name).await?;
        Ok(self.shown(self.handle().run_schedule(name).await?))
    }

    /// Refuses a schedule of others as one that does not exist.
    async fn own_schedule(&self, name: &ScheduleName) -> Result<(), Error> {
        match (self.scope().pools(), self.scope().tenant()) {
            (None, None) => Ok(()),
            _ => self.schedule(name).await.map(drop),
        }
    }

    fn has_schedule(&self, schedule: &ScheduleStatus) -> bool {
        let definition = &schedule.definition;
        self.scope().has_pool(definition.pool.as_str()) && self.scope().has_tenant(&definition.tenant)
    }

    /// Refuses tasks of a schedule that the caller could not submit.
    fn may_schedule(&self, definition: &ScheduleDefinition) -> Result<(), Error> {
        self.own_pool(definition.pool.as_str())?;
        self.scope().of_tenant(definition.tenant.clone())?;
        self.scope().check_priority(definition.priority)
    }

    /// Returns a schedule as the caller may see it.
    fn shown_schedule(&self, mut schedule: ScheduleStatus) -> ScheduleStatus {
        if !self.scope().sees_payloads() {
            schedule.definition.input = Payload::null();
        }
        schedule
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
