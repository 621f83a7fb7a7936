//! Agents: what they are to the actors, and the kinds there are.

mod context;
mod driver;
mod error;
pub mod process;
mod simulated;

pub use context::{AgentContext, ProgressSink};
pub use driver::{Driver, DriverFactory, Job, Seat};
pub use error::AgentError;
pub use simulated::{SimulatedFactory, SimulatedSpec};
