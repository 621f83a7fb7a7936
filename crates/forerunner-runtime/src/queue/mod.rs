//! The queue: accepts tasks, dispatches them to free agents, settles their attempts.

mod accept;
mod actor;
mod bulk;
mod claim_selected;
mod claims;
mod control;
mod crash_throttle;
mod dependency;
pub(crate) mod messages;
mod peaks;
mod prefetch_buffer;
mod prefetch_tuner;
mod reconcile;
pub(crate) mod sample;
mod schedule;
mod settle;
mod stats;
mod store_health;
pub(crate) mod tail;
pub(crate) mod totals;
mod turn_ends;
mod updates;
pub(crate) mod wait_histogram;

pub(crate) use accept::reason;
#[cfg(feature = "test-util")]
pub(crate) use actor::QueueAddrs;
pub(crate) use actor::{QueueActor, QueueDeps};
