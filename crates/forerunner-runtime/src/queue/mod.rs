//! The queue: accepts tasks, hands them out as agents become free, settles how they ended.

mod accept;
mod actor;
mod bulk;
mod claim_selected;
mod claims;
mod control;
mod crash_throttle;
pub(crate) mod messages;
mod prefetch_buffer;
mod prefetch_tuner;
mod reconcile;
mod settle;
mod stats;
mod store_health;
pub(crate) mod wait_histogram;

pub(crate) use actor::QueueActor;
#[cfg(feature = "test-util")]
pub(crate) use actor::QueueAddrs;
