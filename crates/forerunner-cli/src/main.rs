//! The `forerunner` command.

mod cli;
mod client;
mod commands;
mod config;
mod exit;
mod line_writer;
mod markers;
mod output;
mod progress;
mod signals;
mod spark;
mod stdio;
mod telemetry;

use std::{process::ExitCode, time::Duration};

use crate::{cli::Cli, output::Output};

/// What the last lines of a service may take to be written, each stream.
const LAST_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::read();
    let out = Output::new(cli.output);
    let system = actix_rt::System::new();
    let code = match system.block_on(commands::run(cli.command, &out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error, &out),
    };
    stdio::flush(LAST_LINES);
    code
}
