//! `forerunner context`: what moving contexts costs.

mod bench;

use clap::Subcommand;

use crate::output::Output;

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Measure on recorded sessions how many bytes a turn moves, and how long that takes.
    Bench(bench::BenchArgs),
}

/// Runs the command to its end.
pub async fn run(command: ContextCommand, out: &Output) -> anyhow::Result<()> {
    match command {
        ContextCommand::Bench(args) => bench::run(args, out).await,
    }
}
