//! Warm child processes: agents in any language, behind JSON-RPC on standard input and output.
//!
//! `docs/agent-protocol.md` describes the messages. A child is started from an operator's [`ProcessSpec`] only, never
//! from a task. Whatever it does (garbage, floods, silence, death) fails at most its own task, with an
//! [`AgentError`](forerunner_runtime::agent::AgentError) that names what happened, and within a bound of time and
//! memory:
//!
//! - `line` buffers one line of bounded length, unpacked if the child packs; `stderr` retains the end of its standard error, and
//!   `stderr_lines` passes it on to the log of the task that runs;
//! - `wire` writes and reads at the same time and watches for the end of the process; `link` matches answers to requests;
//! - `home` gives a child a HOME of its own, if its kind needs one;
//! - `group` kills the child with all its descendants and leaves no zombie; `cleanup` finds those that got away and removes
//!   the child's directory; `sandbox` confines it before exec; `account` and `diagnosis` explain why a start failed;
//! - `preflight` finds before a start what the machine lacks;
//! - `resident`, `edit` and `load` decide what a child must be sent of a context; `driver` runs attempts; `ask` reads what an agent asks; `factory` starts
//!   children.
//!
//! Linux only: it relies on process file descriptors and on the parent-death signal.

mod account;
mod ask;
mod builtin;
mod cleanup;
mod diagnosis;
mod dictionary;
mod driver;
mod edit;
mod factory;
mod group;
mod home;
mod line;
mod link;
mod load;
mod os;
mod preflight;
mod protocol;
mod resident;
mod sandbox;
mod spawner;
mod spec;
mod stderr;
mod stderr_lines;
mod task_error;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

pub(crate) use account::Account;
pub use builtin::{BuiltinAgentOptions, serve_stdio};
pub(crate) use cleanup::{Owner, prepare as prepare_cleanup};
pub use driver::ProcessDriver;
pub use factory::ProcessFactory;
pub(crate) use factory::handshake;
pub(crate) use home::{HOME, HomeSpec};
pub(crate) use link::Link;
pub use protocol::{AgentInfo, AgentName, Capabilities, Compression, OLDEST_PROTOCOL, PROTOCOL_VERSION, code};
pub(crate) use protocol::{mended, short};
pub use sandbox::shield_node;
pub use spec::{DEFAULT_ENV_PASS, ProcessLimits, ProcessSpec};
pub(crate) use wire::{Traffic, Wire, after};
