//! `forerunner bench`: measurements of this machine.

use clap::{Args, Subcommand};

use crate::output::Output;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Tasks through a pool in process, memory store.
    InProcess(BenchArgs),
    /// Tasks over HTTP, memory store.
    Http(BenchArgs),
    /// Tasks through a pool on disk.
    Durable(BenchArgs),
}

/// How long to measure.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Seconds of measuring.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub seconds: u32,
}

/// Measures and shows the figures.
pub async fn run(command: BenchCommand, _out: &Output) -> anyhow::Result<()> {
    let (name, _args) = match command {
        BenchCommand::InProcess(args) => ("in-process", args),
        BenchCommand::Http(args) => ("http", args),
        BenchCommand::Durable(args) => ("durable", args),
    };
    anyhow::bail!("the measurement `{name}` is not built into this program")
}
