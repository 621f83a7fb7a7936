//! Promises, compared with what happened.
//!
//! A run appends [`Event`]s to a file as they happen ([`History`]): answers to clients, effects of agents, observed
//! states of tasks. A pure checker ([`check`]) then names every violated [`Invariant`], with the events that show it.
//! So any log can be checked again later.

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
