//! Where Forerunner keeps tasks, results, contexts and history: memory and SQLite behind one trait.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod memory;
mod open;
mod rules;
mod sqlite;
mod store;

pub use error::{LeaseLost, Mismatch, Refusal, StoreError};
pub use memory::{MemoryOptions, MemoryStore};
pub use open::open;
pub use sqlite::{SqliteOptions, SqliteStore};
pub use store::{
    Cancelled, Claim, ContextCommit, Enqueued, LEASE, Rescue, Rescued, Settled, Settlement, Store, StoreFuture,
    StoredContext, Submission, Swept, TaskCounts, TaskFilter, TaskPage, dies_of_crash, node_lost,
};
