//! The kinds of agents that Forerunner runs: agents that speak ACP, child processes, models behind an endpoint, and
//! simulated ones.
//!
//! Each kind has settings, which an operator writes, and a driver, which an agent actor of `forerunner-runtime` uses through
//! the traits [`Driver`](forerunner_runtime::agent::Driver) and [`DriverFactory`](forerunner_runtime::agent::DriverFactory).
//! [`AgentSpec`] is the table of all kinds: the command line reads its configuration by it.
//!
//! This crate decides nothing about pools, tasks and contexts: it starts agents, runs their attempts and stops them.
//!
//! ```
//! use forerunner_agents::{AgentSpec, SimulatedSpec};
//!
//! let spec: AgentSpec = serde_json::from_str(r#"{"kind": "simulated", "service": "250ms"}"#)?;
//! assert!(matches!(&spec, AgentSpec::Simulated(SimulatedSpec { service, .. }) if service.as_millis() == 250));
//! assert_eq!(spec.factory().unwrap().kind(), "simulated");
//! # Ok::<(), serde_json::Error>(())
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod acp;
mod endpoint;
mod kinds;
mod openai;
pub mod process;
pub mod remote;
mod secret;
mod simulated;
mod webhook;

pub use endpoint::EndpointSettings;
pub use kinds::{AgentKind, AgentSpec, KINDS, KindInfo, MissingFile};
pub use openai::{OpenAiSpec, Wire};
pub use remote::RemoteSpec;
pub use secret::read_secret;
pub use simulated::{SimulatedFactory, SimulatedOutage, SimulatedSpec};
pub use webhook::HttpSpec;
