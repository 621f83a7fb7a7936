//! Agents: what they are to the actors, and the kinds there are.

mod actor;
mod attempt;
pub(crate) mod checked;
mod context;
mod driver;
mod error;
pub(crate) mod messages;
pub mod process;
mod simulated;

pub(crate) use actor::AgentActor;
pub(crate) use attempt::StopWhy;
pub use context::{AgentContext, ProgressSink, Transfer};
pub use driver::{Driver, DriverFactory, Job, OwnContext, OwnMemory, Seat};
pub use error::AgentError;
pub use simulated::{SimulatedFactory, SimulatedSpec};
