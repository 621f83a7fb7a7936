//! `forerunner completions`: a completion script for a shell.

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use forerunner_console::output::Output;

/// Which shell.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that will read the script.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script for a grammar to standard output.
pub fn run(args: &CompletionsArgs, grammar: &mut Command, out: &Output) -> anyhow::Result<()> {
    // Not straight to standard output: the generator panics where that cannot be written.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, grammar, "forerunner", &mut script);
    out.line(String::from_utf8(script).context("a script is text")?.trim_end())
}
