//! Forerunner's store in PostgreSQL: durable, for several nodes.
//!
//! [`PostgresStore`] is a [`Store`](forerunner_store::Store) like those in memory and in SQLite, and passes the same
//! suite. It is a crate of its own so that nothing else needs a database client: only the code that opens a store by
//! its address knows it.
//!
//! It is not a way to talk to PostgreSQL. Its tables are its own, and no SQL leaves it.
//!
//! ```no_run
//! use forerunner_postgres::{PostgresOptions, PostgresStore};
//! use forerunner_store::ClusterStore;
//!
//! # fn main() -> Result<(), forerunner_store::StoreError> {
//! let store = PostgresStore::open("postgres://forerunner@localhost/forerunner", PostgresOptions::default())?;
//! assert!(store.is_shared());
//! # Ok(())
//! # }
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod accept;
mod address;
mod affinity;
mod api_keys;
mod attempts;
mod batch;
mod bulk;
mod bulk_cancel;
mod bulk_contexts;
mod bulk_move;
mod bulk_retry;
mod claim;
mod class;
mod context_queue;
mod contexts;
mod damaged;
mod direct;
mod ended;
mod events;
mod failure;
mod insert;
mod link;
mod listing;
mod liveness;
mod lookup;
mod maintenance;
mod migration;
mod node_state;
mod nodes;
mod notifier;
mod oldest_transaction;
mod options;
mod partitions;
mod peek;
mod ready;
mod request;
mod rescue;
mod rows;
mod scan_cursors;
mod schedules;
mod schema;
mod select;
mod sent_ids;
mod settle;
mod shared_objects;
mod sizes;
mod store;
mod tables;
mod tls;
mod tx;
mod unanswered;
mod unit_of_work;
mod unread;
mod update;
mod values;
mod waiting;
mod writer;

pub use options::PostgresOptions;
pub use store::PostgresStore;
