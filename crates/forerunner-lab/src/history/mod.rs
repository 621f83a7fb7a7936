//! The tasks of a service as a trace, to be replayed.

mod csv;
mod finished;

pub use csv::{TraceText, save, write};
pub use finished::{FinishedTask, FinishedTasks};
