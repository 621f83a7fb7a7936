//! `forerunner agent`: a small agent on standard input and output.

use std::time::Duration;

use clap::Args;
use forerunner_core::parse_duration;

/// How the agent behaves.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// How long it takes to become ready.
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "DURATION")]
    cold_start: Duration,
    /// How many times faster than asked it works.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
}

/// Serves tasks until standard input ends.
pub async fn run(args: AgentArgs) -> anyhow::Result<()> {
    todo!()
}
