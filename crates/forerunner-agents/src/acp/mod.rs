//! Agents that speak the Agent Client Protocol (ACP): coding agents as their makers ship them.
//!
//! The node is the client. A process is warm when it has answered `initialize` and made a session. A context of a task is
//! a session of the agent, with a working directory of its own. `docs/acp.md` describes the settings, and what becomes of
//! a conversation whose process ends.
//!
//! - `turn` decides what each message makes of a turn; `permission` decides who may do what; `verdict` decides what the end
//!   of a turn makes of the attempt. These are pure;
//! - `rpc` and `update` read messages tolerantly; `request` writes them;
//! - `conversation` converts between the items of a context and a session: its transcript and its files;
//! - `files` reads and writes the files of sessions below HOME, and follows no link;
//! - `connection` matches answers to requests and serves what agents ask of their client; `sessions` knows which contexts
//!   are sessions;
//! - `driver` runs attempts: `opening` opens, resumes and closes sessions, `playing` plays a turn, `saving` stores what it
//!   changed; `factory` starts processes;
//! - `spec` has the settings, and `presets` what is known of common agents.

mod connection;
mod conversation;
mod driver;
mod factory;
mod files;
mod opening;
mod permission;
mod playing;
mod presets;
mod request;
mod rpc;
mod saving;
mod sessions;
mod spec;
#[cfg(test)]
mod tests;
mod turn;
mod update;
mod verdict;

pub use permission::{PermissionMode, PermissionRule};
pub use presets::{PRESETS, Preset};
pub use spec::AcpSpec;
