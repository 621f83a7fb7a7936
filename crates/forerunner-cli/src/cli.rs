//! The grammar of the command line.

use clap::{Arg, ArgAction, Command as Grammar, CommandFactory, FromArgMatches, Parser, builder::FalseyValueParser};
use forerunner_console::{
    output::{self, Format},
    terminal::harmless_lines,
};

use crate::commands::Command;

/// Pools of warm agents that are ready before the queue spikes.
///
/// `forerunner demo` shows the main job in two minutes; `forerunner serve` runs the service.
#[derive(Debug, Parser)]
#[command(name = "forerunner", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// How answers are written to standard output.
    #[arg(long, global = true, help_heading = "Global options", value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 failed, 2 wrong usage or configuration, 3 the service cannot be reached, 4 the store \
cannot be opened or closed, 5 the service cannot listen, 128 + N signal N ended it early.
Every flag can be set by the environment variable that its help names; NO_COLOR turns colours off.";

impl Cli {
    /// Reads the process's arguments and environment; prints help and usage errors itself.
    pub fn read() -> Self {
        let matches = Self::grammar().try_get_matches();
        matches.and_then(|matches| Self::from_arg_matches(&matches)).unwrap_or_else(|error| refuse(&error))
    }

    /// Returns the grammar with an environment variable for every flag.
    pub fn grammar() -> Grammar {
        with_env(Self::command(), "FORERUNNER")
    }
}

/// Ends the process with a usage error, or with help. An argument that is quoted cannot act on the terminal.
fn refuse(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    if harmless_lines(&text) == text {
        error.exit()
    }
    output::note(text.trim_end());
    std::process::exit(error.exit_code())
}

/// Names a variable for each flag that has none: `forerunner task list --state` is `FORERUNNER_TASK_LIST_STATE`.
fn with_env(grammar: Grammar, prefix: &str) -> Grammar {
    let named = grammar.mut_args(|arg| if wants_env(&arg) { arg_with_env(arg, prefix) } else { arg });
    let names: Vec<String> = named.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names.into_iter().fold(named, |grammar, name| {
        let prefix = format!("{prefix}_{}", shouted(&name));
        grammar.mut_subcommand(name, |sub| with_env(sub, &prefix))
    })
}

/// Flags that belong to the configuration read `FORERUNNER__…` there, so that `config show` can distinguish a flag from
/// a variable.
fn wants_env(arg: &Arg) -> bool {
    let is_config = arg.get_help_heading() == Some(crate::config::HEADING);
    arg.get_long().is_some() && arg.get_env().is_none() && !is_config
}

fn arg_with_env(arg: Arg, prefix: &str) -> Arg {
    let name = format!("{prefix}_{}", shouted(arg.get_long().unwrap_or_default()));
    let arg = match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        _ => arg,
    };
    // Made once a process, and as long-lived as the grammar itself.
    arg.env(&*name.leak())
}

fn shouted(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::grammar().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable() {
        fn check(grammar: &Grammar, path: &str) {
            for arg in grammar.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
                let named = arg.get_env().is_some() || help.contains("FORERUNNER__");
                assert!(named, "{path} --{}", arg.get_long().unwrap_or_default());
            }
            for sub in grammar.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&Cli::grammar(), "forerunner");
    }

    #[test]
    fn flags_may_stand_before_and_after_the_command() {
        for line in
            [["forerunner", "--output", "json", "config", "show"], ["forerunner", "config", "show", "--output", "json"]]
        {
            let matches = Cli::grammar().try_get_matches_from(line).expect("valid");
            assert_eq!(Cli::from_arg_matches(&matches).expect("valid").output, Format::Json);
        }
    }
}
