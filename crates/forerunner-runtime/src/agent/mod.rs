//! Agents: the actor that owns one, and the interface that every kind of agent implements.
//!
//! An author of a driver implements [`Driver`] and [`DriverFactory`], and creates items of contexts with [`items`].

mod actor;
mod attempt;
mod cancel;
mod context;
mod deps;
mod driver;
mod ending;
mod error;
mod held;
pub mod items;
pub(crate) mod messages;
mod quick;
mod renewal;
mod sink;

pub(crate) use actor::AgentActor;
pub(crate) use cancel::CancelReason;
pub use context::{AgentContext, ProgressSink, Transfer};
pub(crate) use deps::AgentDeps;
pub use driver::{
    AttemptRequest, AttemptSlot, Driver, DriverFactory, ResidentContext, ResidentContexts, SlotAnswer, StartRequest,
};
pub use error::AgentError;
