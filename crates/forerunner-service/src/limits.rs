//! Limits of one call, and of all calls together.

use std::time::Duration;

use crate::{error::Error, problem_kind::ProblemKind};

/// Default number of entries of a page.
pub const PAGE: usize = 50;
/// Most entries of a page.
pub const MAX_PAGE: usize = 1_000;
/// Default number of minutes of a history.
pub const MINUTES: u32 = 15;
/// Most minutes of a history: the node stores no more.
pub const MAX_MINUTES: u32 = 60;
/// Most tasks of a batch.
pub const MAX_BATCH: usize = 1_000;
/// When to retry a call that the node had no memory for.
const RETRY: Duration = Duration::from_secs(1);

/// Limits that an operator sets, over all fronts of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest wait for a result.
    pub max_wait: Duration,
    /// Most bytes of requests and answers in flight.
    pub memory_bytes: usize,
}

/// Refuses a batch of too many tasks.
///
/// # Errors
/// [`ProblemKind::BatchTooLarge`].
pub fn check_batch(count: usize) -> Result<(), Error> {
    if count <= MAX_BATCH {
        return Ok(());
    }
    let detail = format!("{count} tasks are too many for one batch; send {MAX_BATCH} at most");
    Err(Error::new(ProblemKind::BatchTooLarge, detail).with("count", count).with("limit", MAX_BATCH))
}

impl Limits {
    /// A request, or an answer, that is over the budget.
    pub fn no_memory(&self) -> Error {
        let limit = self.memory_bytes;
        let detail = format!(
            "bodies and answers in flight have reached their limit of {limit} bytes; try again later, or raise \
             http.memory_bytes"
        );
        Error::new(ProblemKind::NoRoom, detail).with("limit", limit).retry_after(RETRY).close_connection()
    }
}
