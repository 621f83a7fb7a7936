//! The layer from the command line.

use std::path::PathBuf;

use clap::Args;
use forerunner_agents::{KINDS, KindInfo};
use forerunner_console::Usage;
use toml::Value;

use super::{Entry, LogFormat, Origin, env};

/// The heading of these flags in the help.
pub const HEADING: &str = "Configuration";

/// Flags that override file and environment.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = HEADING)]
pub struct ConfigArgs {
    /// File to read; else ./forerunner.toml or /etc/forerunner/forerunner.toml if there.
    #[arg(long, env = "FORERUNNER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on [env: FORERUNNER__HTTP__LISTEN].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where tasks live: sqlite:PATH, postgres://… or memory: [env: FORERUNNER__STORE__URL].
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Level or filters of the log [env: FORERUNNER__LOG__LEVEL].
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
    /// How log lines are written [env: FORERUNNER__LOG__FORMAT].
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// How long running tasks may continue after SIGTERM [env: FORERUNNER__SHUTDOWN__GRACE].
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<String>,
    #[arg(long = "pool", value_name = "NAME=KIND:…", help = pool_help())]
    pub pools: Vec<String>,
    /// Any other key, such as pools.coder.max=20 [env: FORERUNNER__…].
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Returns the flags as a layer.
    pub fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let format = self.log_format.map(|format| format!("{format:?}").to_lowercase());
        let plain = [
            ("http.listen", "--listen", &self.listen),
            ("store.url", "--store", &self.store),
            ("log.level", "--log-level", &self.log_level),
            ("log.format", "--log-format", &format),
            ("shutdown.grace", "--grace", &self.grace),
        ];
        let mut entries: Vec<Entry> = plain
            .into_iter()
            .filter_map(|(key, flag, value)| Some(entry(key, Value::String(value.clone()?), flag)))
            .collect();
        for text in &self.pools {
            entries.extend(pool(text)?);
        }
        for text in &self.set {
            entries.push(set(text)?);
        }
        Ok(entries)
    }
}

fn entry(key: &str, value: Value, flag: &str) -> Entry {
    Entry { key: key.split('.').map(str::to_owned).collect(), value, origin: Origin::Flag(flag.to_owned()) }
}

fn set(text: &str) -> anyhow::Result<Entry> {
    match text.split_once('=') {
        Some((key, text)) if !key.trim().is_empty() => {
            let value = |entry: &Entry| env::value_of(&entry.key, text);
            let entry = entry(key.trim(), Value::Boolean(false), "--set");
            Ok(Entry { value: value(&entry), ..entry })
        }
        _ => Err(Usage(format!("--set {text}: write KEY=VALUE, such as --set pools.coder.max=20")).into()),
    }
}

/// The short forms of pools, one for each kind of agent.
fn short_forms() -> String {
    let forms: Vec<String> = KINDS.iter().map(|kind| format!("NAME={}:{}", kind.name, kind.short_form)).collect();
    forms.join(" or ")
}

fn pool_help() -> String {
    format!("A pool in short: {} [env: FORERUNNER__POOLS__NAME__…]", short_forms())
}

fn pool(text: &str) -> anyhow::Result<Vec<Entry>> {
    let refuse = || {
        let KindInfo { name, short_example, .. } = KINDS[0];
        Usage(format!("--pool {text}: write {}, such as --pool 'coder={name}:{short_example}'", short_forms()))
    };
    let (name, agent) = text.split_once('=').ok_or_else(refuse)?;
    let (kind, rest) = agent.split_once(':').unwrap_or((agent, ""));
    let settings = KindInfo::named(kind).and_then(|kind| (kind.from_short)(rest)).ok_or_else(refuse)?;
    let entry = |key: &str, value| {
        let key = ["pools", name, "agent", key].map(str::to_owned).to_vec();
        Entry { key, value, origin: Origin::Flag("--pool".to_owned()) }
    };
    let mut entries = vec![entry("kind", Value::from(kind))];
    for (key, value) in &settings {
        entries.push(entry(key, Value::try_from(value)?));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(args: &ConfigArgs) -> String {
        let entries = args.entries().expect("valid");
        let lines: Vec<String> =
            entries.iter().map(|e| format!("{} = {} ({})", e.key.join("."), e.value, e.origin)).collect();
        lines.join("\n")
    }

    #[test]
    fn flags_become_values() {
        let args = ConfigArgs {
            listen: Some("0.0.0.0:80".into()),
            log_format: Some(LogFormat::Json),
            pools: vec!["coder=process:python3 /srv/agent.py".into(), "demo=simulated:250ms".into()],
            set: vec!["pools.coder.max=20".into()],
            ..ConfigArgs::default()
        };
        insta::assert_snapshot!(shown(&args), @r#"
        http.listen = "0.0.0.0:80" (flag:--listen)
        log.format = "json" (flag:--log-format)
        pools.coder.agent.kind = "process" (flag:--pool)
        pools.coder.agent.argv = ["python3", "/srv/agent.py"] (flag:--pool)
        pools.demo.agent.kind = "simulated" (flag:--pool)
        pools.demo.agent.service = "250ms" (flag:--pool)
        pools.coder.max = 20 (flag:--set)
        "#);
    }

    #[test]
    fn short_forms_that_make_no_sense_are_answered_with_an_example() {
        for args in [
            ConfigArgs { pools: vec!["coder".into()], ..ConfigArgs::default() },
            ConfigArgs { pools: vec!["coder=robot:x".into()], ..ConfigArgs::default() },
            ConfigArgs { set: vec!["pools.coder.max".into()], ..ConfigArgs::default() },
        ] {
            let error = args.entries().expect_err("not valid");
            assert_eq!(crate::exit::code(&error), 2);
            assert!(error.to_string().contains("such as"), "{error}");
        }
    }
}
