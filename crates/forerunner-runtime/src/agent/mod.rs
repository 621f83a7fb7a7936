//! Agents: what they are to the actors, and the kinds there are.

mod actor;
mod attempt;
mod context;
mod driver;
mod error;
mod memory;
pub(crate) mod messages;
pub mod process;
mod simulated;

pub(crate) use actor::AgentActor;
pub(crate) use attempt::StopWhy;
pub use context::{AgentContext, ProgressSink};
pub use driver::{Driver, DriverFactory, Job, Seat};
pub use error::AgentError;
pub use simulated::{SimulatedFactory, SimulatedSpec};
