//! Schedules of a runtime: built field by field, and made when awaited.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    time::Duration,
};

use forerunner_core::{
    CatchUp, ContextId, Overlap, Payload, PoolName, Priority, ScheduleDefinition, ScheduleName, Timestamp,
};
use forerunner_runtime::{Error, Handle, ScheduleStatus};
use serde::Serialize;

use crate::runtime::Runtime;

impl Runtime {
    /// Begins a schedule, which submits `input` to a pool by itself; `.await` makes it. One of [`Schedule::cron`],
    /// [`Schedule::every`] and [`Schedule::at`] sets the times. [`Runtime::handle`] shows, changes and removes
    /// schedules.
    ///
    /// ```
    /// # use forerunner::{Agent, AgentContext, AgentError, Pool, Runtime};
    /// # struct Echo;
    /// # impl Agent for Echo {
    /// #     type Input = String;
    /// #     type Output = String;
    /// #     async fn run(&mut self, said: String, _cx: &mut AgentContext) -> Result<String, AgentError> { Ok(said) }
    /// # }
    /// # actix_rt::System::new().block_on(async {
    /// let runtime = Runtime::builder().pool(Pool::new("echo", || async { Ok(Echo) })).start().await?;
    /// let nightly = runtime.schedule("nightly", "echo", "report").cron("30 2 * * *", "Europe/Berlin").await?;
    /// assert_eq!(nightly.next_runs.len(), 5);
    /// runtime.shutdown().await;
    /// # Ok::<(), forerunner::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn schedule<T: Serialize>(&self, name: &str, pool: &str, input: T) -> Schedule {
        let definition = ScheduleName::new(name)
            .and_then(|name| Ok(ScheduleDefinition::new(name, PoolName::new(pool)?, Payload::from_value(&input)?)));
        Schedule { handle: self.handle(), definition: definition.map_err(Error::from) }
    }
}

/// A schedule that is not made yet.
#[must_use = "a schedule is made when it is awaited"]
pub struct Schedule {
    handle: Handle,
    definition: Result<ScheduleDefinition, Error>,
}

impl Schedule {
    fn with(mut self, set: impl FnOnce(&mut ScheduleDefinition)) -> Self {
        if let Ok(definition) = &mut self.definition {
            set(definition);
        }
        self
    }

    /// Submits at the times of a cron expression, by the clocks of a zone of the IANA database.
    pub fn cron(self, expression: &str, time_zone: &str) -> Self {
        self.with(|new| (new.cron, new.time_zone) = (Some(expression.to_owned()), Some(time_zone.to_owned())))
    }

    /// Submits each time that this has passed; at least a second.
    pub fn every(self, interval: Duration) -> Self {
        self.with(|new| new.every = Some(interval))
    }

    /// Submits once, at this time.
    pub fn at(self, time: Timestamp) -> Self {
        self.with(|new| new.at = Some(time))
    }

    /// The conversation that its tasks belong to.
    pub fn context(self, context: ContextId) -> Self {
        self.with(|new| new.context = Some(context))
    }

    /// How urgent its tasks are.
    pub fn priority(self, priority: Priority) -> Self {
        self.with(|new| new.priority = priority)
    }

    /// A pair to find its tasks by.
    pub fn label(self, name: &str, value: &str) -> Self {
        self.with(|new| drop(new.labels.insert(name.to_owned(), value.to_owned())))
    }

    /// What happens while a task of an earlier occurrence has not ended.
    pub fn overlap(self, overlap: Overlap) -> Self {
        self.with(|new| new.overlap = overlap)
    }

    /// What happens to occurrences that were missed.
    pub fn catch_up(self, catch_up: CatchUp) -> Self {
        self.with(|new| new.catch_up = catch_up)
    }

    /// Delays each occurrence by up to this.
    pub fn jitter(self, jitter: Duration) -> Self {
        self.with(|new| new.jitter = Some(jitter))
    }

    /// Changes any field of the definition.
    pub fn define(self, change: impl FnOnce(&mut ScheduleDefinition)) -> Self {
        self.with(change)
    }
}

impl IntoFuture for Schedule {
    type Output = Result<ScheduleStatus, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.handle.create_schedule(self.definition?).await })
    }
}
