//! The examples of configuration: the files of `config/examples`, and what follows from defaults.

use std::{borrow::Cow, collections::BTreeMap};

use forerunner_agents::{AgentSpec, KINDS, KindInfo};
use forerunner_console::Usage;
use forerunner_forecast::PolicyKind;
use toml::{Table, Value};

/// The files of `config/examples` by name, with their text; they are part of the program.
static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/examples.rs"));

/// Returns all examples by name, with their text.
///
/// A policy, or a kind of agent, without a file has an example that is made of its defaults. So a new one needs no file.
pub fn examples() -> BTreeMap<&'static str, Cow<'static, str>> {
    let policies = PolicyKind::NAMES.iter().filter_map(|name| Some((*name, of_policy(name)?)));
    let agents = KINDS.iter().filter_map(|kind| Some((kind.name, of_agent(kind)?)));
    let made = policies.chain(agents).map(|(name, text)| (name, Cow::Owned(text)));
    made.chain(FILES.iter().map(|(name, text)| (*name, Cow::Borrowed(*text)))).collect()
}

/// Returns the text of an example.
pub fn example(name: &str) -> Result<Cow<'static, str>, Usage> {
    let mut all = examples();
    let names = || examples().into_keys().collect::<Vec<_>>().join(", ");
    all.remove(name).ok_or_else(|| Usage(format!("there is no example `{name}`; use one of {}", names())))
}

/// A pool of simulated agents under a policy with its defaults. `None` if a setting has no default.
fn of_policy(name: &str) -> Option<String> {
    let policy = Value::try_from(name.parse::<PolicyKind>().ok()?).ok()?;
    let agent = Table::from_iter([("kind".to_owned(), "simulated".into())]);
    let pool = [("policy", policy), ("agent", agent.into())];
    Some(format!("# The sizing rule `{name}`: all its settings and their defaults.\n\n{}", of_pool(pool)?))
}

/// A pool of agents of a kind, with the settings of its short form and the defaults of the others.
fn of_agent(kind: &KindInfo) -> Option<String> {
    let mut settings = (kind.from_short)(kind.short_example)?;
    settings.insert("kind".to_owned(), kind.name.into());
    let spec: AgentSpec = serde_json::from_value(settings.into()).ok()?;
    let pool = [("agent", Value::try_from(spec).ok()?)];
    Some(format!("# A pool of agents of the kind `{}`, with their settings.\n\n{}", kind.name, of_pool(pool)?))
}

fn of_pool<const N: usize>(settings: [(&str, Value); N]) -> Option<String> {
    let bounds = [("min", Value::Integer(1)), ("max", Value::Integer(16))];
    let pool: Table = bounds.into_iter().chain(settings).map(|(key, value)| (key.to_owned(), value)).collect();
    let trial = Table::from_iter([("trial".to_owned(), Value::Table(pool))]);
    toml::to_string(&Table::from_iter([("pools".to_owned(), Value::Table(trial))])).ok()
}

/// Returns the first sentence of an example: what it is for.
pub fn title(text: &str) -> String {
    let comments: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
    let whole = comments.join(" ");
    whole.split_inclusive(". ").next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use forerunner_agents::{HttpSpec, OpenAiSpec, RemoteSpec, SimulatedSpec, acp::AcpSpec, process::ProcessSpec};
    use forerunner_core::PoolName;

    use super::{
        super::{Config, Loaded, PoolConfig, check, file, tests::DOCUMENTED, types},
        *,
    };

    /// Reads a file as `config check` does.
    fn loaded(text: &str) -> anyhow::Result<Loaded> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("f.toml");
        std::fs::write(&path, text).expect("a file");
        let loaded = Loaded::of_file(&path)?;
        check(&loaded)?;
        Ok(loaded)
    }

    /// The text with its optional keys: lines that begin with `#` and something else than a space.
    fn uncommented(text: &str) -> String {
        let is_key = |rest: &&str| rest.starts_with(|first: char| first == '[' || first.is_ascii_alphabetic());
        text.lines().map(|line| line.strip_prefix('#').filter(is_key).unwrap_or(line)).collect::<Vec<_>>().join("\n")
    }

    fn only_pool(config: &Config) -> (&PoolName, &PoolConfig) {
        assert_eq!(config.pools.len(), 1);
        config.pools.iter().next().expect("a pool")
    }

    #[test]
    fn every_policy_and_every_kind_of_agent_has_an_example() {
        let names: BTreeSet<&str> = examples().into_keys().collect();
        let wanted = PolicyKind::NAMES.iter().copied().chain(KINDS.iter().map(|kind| kind.name)).chain(["pool"]);
        let missing: Vec<&str> = wanted.filter(|name| !names.contains(name)).collect();
        assert!(missing.is_empty(), "config/examples lacks {missing:?}");
    }

    #[test]
    fn every_example_would_run_as_it_stands() {
        for (name, text) in examples() {
            let read = loaded(&text).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            only_pool(&read.config);
            let all = uncommented(&text);
            loaded(&all).unwrap_or_else(|error| panic!("{name} with its optional keys: {error:#}"));
        }
        loaded(&uncommented(DOCUMENTED)).unwrap_or_else(|error| panic!("forerunner.toml: {error:#}"));
    }

    #[test]
    fn without_a_file_the_defaults_make_an_example() {
        for name in PolicyKind::NAMES.iter().filter(|name| **name != "fixed") {
            let read = loaded(&of_policy(name).expect("defaults")).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            assert_eq!(only_pool(&read.config).1.settings.policy, name.parse().expect("a policy"));
        }
        for kind in KINDS {
            let text = of_agent(kind).expect("a short form");
            let read = loaded(&text).unwrap_or_else(|error| panic!("{}: {error:#}\n{text}", kind.name));
            assert!(!only_pool(&read.config).1.agent.describe().is_empty());
        }
    }

    #[test]
    fn the_example_of_a_policy_has_all_its_settings_and_their_defaults() {
        for name in PolicyKind::NAMES {
            let text = example(name).expect("an example");
            let read = loaded(&text).expect("valid");
            let policy = only_pool(&read.config).1.settings.policy;
            assert_eq!(policy.name(), *name);
            if let Ok(default) = name.parse::<PolicyKind>() {
                assert_eq!(policy, default, "{name}");
            }
            let entries = file::parse(&text, name).expect("valid TOML");
            let given = entries.iter().filter(|entry| entry.key.get(2).is_some_and(|key| key == "policy"));
            let given: BTreeSet<String> = given.filter_map(|entry| entry.key.get(3).cloned()).collect();
            let known = types::policy_schema(name).expect("a known policy").leaves();
            assert_eq!(given, known.into_iter().collect(), "{name}");
        }
    }

    #[test]
    fn the_examples_of_pools_and_agents_have_the_defaults() {
        let least = loaded("[pools.coder]\nagent = { kind = \"process\", argv = [\"a\"] }\n").expect("valid");
        let pool = loaded(&example("pool").expect("an example")).expect("valid");
        assert_eq!(only_pool(&pool.config).1.settings, only_pool(&least.config).1.settings);
        let process = loaded(&example("process").expect("an example")).expect("valid");
        let AgentSpec::Process(process) = &only_pool(&process.config).1.agent else { panic!("a process") };
        assert_eq!(*process, ProcessSpec::new(process.argv.clone()));
        let acp = loaded(&example("acp").expect("an example")).expect("valid");
        let AgentSpec::Acp(acp) = &only_pool(&acp.config).1.agent else { panic!("it speaks ACP") };
        assert_eq!(*acp, AcpSpec::new(Some("opencode"), Vec::<String>::new()));
        let simulated = loaded(&example("simulated").expect("an example")).expect("valid");
        let AgentSpec::Simulated(simulated) = &only_pool(&simulated.config).1.agent else { panic!("simulated") };
        assert_eq!(*simulated, SimulatedSpec::default());
        let openai = loaded(&example("openai").expect("an example")).expect("valid");
        let AgentSpec::OpenAi(openai) = &only_pool(&openai.config).1.agent else { panic!("a model") };
        assert_eq!(*openai, OpenAiSpec::new(&*openai.base_url, &*openai.model));
        let http = loaded(&example("http").expect("an example")).expect("valid");
        let AgentSpec::Http(http) = &only_pool(&http.config).1.agent else { panic!("an endpoint") };
        assert_eq!(*http, HttpSpec::new(&*http.url));
        let remote = loaded(&example("remote").expect("an example")).expect("valid");
        let AgentSpec::Remote(remote) = &only_pool(&remote.config).1.agent else { panic!("remote") };
        assert_eq!(*remote, RemoteSpec::default());
    }

    #[test]
    fn every_known_key_is_in_the_documented_file_or_in_an_example() {
        let named = |key: &[String]| match key {
            [pools, _, agent, env, _]
                if pools == "pools"
                    && agent == "agent"
                    && matches!(&**env, "env" | "env_file" | "headers" | "parameters" | "options") =>
            {
                format!("pools.*.agent.{env}.*")
            }
            [auth, jwt, roles, _] if auth == "auth" && jwt == "jwt" && roles == "roles" => {
                "auth.jwt.roles.*".to_owned()
            }
            [pools, _, rest @ ..] if pools == "pools" => format!("pools.*.{}", rest.join(".")),
            key => key.join("."),
        };
        let texts = examples().into_values().chain([Cow::Borrowed(DOCUMENTED)]);
        let entries = texts.flat_map(|text| file::parse(&uncommented(&text), "f.toml").expect("valid TOML"));
        let documented: BTreeSet<String> = entries.map(|entry| named(&entry.key)).collect();
        let missing: Vec<String> =
            types::schema().leaves().into_iter().filter(|key| !documented.contains(key)).collect();
        assert!(missing.is_empty(), "config/ does not mention {missing:?}");
    }

    #[test]
    fn an_example_is_found_by_its_name_and_has_a_title() {
        let refused = example("clairvoyant").expect_err("no such example").0;
        assert!(refused.contains("`clairvoyant`; use one of ") && refused.contains("fixed, holt, hpa"), "{refused}");
        for (name, text) in examples() {
            assert!(title(&text).len() > 20 && title(&text).len() < 160, "{name}: {}", title(&text));
        }
    }
}
