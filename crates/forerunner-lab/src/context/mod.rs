//! `forerunner context`: what moving contexts costs.

mod bench;
mod train;

use clap::Subcommand;
use forerunner_console::output::Output;

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Measure on recorded sessions how many bytes a turn moves, and how long that takes.
    Bench(bench::BenchArgs),
    /// Learn from recorded sessions a dictionary that makes the changes of contexts of such agents shorter.
    Train(train::TrainArgs),
}

/// Runs the command to its end.
pub async fn run(command: ContextCommand, out: &Output) -> anyhow::Result<()> {
    match command {
        ContextCommand::Bench(args) => bench::run(args, out).await,
        ContextCommand::Train(args) => train::run(args, out).await,
    }
}
