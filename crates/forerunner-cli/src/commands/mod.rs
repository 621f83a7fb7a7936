//! The commands, one a file.

mod acp;
mod agent;
mod bench;
mod completions;
mod config;
mod demo;
mod explain;
mod history;
mod key;
mod label;
mod migrate;
mod node;
mod openapi;
mod pool;
mod schedule;
pub mod serve;
mod submit;
mod task;
mod tenant;
mod top;
mod watch;

use clap::Subcommand;
use forerunner_console::output::Output;
use forerunner_http::{FORMS_JS, THEME_CSS};
use forerunner_lab::{advise, context, placement, replay};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show agents that start before the tasks arrive: a day in virtual time, then two pools with the same tasks.
    Demo(demo::DemoArgs),
    /// Run the service.
    Serve(serve::ServeArgs),
    /// Submit a task, or the tasks of a file.
    Submit(submit::SubmitArgs),
    /// Read and change tasks.
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Read and change pools.
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    /// Submit tasks by the clock: read and change schedules.
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Make, list, rotate and revoke keys of the API.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// See and limit tenants.
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// List the nodes that share a store.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Watch the pools of a service in the terminal.
    Top(top::TopArgs),
    /// Explain a decision or a placement.
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// Replay traces under every policy: late tasks and cost of each.
    Replay(Box<replay::ReplayArgs>),
    /// Replay the placement of tasks with contexts under every policy: hit share, bytes moved, time lost.
    Placement(placement::PlacementArgs),
    /// Read observations line by line, and write the decision of a policy for each.
    Advise(advise::AdviseArgs),
    /// Export the history of a service, for replays.
    #[command(subcommand)]
    History(history::HistoryCommand),
    /// Show and check the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Migrate a store to the newest schema.
    Migrate(migrate::MigrateArgs),
    /// Measure Forerunner on this machine.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Measure what moving contexts costs, and train dictionaries.
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Run a small agent on standard input and output, make an agent of your own (`new`), or try another one (`try`).
    Agent(agent::AgentArgs),
    /// Serve a pool as an agent for editors, over the Agent Client Protocol on standard input and output.
    Acp(acp::AcpArgs),
    /// Write the OpenAPI 3.1 document of the HTTP API, to generate clients from.
    Openapi,
    /// Write a completion script for a shell.
    Completions(completions::CompletionsArgs),
}

/// What the page of a replay has in common with the dashboard.
const THEME: replay::Theme = replay::Theme { css: THEME_CSS, js: FORMS_JS };

/// Runs a command to its end. `grammar` is that of the whole command line.
pub async fn run(command: Command, grammar: fn() -> clap::Command, out: &Output) -> anyhow::Result<()> {
    match command {
        Command::Demo(args) => demo::run(args, out).await,
        Command::Serve(args) => serve::run(args, out).await,
        Command::Submit(args) => submit::run(args, out).await,
        Command::Task(command) => task::run(command, out).await,
        Command::Pool(command) => pool::run(command, out).await,
        Command::Schedule(command) => schedule::run(command, out).await,
        Command::Key(command) => key::run(command, out).await,
        Command::Tenant(command) => tenant::run(command, out).await,
        Command::Node(command) => node::run(command, out).await,
        Command::Top(args) => top::run(args, out).await,
        Command::Explain(command) => explain::run(command, out).await,
        Command::Replay(args) => replay::run(*args, THEME, out).await,
        Command::Placement(args) => placement::run(args, out).await,
        Command::Advise(args) => advise::run(args, out).await,
        Command::History(command) => history::run(command, out).await,
        Command::Config(command) => config::run(command, out),
        Command::Migrate(args) => migrate::run(args, out).await,
        Command::Bench(command) => bench::run(command, out).await,
        Command::Context(command) => context::run(command, out).await,
        Command::Agent(args) => agent::run(&args, out).await,
        Command::Acp(args) => acp::run(args).await,
        Command::Openapi => openapi::run(out),
        Command::Completions(args) => completions::run(&args, &mut grammar(), out),
    }
}
