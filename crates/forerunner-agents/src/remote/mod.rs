//! Agents that dial in: from other machines, over connections that may break.
//!
//! A front accepts a connection and hands it to the [`Hub`]. The agent then waits for its pool to start one. From then on a
//! [`ProcessDriver`](crate::process::ProcessDriver) speaks the protocol of `docs/agent-protocol.md` with it, as with a process.
//!
//! - `session` has the messages of one agent, numbered, over any number of connections: none is lost or read twice;
//! - `connection` is one connection of it, as a front uses it; `hub` finds the session of a connection;
//! - `provisioner` makes another system start as many agents as the pool wants;
//! - `wire` is what a link reads and writes; `factory` waits for an agent and introduces the node to it.

mod connection;
mod factory;
mod hub;
mod provisioner;
mod session;
mod spec;
#[cfg(test)]
mod tests;
mod wire;

pub use connection::Connection;
pub use factory::RemoteFactory;
pub use hub::{Hub, MOST_WAITING, NoRoom};
pub use provisioner::{CommandFailed, ProvisionPlan, ProvisionerSpec};
pub(crate) use session::Session;
pub use spec::RemoteSpec;
pub(crate) use wire::RemoteWire;
