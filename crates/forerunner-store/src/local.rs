//! What a store can do whose tasks are in the memory of this process.

use std::sync::Arc;

use forerunner_core::Task;

#[cfg(doc)]
use crate::Submission;
use crate::{Bounds, Claim, EnqueueOutcome, LeaseLost, Refusal, Settled, Settlement, StoreError};

/// The verbs of a task's life, for a store that answers within the call and shares its rows with the caller.
///
/// Each verb does what the one of [`TaskStore`](crate::TaskStore) with the same name does. Nothing is copied: a row is
/// changed in place while nobody else refers to it.
pub trait LocalStore: Send + Sync {
    /// Accepts a task: see [`Submission`] for the other two.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    fn enqueue_now(
        &self,
        task: Arc<Task>,
        fingerprint: Option<[u8; 32]>,
        bounds: Bounds,
    ) -> Result<Result<EnqueueOutcome, Refusal>, StoreError>;

    /// Leases tasks.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    fn claim_now(&self, claim: &Claim) -> Result<Vec<Arc<Task>>, StoreError>;

    /// Ends an attempt. `leased` is the row that the claim returned: given back, it can be changed in place. Returns the
    /// row after the change.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    fn settle_now(
        &self,
        leased: Arc<Task>,
        settlement: Settlement,
    ) -> Result<Result<(Settled, Arc<Task>), LeaseLost>, StoreError>;
}
