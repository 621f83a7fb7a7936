//! Replays where tasks with contexts land: the hit share, the bytes moved and the time lost, policy by policy.
//!
//! The model: agents run one task at a time. Each has the contexts it used last, up to so many bytes. A task first
//! restores what its agent lacks of its context, which costs a fixed time and a time for each byte. Then it runs as
//! long as recorded. Pull policies give idle agents tasks from one queue. Push policies send a task to an agent's own
//! queue when it arrives. [`PlacementPolicy::Ours`] is [`forerunner_core::placement::choose`], the code of a running
//! pool.
//!
//! Virtual time, no chance, no threads: the same load and settings give the same report, byte for byte.

mod agents;
mod engine;
mod load;
mod policy;
mod push;
mod queue;
mod report;
mod rows;

#[cfg(test)]
mod tests;

pub use engine::{PlacementReplay, PlacementStart, count_placement, replay_placement};
pub use load::{PlacementLoad, PlacementTask};
pub use policy::PlacementPolicy;
pub use report::PlacementReport;
