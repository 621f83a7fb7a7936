//! The pool: keeps agents warm, assigns tasks to idle ones, replaces those that fail.

mod actor;
mod cold_starts;
pub(crate) mod messages;
mod placements;
mod why;

pub(crate) use actor::PoolActor;
