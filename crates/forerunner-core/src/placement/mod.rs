//! Which agent gets which task, so that contexts travel little.
//!
//! Pure. [`choose`] compares the first waiting tasks with the agents in seconds, by the [`Rates`] that
//! [`PlacementStats`] measured. [`ResidentSet`] is the set of contexts in an agent. [`PlacementRecord`] explains a
//! choice afterwards. The same code places tasks in a running pool and in a replay.

mod candidate;
mod choose;
mod cost;
mod idle;
mod meter;
mod record;
mod resident_set;
mod returns;
mod stats;

pub use candidate::{AgentContexts, Candidate, Restored};
pub use choose::{Agent, Choice, Deferral, LOOKAHEAD, PairCost, PlacementPlan, WaitingTask, choose};
pub use cost::{Rates, RestoreCost};
pub use idle::IdleAgents;
pub use meter::{RestoreMeter, RunningMean};
pub use record::{AgentCost, PlacementReason, PlacementRecord, RECORDED_AGENTS, RatesRecord};
pub use resident_set::{ResidentEntry, ResidentSet, Room};
pub use returns::ReturnChances;
pub use stats::PlacementStats;
