//! Which agent gets which task, so that contexts travel little.
//!
//! Pure. [`choose`] weighs the first waiting tasks against the agents in seconds, by the [`Rates`] that [`Experience`]
//! measured; [`Held`] is what an agent holds; [`PlacementRecord`] says afterwards why. The same code places tasks in a
//! running pool and in a replay.

mod candidate;
mod choose;
mod cost;
mod experience;
mod held;
mod idle;
mod meter;
mod record;

pub use candidate::{AgentMemory, Candidate, Restored};
pub use choose::{Agent, Choice, Fit, Hold, LOOKAHEAD, Plan, Waiting, choose};
pub use cost::{Rates, RestoreCost};
pub use experience::Experience;
pub use held::{Held, HeldContext, Room};
pub use idle::IdleAgents;
pub use meter::{Mean, RestoreMeter};
pub use record::{AgentCost, PlacementReason, PlacementRecord, RECORDED_AGENTS, RatesRecord};
