//! What a store can do whose tasks are in the memory of this process.

use std::sync::Arc;

use forerunner_core::Task;
use tokio::sync::oneshot;

#[cfg(doc)]
use crate::Submission;
use crate::{Bounds, Claim, EnqueueOutcome, LeaseLost, Refusal, Settled, Settlement, StoreError};

/// Gets the row of a task when it ends. It is dropped with the store, or where no task was made.
pub type EndWaiter = oneshot::Sender<Arc<Task>>;

/// An attempt that is settled.
#[derive(Debug)]
pub struct SettledNow {
    /// What became of the task.
    pub settled: Settled,
    /// The row after the change.
    pub row: Arc<Task>,
    /// Who waits for the end, if this was it.
    pub waiter: Option<EndWaiter>,
}

/// The verbs of a task's life, for a store that answers within the call and shares its rows with the caller.
///
/// Each verb does what the one of [`TaskStore`](crate::TaskStore) with the same name does. Nothing is copied: a row is
/// changed in place while nobody else refers to it.
pub trait LocalStore: Send + Sync {
    /// Accepts a task: see [`Submission`] for the next two. `waiter` gets the row when the task ends, however it does.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    fn enqueue_now(
        &self,
        task: Arc<Task>,
        fingerprint: Option<[u8; 32]>,
        bounds: Bounds,
        waiter: Option<EndWaiter>,
    ) -> Result<Result<EnqueueOutcome, Refusal>, StoreError>;

    /// Leases tasks.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    fn claim_now(&self, claim: &Claim) -> Result<Vec<Arc<Task>>, StoreError>;

    /// Ends an attempt. `leased` is the row that the claim returned: given back, it can be changed in place. Returns the
    /// row after the change, and leaves it to the caller to send it to the waiter. The change of the context is
    /// taken out of the settlement.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    fn settle_now(
        &self,
        leased: Arc<Task>,
        settlement: &mut Settlement,
    ) -> Result<Result<SettledNow, LeaseLost>, StoreError>;
}
