//! `forerunner config`: the effective configuration, and the origin of each value.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use forerunner_console::{
    Usage,
    output::{Output, note, render, seconds, table},
    terminal::harmless_lines,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{self, Config, ConfigArgs, Entry, Loaded, Origin, dotted, secret};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show every effective value and its origin: default, file, environment or flag.
    Show(ShowArgs),
    /// Check a file without the environment, and print what it would run and what this machine lacks for it.
    Check(CheckArgs),
    /// Print an example: a sizing rule or a kind of agent with all its settings. Without a name, list the examples.
    Example(ExampleArgs),
}

/// The same flags as those of `serve`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Leave out the values that are defaults.
    #[arg(long)]
    changed: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Which file.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file.
    file: PathBuf,
    /// Fail if this machine lacks a program or a file that the configuration names.
    #[arg(long)]
    strict: bool,
}

/// Which example.
#[derive(Debug, Args)]
pub struct ExampleArgs {
    /// `pool`, a kind of agent or a sizing rule.
    name: Option<String>,
}

/// Shows or checks.
pub fn run(command: ConfigCommand, out: &Output) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Show(args) => show(&args, out),
        ConfigCommand::Check(args) => check(&args, out),
        ConfigCommand::Example(args) => example(args.name.as_deref(), out),
    }
}

#[derive(Serialize)]
struct Row {
    key: String,
    value: Value,
    origin: String,
}

fn show(args: &ShowArgs, out: &Output) -> anyhow::Result<()> {
    let loaded = Loaded::read(&args.config)?;
    note(&format!("configuration file: {}", loaded.source()));
    let entries = loaded.effective()?.into_iter().filter(|entry| !args.changed || entry.origin != Origin::Default);
    let rows: Vec<Row> = entries.map(row).collect::<anyhow::Result<_>>()?;
    out.show(&rows, || render_rows(&rows))
}

fn row(entry: Entry) -> anyhow::Result<Row> {
    let value = serde_json::to_value(secret::shown(&entry.key, &entry.value))?;
    Ok(Row { key: dotted(&entry.key), value, origin: entry.origin.to_string() })
}

fn render_rows(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "every value is a default".to_owned();
    }
    render(&table(
        ["key", "value", "from"],
        rows.iter().map(|row| [row.key.clone(), row.value.to_string(), row.origin.clone()]),
    ))
}

fn check(args: &CheckArgs, out: &Output) -> anyhow::Result<()> {
    let loaded = Loaded::of_file(&args.file)?;
    config::check(&loaded)?;
    let warnings = config::warnings(&loaded);
    if args.strict && !warnings.is_empty() {
        return Err(Usage(warnings.join("\n       ")).into());
    }
    for warning in &warnings {
        note(&format!("{} {}", out.bad("warning:"), harmless_lines(warning)));
    }
    let pools: Vec<_> = loaded.config.pools.keys().collect();
    let answer = json!({ "file": args.file, "valid": true, "pools": pools, "warnings": warnings });
    out.show(&answer, || format!("{} is valid. {}", args.file.display(), plan(&loaded.config)))
}

fn example(name: Option<&str>, out: &Output) -> anyhow::Result<()> {
    if let Some(name) = name {
        let text = config::example(name)?;
        return out.show(&json!({ "name": name, "text": text }), || text.trim_end().to_owned());
    }
    let rows: Vec<_> = config::examples().iter().map(|(name, text)| (*name, config::title(text))).collect();
    let answer: Vec<_> = rows.iter().map(|(name, title)| json!({ "name": name, "title": title })).collect();
    out.show(&answer, || {
        let lines = rows.iter().map(|(name, title)| [(*name).to_owned(), title.clone()]);
        render(&table(["example", "what it is"], lines))
    })
}

/// Describes what a configuration would run.
fn plan(config: &Config) -> String {
    let pools: Vec<String> = config
        .pools
        .iter()
        .map(|(name, pool)| {
            let on_time = &pool.settings.on_time;
            format!(
                "  {name}: {} to {} {}; {} % on time within {}, by the rule `{}`",
                pool.settings.min,
                pool.settings.max,
                pool.agent.describe(),
                on_time.share * 100.0,
                seconds(on_time.within.as_secs_f64()),
                pool.settings.policy.name(),
            )
        })
        .collect();
    format!(
        "It would listen on {} and store tasks in {}, with these pools:\n{}",
        config.http.listen,
        secret::address(&config.store.url),
        pools.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use forerunner_console::output::Format;

    use super::*;

    /// The error of a check of a file with this text, which is a wrong configuration.
    fn refusal(text: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("f.toml");
        std::fs::write(&file, text).expect("a file");
        let error = check(&CheckArgs { file, strict: false }, &Output::new(Format::Json)).expect_err("not valid");
        assert_eq!(crate::exit::code(&error), 2, "{error:#}");
        format!("{error:#}")
    }

    #[test]
    fn what_could_not_be_served_does_not_pass_the_check() {
        let without_pools = refusal(include_str!("../../../../config/forerunner.toml"));
        assert!(
            without_pools.contains("f.toml has none") && without_pools.contains("[pools.coder]"),
            "{without_pools}"
        );
        let without_dictionary =
            refusal("[pools.a]\nagent = { kind = \"simulated\" }\ncontexts.dictionary = \"/nowhere/a.dict\"\n");
        assert!(without_dictionary.starts_with("pool `a`: dictionary /nowhere/a.dict"), "{without_dictionary}");
    }

    #[test]
    fn what_the_machine_lacks_is_an_error_for_a_strict_check_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("f.toml");
        let text = "[pools.a]\nagent = { kind = \"process\", argv = [\"pyton3-not-installed\", \"agent.py\"] }\n";
        std::fs::write(&file, text).expect("a file");
        let out = Output::new(Format::Json);
        check(&CheckArgs { file: file.clone(), strict: false }, &out).expect("valid");
        let error = check(&CheckArgs { file, strict: true }, &out).expect_err("nothing to run");
        assert_eq!(crate::exit::code(&error), 2);
        let answer = error.to_string();
        assert!(
            answer.contains("f.toml:2: `pools.a.agent.argv`: `pyton3-not-installed`: no program of that name"),
            "{answer}"
        );
        assert!(answer.contains("`agent.py` is relative") && answer.contains("set `cwd`"), "{answer}");
    }

    #[test]
    fn a_check_shows_no_password() {
        let mut config = Config::default();
        assert!(plan(&config).contains("sqlite:forerunner.db"), "{}", plan(&config));
        config.store.url = "postgres://me:secret@db:5432/tasks".to_owned();
        let answer = plan(&config);
        assert!(answer.contains("postgres://(hidden)@db:5432/tasks") && !answer.contains("secret"), "{answer}");
    }

    #[test]
    fn a_file_that_is_not_there_is_refused_without_advice_for_another_command() {
        let args = CheckArgs { file: "/nowhere/f.toml".into(), strict: false };
        let error = check(&args, &Output::new(Format::Json)).expect_err("no file");
        assert_eq!(crate::exit::code(&error), 2);
        assert!(!error.to_string().contains("--config"), "{error}");
    }

    #[test]
    fn what_agents_are_given_as_environment_is_not_shown() {
        let key = ["pools", "coder", "agent", "env", "API_KEY"].map(str::to_owned).to_vec();
        let row = row(Entry { key, value: "s3cret".into(), origin: Origin::Default }).expect("a row");
        assert_eq!(row.value, Value::from("(hidden)"));
    }
}
