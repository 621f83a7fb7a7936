//! Where Forerunner stores tasks, results, contexts and history: one trait, and stores in memory and in SQLite.
//!
//! It knows nothing of actors, agents or database servers, and never reads a clock: every call has the time as an
//! argument. [`Store`] lists the promises of all stores. The module `conformance`, behind the feature of that name, is
//! the suite that checks them. The module `faulty`, behind the feature `faults`, is a store that fails on request. A
//! store in another crate, such as the one in PostgreSQL (`forerunner-postgres`), shares the module [`backend`] with
//! those here.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), forerunner_store::StoreError> {
//! let store = forerunner_store::open("memory:")?;
//! store.put_setting("greeting".to_owned(), Some("hello".to_owned())).await?;
//! assert_eq!(store.setting("greeting".to_owned()).await?.as_deref(), Some("hello"));
//! # Ok(())
//! # }
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod api_key;
pub mod backend;
mod bulk;
mod columns;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod context;
mod damage;
mod error;
mod events;
#[cfg(any(test, feature = "faults"))]
pub mod faulty;
mod filter;
mod local;
mod membership;
mod memory;
mod not_shared;
mod notification;
mod open;
pub mod roles;
mod rules;
mod schedule;
mod sqlite;
mod store;
mod vacuum_status;

pub use api_key::{ApiKeyConflict, ApiKeyWrite, MOST_API_KEYS, StoredApiKey};
pub use bulk::{BulkAction, BulkOutcome, BulkRefusal, Obstacle, PoolOutcome, TaskChange, Updated};
pub use context::{
    ContextBase, ContextCommit, ContextFilter, ContextRead, ContextSummary, ContextVersion, SharedObject,
    SharedObjectKind, StoredContext, born_of,
};
pub use forerunner_core::placement::Candidate;

pub use damage::DamagedTasks;
pub use error::{LeaseLost, Refusal, StateConflict, StoreError};
pub use events::{AttemptEvent, TaskEvents, event_seq};
pub use filter::{TaskFilter, TimeWindow};
pub use local::{EndWaiter, LocalStore, SettledNow};
pub use memory::{MemoryOptions, MemoryStore};
pub use notification::Notification;
pub use open::{check_address, open};
pub use roles::{
    ApiKeyStore, ClusterStore, ContextStore, EventLog, Maintenance, ScheduleStore, SettingsStore, Store, TaskStore,
};
pub use schedule::{NextRevision, ScheduleConflict, ScheduleWrite, StoredSchedule};
pub use sqlite::{SqliteOptions, SqliteStore};
pub use store::{
    Backlog, Bounds, Cancelled, Claim, ClusterState, ContextsFull, DroppedPartitions, DueTasks, EnqueueOutcome,
    Heartbeat, KeyedTask, LEASE, Leader, LiveNode, Peek, Plan, Rescue, Rescued, SETTINGS, Settled, Settlement, Start,
    StoreFuture, Submission, Swept, TaskCounts, TaskPage, TenantUsage,
};
pub use vacuum_status::{OldestTransaction, VacuumStatus};
