//! What starts and stops the agents that dial in: a command of the operator, which gets the number that the pool wants.
//!
//! - `spec` has the settings; `plan` decides, purely, when the command runs and for how many agents;
//! - `command` runs it once.

mod command;
mod plan;
mod spec;

pub use command::CommandFailed;
pub use plan::ProvisionPlan;
pub use spec::ProvisionerSpec;
