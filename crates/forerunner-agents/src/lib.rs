//! The kinds of agents that Forerunner runs: child processes, and simulated ones.
//!
//! Each kind has settings, which an operator writes, and a driver, which an agent actor of `forerunner-runtime` uses through
//! the traits [`Driver`](forerunner_runtime::agent::Driver) and [`DriverFactory`](forerunner_runtime::agent::DriverFactory).
//!
//! This crate decides nothing about pools, tasks and contexts: it starts agents, runs their attempts and stops them.
//!
//! ```
//! use forerunner_agents::{SimulatedFactory, SimulatedSpec};
//! use forerunner_runtime::agent::DriverFactory;
//!
//! let spec: SimulatedSpec = serde_json::from_str(r#"{"service": "250ms"}"#)?;
//! assert_eq!(SimulatedFactory::new(spec).unwrap().kind(), "simulated");
//! # Ok::<(), serde_json::Error>(())
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod process;
mod secret;
mod simulated;

pub use secret::read_secret;
pub use simulated::{SimulatedFactory, SimulatedSpec};
