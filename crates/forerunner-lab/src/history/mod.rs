//! The tasks of a service as a trace, to be replayed.

mod csv;
mod finished;

pub use csv::{Written, save, write};
pub use finished::{Finished, FinishedTasks};
