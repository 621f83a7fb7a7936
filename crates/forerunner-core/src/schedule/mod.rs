//! Schedules: when tasks are submitted by themselves, and what becomes of each occurrence.
//!
//! Pure: a definition says when occurrences are, a state says which of them are decided, and [`next_step`] says what to
//! do now.

mod cron;
mod decide;
mod definition;
#[cfg(test)]
mod laws;
mod state;
#[cfg(test)]
mod tests;
mod timing;

pub use cron::MAX_CRON_BYTES;
pub use decide::{GRACE, MAX_CATCH_UP, SkipReason, Step, next_step};
pub use definition::{CatchUp, Overlap, SHORTEST_INTERVAL, Schedule, ScheduleDefinition};
pub use state::{LastRun, ScheduleState, key_of, name_in_key};
