//! The queue: accepts tasks, hands them out as agents become free, settles how they ended.

mod accept;
mod actor;
mod bulk;
mod claims;
mod control;
mod held;
mod look;
pub(crate) mod messages;
mod outage;
mod pace;
mod reconcile;
mod settle;
mod suspects;
mod tally;
pub(crate) mod waits;

pub(crate) use actor::QueueActor;
#[cfg(feature = "test-util")]
pub(crate) use actor::QueueWays;
