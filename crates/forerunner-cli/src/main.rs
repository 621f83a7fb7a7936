//! The `forerunner` command.

mod cli;
mod client;
mod commands;
mod config;
mod exit;
mod files;
mod markers;
mod output;
mod progress;
mod signals;
mod spark;
mod telemetry;

use std::process::ExitCode;

use crate::{cli::Cli, output::Output};

fn main() -> ExitCode {
    let cli = Cli::read();
    let out = Output::new(cli.output);
    let system = actix_rt::System::new();
    match system.block_on(commands::run(cli.command, &out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error, &out),
    }
}
