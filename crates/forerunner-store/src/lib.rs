//! Where Forerunner keeps tasks, results, contexts and history: memory, SQLite and PostgreSQL behind one trait.
//!
//! It knows nothing of actors or agents, and never reads a clock: every call says what time it is. What all stores
//! promise stands at [`Store`]; the module `conformance`, behind the feature of that name, is the suite that holds them to it, and `faulty`, behind the feature `faults`, a
//! store that fails when it is told to.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), forerunner_store::StoreError> {
//! let store = forerunner_store::open("memory:")?;
//! store.put_note("greeting".to_owned(), Some("hello".to_owned())).await?;
//! assert_eq!(store.note("greeting".to_owned()).await?.as_deref(), Some("hello"));
//! # Ok(())
//! # }
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod bulk;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod context;
mod damage;
mod error;
mod events;
#[cfg(any(test, feature = "faults"))]
pub mod faulty;
mod filter;
mod hints;
mod membership;
mod memory;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
mod rules;
mod sqlite;
mod store;
mod upkeep;

pub use bulk::{BulkAction, BulkOutcome, BulkRefusal, Obstacle, PoolOutcome, TaskChange, Updated};
pub use context::{
    ContextBase, ContextCommit, ContextFilter, ContextRead, ContextSummary, HeldVersion, Piece, PieceKind,
    StoredContext, born_of,
};
pub use forerunner_core::placement::Candidate;

pub use damage::DamagedTasks;
pub use error::{LeaseLost, Mismatch, Refusal, StoreError};
pub use events::{Event, Happened, Said, TaskEvents, said_seq};
pub use filter::{TaskFilter, TimeWindow};
pub use hints::Hints;
pub use memory::{MemoryOptions, MemoryStore};
#[cfg(feature = "postgres")]
pub use open::open_with;
pub use open::{check_address, open};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
pub use sqlite::{SqliteOptions, SqliteStore};
pub use store::{
    Backlog, Beat, Beaten, Bounds, Cancelled, Claim, ContextsFull, Enqueued, KeyHolder, LEASE, Leader, LiveNode, Look,
    Plan, Rescue, Rescued, Retired, SETTINGS, Settled, Settlement, Start, Store, StoreFuture, Submission, Swept,
    TaskCounts, TaskPage, dies_of_crash, node_lost,
};
pub use upkeep::{Holder, Upkeep};
