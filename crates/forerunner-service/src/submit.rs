//! Submit tasks, one or many.

use std::time::Duration;

use forerunner_core::{NewTask, Task};
use forerunner_runtime::{CompletionFuture, Submitted};

use crate::{error::Error, fields, limits::check_batch, service::Service, wait::WaitOutcome};

/// A durable task, and the wait for its end that the caller requested.
pub struct Accepted {
    /// The task, as it was accepted.
    pub task: Task,
    /// Whether it is new: false if the same submission had been accepted before.
    pub created: bool,
    completion: Option<CompletionFuture>,
    wait: Option<Duration>,
}

impl Service {
    /// Submits a task. Returns once it is durable. With `wait`, [`Service::completion`] waits for its end.
    ///
    /// # Errors
    /// A field or the pool is invalid, a limit is reached, or the store does not accept the task.
    pub async fn submit(&self, new: NewTask, wait: Option<Duration>) -> Result<Accepted, Error> {
        fields::check(&new)?;
        self.may_submit(&new).await?;
        let new = self.signed(new);
        self.enter(&new)?;
        let (Submitted { task, created }, completion) = match wait {
            Some(_) => self.handle().submit_and_watch(new).await?,
            None => (self.handle().submit(new).await?, None),
        };
        Ok(Accepted { task, created, completion, wait })
    }

    /// Waits for the end of a submitted task, if its caller requested that. The request can be dropped before.
    ///
    /// # Errors
    /// When the task was deleted meanwhile.
    pub async fn completion(&self, accepted: Accepted) -> Result<WaitOutcome, Error> {
        let Accepted { task, completion, wait, .. } = accepted;
        match wait {
            // A task is large: it is not passed on without need.
            None => Ok(WaitOutcome { task: self.shown(task), waited: false, is_whole: true }),
            wait => {
                let waited = self.ended(task, completion, wait).await?;
                Ok(WaitOutcome { task: self.shown(waited.task), ..waited })
            }
        }
    }

    /// Submits tasks together. Returns one result per task, in order. If the node accepts nothing at all, for a reason
    /// of its own, that is an error of the whole call, so that monitors and proxies see it.
    ///
    /// # Errors
    /// There are too many tasks, or the node accepts none.
    pub async fn submit_batch(&self, new: Vec<NewTask>) -> Result<Vec<Result<Submitted, Error>>, Error> {
        check_batch(new.len())?;
        let mut refused = Vec::new();
        let mut sound = Vec::with_capacity(new.len());
        for (index, task) in new.into_iter().enumerate() {
            let fault = match fields::check(&task) {
                Ok(()) => self.may_submit(&task).await.and_then(|()| self.enter(&task)).err(),
                fault => fault.err(),
            };
            match fault {
                Some(fault) => refused.push((index, Err(fault))),
                None => sound.push(self.signed(task)),
            }
        }
        let shown = |submitted: Submitted| Submitted { task: self.shown(submitted.task), ..submitted };
        let outcomes = self.handle().submit_batch(sound).await.into_iter();
        let mut outcomes: Vec<_> = outcomes.map(|outcome| outcome.map(shown).map_err(Error::from)).collect();
        let by_the_node =
            |outcome: &Result<_, Error>| outcome.as_ref().is_err_and(|error| error.class().is_of_the_node());
        if outcomes.iter().all(by_the_node)
            && let Some(Err(error)) = outcomes.pop()
        {
            return Err(error);
        }
        // In rising order, so each insertion has its final position.
        refused.into_iter().for_each(|(index, fault)| outcomes.insert(index, fault));
        Ok(outcomes)
    }

    /// Returns the largest input, in bytes, that a pool accepts.
    ///
    /// # Errors
    /// There is no such pool.
    pub fn max_input_bytes(&self, pool: &str) -> Result<usize, Error> {
        self.own_pool(pool)?;
        Ok(self.handle().max_input_bytes(pool)?)
    }

    /// Returns the largest input, in bytes, that any pool accepts: for fronts whose paths name no pool.
    pub fn largest_input_bytes(&self) -> usize {
        let names = self.handle().pool_names();
        names.iter().filter_map(|pool| self.handle().max_input_bytes(pool.as_str()).ok()).max().unwrap_or_default()
    }
}
