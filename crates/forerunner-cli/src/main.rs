//! The `forerunner` command.

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod cli;
mod client;
mod commands;
mod config;
mod exit;
mod exposure;
mod files;
mod jwks;
mod render;
mod seed;
mod server_args;
mod service_manager;
mod signals;
mod store;
mod telemetry;
mod token;
mod trust;

use std::time::Duration;

use forerunner_console::{output::Output, stdio};

use crate::cli::Cli;

/// Time limit for writing the last lines of a service, for each stream.
const LAST_LINES: Duration = Duration::from_secs(1);

fn main() {
    let cli = Cli::read();
    let out = Output::new(cli.output);
    let system = actix_rt::System::new();
    let ended = system.block_on(commands::run(cli.command, Cli::grammar, &out));
    let code = ended.map_or_else(|error| exit::report(&error, &out), |()| 0);
    stdio::flush(LAST_LINES);
    // To return would drop the system first, which waits for every thread that still does something.
    std::process::exit(code.into());
}
