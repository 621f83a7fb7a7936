//! `forerunner completions`: a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

use crate::cli::Cli;

/// Which shell.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that will read the script.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script to standard output.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    clap_complete::generate(args.shell, &mut Cli::grammar(), "forerunner", &mut std::io::stdout());
    Ok(())
}
