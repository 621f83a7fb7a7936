//! What belongs to the caller. The rest is answered as if it were not there.

use forerunner_core::{
    ApiKeyName, ContextId, NewTask, Payload, PoolName, Task, TaskError, TaskId, TaskSpec, TenantName,
};
use forerunner_runtime::Error as RuntimeError;
use forerunner_store::{Refusal, StateConflict, TaskFilter};

use crate::{error::Error, problem_kind::ProblemKind, service::Service};

impl Service {
    /// Refuses a pool of others as one that does not exist.
    pub(crate) fn own_pool(&self, pool: &str) -> Result<(), Error> {
        if self.scope().has_pool(pool) {
            return Ok(());
        }
        let known = self.handle().pool_names();
        let known: Vec<_> = known.iter().map(PoolName::as_str).filter(|pool| self.scope().has_pool(pool)).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(RuntimeError::NoPool { pool: pool.chars().take(80).collect(), known }.into())
    }

    /// Refuses a task of others as one that does not exist. It reads the task if the caller does not have all pools, and
    /// all tenants.
    pub(crate) async fn own_task(&self, id: TaskId) -> Result<(), Error> {
        match (self.scope().pools(), self.scope().tenant()) {
            (None, None) => Ok(()),
            _ => self.owned(self.handle().task(id).await?).map(drop),
        }
    }

    /// Returns the tenant that new tasks of the caller belong to.
    pub(crate) fn tenant(&self) -> TenantName {
        self.scope().tenant().cloned().unwrap_or_default()
    }

    /// Returns a context id of the caller as the store has it.
    pub(crate) fn own_context(&self, id: &ContextId) -> ContextId {
        id.to_local().of_tenant(&self.tenant())
    }

    /// Returns the name that the caller's changes are signed with, if the service knows its callers.
    pub(crate) fn signature(&self) -> Option<Option<ApiKeyName>> {
        self.auth().is_on().then(|| self.caller_name())
    }

    /// Returns a submission as one of the caller: of its tenant, and with its name.
    pub(crate) fn signed(&self, mut new: NewTask) -> NewTask {
        new.tenant = self.tenant();
        new.context = new.context.map(|context| self.own_context(&context));
        new.idempotency_key = new.idempotency_key.map(|key| key.to_local().of_tenant(&new.tenant));
        if let Some(name) = self.caller_name() {
            let spec = new.spec.take().map(|spec| *spec).unwrap_or_default();
            new.spec = Some(Box::new(TaskSpec { submitted_by: Some(name), ..spec }));
        }
        new
    }

    /// Refuses a task of others that was read.
    pub(crate) fn owned(&self, task: Task) -> Result<Task, Error> {
        if self.scope().has_pool(task.pool.as_str()) && self.scope().has_tenant(&task.tenant) {
            return Ok(self.shown(task));
        }
        Err(StateConflict::NoTask { task: task.id }.into())
    }

    /// Returns the pool to list, if not all pools are listed: the one that is named, or the only one of the caller.
    pub(crate) fn listed_pool<'a>(&'a self, named: Option<&'a str>) -> Result<Option<&'a str>, Error> {
        match (named, self.scope().pools()) {
            (Some(pool), _) => self.own_pool(pool).map(|()| Some(pool)),
            (None, None) => Ok(None),
            (None, Some(pools)) if pools.len() == 1 => Ok(Some(pools[0].as_str())),
            (None, Some(pools)) => {
                let names: Vec<_> = pools.iter().map(|pool| pool.as_str()).collect();
                let detail = format!("the key does not have all pools; name one of {} as `pool`", names.join(", "));
                Err(Error::new(ProblemKind::InvalidQuery, detail))
            }
        }
    }

    /// Restricts a filter to what the caller has.
    pub(crate) fn own_filter(&self, filter: TaskFilter) -> Result<TaskFilter, Error> {
        let pool = self.listed_pool(filter.pool.as_ref().map(PoolName::as_str))?.map(PoolName::new).transpose()?;
        let context = filter.context.as_ref().map(|context| self.own_context(context));
        Ok(TaskFilter { tenant: self.scope().tenant().cloned(), pool, context, ..filter })
    }

    /// Refuses a submission that the caller may not make.
    pub(crate) async fn may_submit(&self, new: &NewTask) -> Result<(), Error> {
        self.own_pool(new.pool.as_str())?;
        self.scope().check_priority(new.priority)?;
        let Some(parent) = new.parent else { return Ok(()) };
        // Whether the task of another is there is not the caller's business.
        self.own_task(parent).await.map_err(|error| match error.kind() {
            ProblemKind::NoTask => Refusal::NoParent { parent }.into(),
            _ => error,
        })
    }

    /// Returns a task as the caller may see it.
    pub(crate) fn shown(&self, mut task: Task) -> Task {
        task.context = task.context.map(|context| context.to_local());
        task.idempotency_key = task.idempotency_key.map(|key| key.to_local());
        if self.scope().sees_payloads() {
            return task;
        }
        let error = task.error.map(hidden);
        Task { input: Payload::null(), output: None, requests: None, error, ..task }
    }

    /// Returns an error as the caller may see it.
    pub(crate) fn shown_error(&self, error: TaskError) -> TaskError {
        if self.scope().sees_payloads() { error } else { hidden(error) }
    }
}

/// What stands in the place of a text that the caller may not see.
pub(crate) const HIDDEN: &str = "(hidden)";

/// An agent may have written parts of an input into a message.
pub(crate) fn hidden(error: TaskError) -> TaskError {
    TaskError { dependency: error.dependency, ..TaskError::new(error.kind, HIDDEN) }
}
