//! Experiments without a service: what a pool would do, or would have done.
//!
//! | module | answers |
//! |---|---|
//! | [`what_if`] | what other objectives would have cost a pool on its last day |
//! | `replay` | what every policy costs on recorded traces, with a table or a page of plots |
//! | `import` | recordings of other systems as traces: CSV, JSON, OTLP spans, access logs |
//! | `placement` | where tasks with contexts land, policy by policy |
//! | `advise` | what a policy decides, an observation a line |
//! | `context` | how many bytes a turn of a context moves; trains dictionaries |
//! | `history` | the tasks of a service as a trace |
//! | `demo` | what the demo shows: its load, its screen, its figures |
//! | [`seed`] | what a policy knows after a recording |
//!
//! All but [`what_if`] and [`seed`] are made for the program `forerunner`, and need the feature `commands` (on by default). Their
//! functions have the arguments of a command, write to the terminal, and return `anyhow` errors as the program does.
//!
//! It starts no node, and calls none: the caller of the demo submits its tasks, and the caller of an export reads the
//! history.
//!
//! ```
//! use forerunner_core::Timestamp;
//! use forerunner_forecast::{Objective, PolicyLimits};
//! use forerunner_lab::what_if::{History, Run, prices};
//!
//! // A task every second, four seconds each.
//! let run = |second: i64| Run { due: Timestamp::from_micros(1_000_000 * second), service_s: 4.0, session: None };
//! let history = History::of((0..600).map(run).collect(), false).unwrap();
//! let limits = PolicyLimits { min: 1, max: 40, cold_start_s: 2.0, tick_s: 1.0, objective: Objective::default() };
//! let priced = prices(&history.trace, limits, 5.0, &[0.9, 0.99], &|| false)?.unwrap();
//! assert_eq!(priced.prices.len(), 2);
//! # Ok::<(), forerunner_forecast::Error>(())
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

#[cfg(feature = "commands")]
pub mod advise;
#[cfg(feature = "commands")]
pub mod context;
#[cfg(feature = "commands")]
pub mod demo;
#[cfg(feature = "commands")]
pub mod history;
#[cfg(feature = "commands")]
pub mod import;
#[cfg(feature = "commands")]
mod markers;
#[cfg(feature = "commands")]
pub mod parse;
#[cfg(feature = "commands")]
pub mod placement;
#[cfg(feature = "commands")]
pub mod replay;
pub mod seed;
pub mod what_if;
