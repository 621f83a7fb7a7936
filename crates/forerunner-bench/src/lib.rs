//! Measurements of Forerunner beside reference implementations of the same work, taken in one run.
//!
//! A figure of one machine has little meaning. A ratio to a well-known reference, measured directly before and after on
//! the same machine, has more. Each function here runs the product and its references in turns, several times, and
//! reports medians, ratios and spreads, with the budgets of the project.
//!
//! These are measurements, not tests: they fail when something fails, never because it is slow.
//!
//! ```
//! let report = forerunner_bench::in_process(&forerunner_bench::Options::quick(), &mut |_| {})?;
//! assert!(report.rows.iter().all(|row| row.ours > 0.0));
//! # Ok::<(), forerunner_bench::Error>(())
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod backlog;
mod durable;
mod error;
mod http;
mod idle_agents;
mod in_process;
mod instructions;
mod options;
mod ours;
mod postgres;
mod reference;
mod report;
mod rounds;
mod service;
mod stored;

pub use backlog::backlog;
pub use durable::durable;
pub use error::Error;
pub use http::http;
pub use in_process::in_process;
pub use instructions::{Load, instructions};
pub use options::Options;
pub use postgres::postgres;
pub use report::{Budget, Report, Row, Unit};
pub use rounds::Progress;
