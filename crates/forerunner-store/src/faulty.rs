//! A store that fails on request, around one that works.
//!
//! Behind the feature `faults`, for tests of code above a store:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use std::sync::Arc;
//! use forerunner_store::{MemoryStore, SettingsStore, faulty::{Fault, FaultyStore, Schedule, Verb}};
//!
//! let second_put_is_lost = Schedule::script([(Verb::PutSetting, 2, Fault::After)]);
//! let store = FaultyStore::new(Arc::new(MemoryStore::default()), second_put_is_lost);
//! assert!(store.put_setting("a".to_owned(), Some("1".to_owned())).await.is_ok());
//! assert!(store.put_setting("a".to_owned(), Some("2".to_owned())).await.is_err());
//! // The caller got an error, although the store has the value: the outcome was unknown.
//! assert_eq!(store.setting("a".to_owned()).await.unwrap().as_deref(), Some("2"));
//! # }
//! ```

mod effect_log;
mod schedule;
mod store;
mod verb;

pub use effect_log::Effect;
pub use schedule::{Fault, Schedule};
pub use store::FaultyStore;
pub use verb::Verb;
