//! The pool: keeps agents warm, assigns tasks to idle ones, replaces those that fail.

mod actor;
mod cold_starts;
mod explain;
pub(crate) mod messages;
mod placements;

pub(crate) use actor::PoolActor;
