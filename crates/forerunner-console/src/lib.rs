//! How the program and the laboratory write to a terminal: answers as tables or JSON, charts, notes, progress.
//!
//! Foreign text passes [`terminal`] before it is written, so that no character of it acts on the terminal. All output
//! to standard output and standard error goes through [`stdio`].
//!
//! It knows no tasks, pools or services. It also reads text files ([`text`]), and has [`Usage`], the error of an
//! invalid command.
//!
//! ```
//! use forerunner_console::output::{pairs, seconds, table, render};
//!
//! assert_eq!(seconds(0.25), "250 ms");
//! assert_eq!(pairs([("pool", "coder".to_owned())]), "pool  coder");
//! assert_eq!(render(&table(["pool"], [["coder".to_owned()]])), "POOL\ncoder");
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod fields;
pub mod json;
pub mod line_writer;
pub mod output;
pub mod progress;
pub mod spark;
pub mod stdio;
pub mod terminal;
pub mod text;
mod usage;

pub use usage::Usage;
