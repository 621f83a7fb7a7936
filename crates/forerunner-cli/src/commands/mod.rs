//! The commands, one a file.

mod agent;
mod bench;
mod completions;
mod config;
mod demo;
mod explain;
pub mod fields;
mod migrate;
mod pool;
pub mod serve;
mod submit;
mod task;
mod watch;

use clap::Subcommand;

use crate::output::Output;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replay a production trace through a real service and see how it went.
    Demo(demo::DemoArgs),
    /// Run the service.
    Serve(serve::ServeArgs),
    /// Submit a task.
    Submit(submit::SubmitArgs),
    /// See and steer tasks.
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// See and steer pools.
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    /// Say why something is as it is.
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// See and check the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Bring a store to the newest schema, and leave it there.
    Migrate(migrate::MigrateArgs),
    /// Measure this machine.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Be a small agent on standard input and output: for demos and for trying out a configuration.
    Agent(agent::AgentArgs),
    /// Write a completion script for a shell.
    Completions(completions::CompletionsArgs),
}

/// Runs a command to its end.
pub async fn run(command: Command, out: &Output) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(args, out).await,
        Command::Serve(args) => serve::run(args, out).await,
        Command::Submit(args) => submit::run(args, out).await,
        Command::Task(command) => task::run(command, out).await,
        Command::Pool(command) => pool::run(command, out).await,
        Command::Explain(command) => explain::run(command, out).await,
        Command::Config(command) => config::run(command, out),
        Command::Migrate(args) => migrate::run(args, out).await,
        Command::Bench(command) => bench::run(command, out).await,
        Command::Agent(args) => agent::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}
