//! The queue: accepts tasks, hands them out as agents become free, settles how they ended.

mod actor;
mod control;
mod look;
pub(crate) mod messages;
mod reconcile;
mod settle;
mod tally;

pub(crate) use actor::QueueActor;
#[cfg(feature = "test-util")]
pub(crate) use actor::QueueWays;
