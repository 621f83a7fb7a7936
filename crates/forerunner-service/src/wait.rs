//! Wait for the end of a task, within a bound, and no longer than the service runs.

use std::time::Duration;

use forerunner_core::{Payload, Task, TaskId};
use forerunner_runtime::{CompletionFuture, Error as RuntimeError};

use crate::{error::Error, service::Service};

/// A task after the wait that the caller requested.
pub struct WaitOutcome {
    /// The task.
    pub task: Task,
    /// Whether the caller requested a wait.
    pub waited: bool,
    /// Whether the task includes its input. It does not if the state is the one from before the wait.
    pub is_whole: bool,
}

impl Service {
    /// Reads a task; with `wait`, once it has ended or the wait is over.
    ///
    /// # Errors
    /// There is no such task, or the store does not answer.
    pub async fn task(&self, id: TaskId, wait: Option<Duration>) -> Result<WaitOutcome, Error> {
        let task = self.owned(self.handle().task(id).await?)?;
        let waited = self.ended(task, None, wait).await?;
        Ok(WaitOutcome {
            task: self.shown(waited.task),
            is_whole: waited.is_whole && self.scope().sees_payloads(),
            ..waited
        })
    }

    /// Waits as long as the caller prefers to, and as the operator allows. `completion` is what is registered for its end already.
    pub(crate) async fn ended(
        &self,
        task: Task,
        completion: Option<CompletionFuture>,
        wait: Option<Duration>,
    ) -> Result<WaitOutcome, Error> {
        match wait {
            Some(limit) if !task.state.is_terminal() => {
                // The input may be large, and the wait long.
                let seen = Task { input: Payload::null(), ..task };
                let (task, is_whole) = self.wait(seen, completion, limit.min(self.limits().max_wait)).await?;
                Ok(WaitOutcome { task, waited: true, is_whole })
            }
            preference => Ok(WaitOutcome { task, waited: preference.is_some(), is_whole: true }),
        }
    }

    /// Waits for a task to end, at most `limit`. Returns the task as it is then, and whether that is the whole task.
    ///
    /// A store that fails meanwhile does not turn an accepted task into an error: the last known state is returned.
    async fn wait(
        &self,
        task: Task,
        completion: Option<CompletionFuture>,
        limit: Duration,
    ) -> Result<(Task, bool), RuntimeError> {
        let _open = self.open_wait();
        let ended = async {
            match completion {
                Some(completion) => completion.within(limit).await,
                None => self.handle().wait(task.id, limit).await,
            }
        };
        let waited = tokio::select! {
            waited = ended => waited,
            () = self.stopping() => self.handle().task(task.id).await,
        };
        match waited {
            Err(RuntimeError::Store(error)) => {
                tracing::debug!(task = %task.id, %error, "a task is answered as it was before the wait");
                Ok((task, false))
            }
            other => other.map(|task| (task, true)),
        }
    }
}
