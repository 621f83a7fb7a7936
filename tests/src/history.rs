//! What was promised, held against what came of it.
//!
//! A run appends [`Event`]s to a file as they happen ([`History`]): what clients were told, what agents did, how tasks
//! were seen to stand. A pure checker ([`check`]) then names every [`Invariant`] that does not hold, with the events
//! that show it, so that any log can be judged again later.

mod check;
mod event;
mod log;
mod running;
mod verdict;

#[cfg(test)]
mod tests;

pub use check::check;
pub use event::{Epoch, Event};
pub use log::History;
pub use verdict::{Counts, Invariant, Violation};
