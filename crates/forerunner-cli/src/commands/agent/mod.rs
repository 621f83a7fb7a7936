//! `forerunner agent`: a small agent on standard input and output, new projects, and a trial of other agents.

mod new;
mod templates;
mod trial;

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use forerunner_agents::process::{BuiltinAgentOptions, serve_stdio};
use forerunner_console::{Usage, output::Output};
use forerunner_core::parse_duration;

/// How the agent behaves.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AgentArgs {
    /// What to do instead.
    #[command(subcommand)]
    command: Option<AgentCommand>,
    /// How long it takes to become ready.
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "DURATION")]
    cold_start: Duration,
    /// How long a task takes without `service_s` in its input.
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "DURATION")]
    service: Duration,
    /// How many times faster time passes.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    speed: f64,
    /// How many contexts fit into its memory.
    #[arg(long, default_value_t = 64, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=1_024))]
    contexts: u32,
    /// Seconds to load a megabyte (10⁶ bytes) of a context.
    #[arg(long, default_value_t = 0.0, value_name = "S_PER_MB")]
    load: f64,
}

/// What else there is about agents.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Write a small project with an agent that runs at once.
    New(new::NewArgs),
    /// Walk an agent through start, task, cancellation and stop, and report what is wrong.
    Try(trial::TryArgs),
}

/// Serves tasks until the node stops it, or standard input ends; or runs the command.
pub async fn run(args: &AgentArgs, out: &Output) -> anyhow::Result<()> {
    match &args.command {
        Some(AgentCommand::New(args)) => new::run(args, out),
        Some(AgentCommand::Try(args)) => trial::run(args, out).await,
        None => serve(args),
    }
}

fn serve(args: &AgentArgs) -> anyhow::Result<()> {
    if !(args.speed > 0.0 && args.speed.is_finite()) {
        return Err(Usage(format!("--speed {} is not valid; use a number above 0", args.speed)).into());
    }
    let AgentArgs { cold_start, service, speed, contexts, load: load_s_per_mb, .. } = *args;
    if !(load_s_per_mb >= 0.0 && load_s_per_mb.is_finite()) {
        return Err(Usage(format!("--load {load_s_per_mb} is not valid; use seconds a megabyte, such as 2")).into());
    }
    let options =
        BuiltinAgentOptions { cold_start, service, speed, contexts, load_s_per_mb, ..BuiltinAgentOptions::default() };
    serve_stdio(options).context("the node that started this agent has ended")
}
