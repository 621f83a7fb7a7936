//! The example files of `config/examples`, which are part of the program.

use forerunner_console::Usage;

/// All examples by name, with their text.
pub static EXAMPLES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/examples.rs"));

/// Returns the text of an example.
pub fn example(name: &str) -> Result<&'static str, Usage> {
    let found = EXAMPLES.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text).ok_or_else(|| {
        let names: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
        Usage(format!("there is no example `{name}`; use one of {}", names.join(", ")))
    })
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

    use forerunner_agents::{AgentSpec, HttpSpec, KINDS, OpenAiSpec, SimulatedSpec, process::ProcessSpec};
    use forerunner_core::PoolName;
    use forerunner_forecast::PolicyKind;

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
        let names: BTreeSet<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
        let wanted = PolicyKind::NAMES.iter().copied().chain(KINDS.iter().map(|kind| kind.name)).chain(["pool"]);
        let missing: Vec<&str> = wanted.filter(|name| !names.contains(name)).collect();
        assert!(missing.is_empty(), "config/examples lacks {missing:?}");
    }

    #[test]
    fn every_example_would_run_as_it_stands() {
        for (name, text) in EXAMPLES {
            let read = loaded(text).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            only_pool(&read.config);
            let all = uncommented(text);
            loaded(&all).unwrap_or_else(|error| panic!("{name} with its optional keys: {error:#}"));
        }
        loaded(&uncommented(DOCUMENTED)).unwrap_or_else(|error| panic!("forerunner.toml: {error:#}"));
    }

    #[test]
    fn the_example_of_a_policy_has_all_its_settings_and_their_defaults() {
        for name in PolicyKind::NAMES {
            let text = example(name).expect("an example");
            let read = loaded(text).expect("valid");
            let policy = only_pool(&read.config).1.settings.policy;
            assert_eq!(policy.name(), *name);
            if let Ok(default) = name.parse::<PolicyKind>() {
                assert_eq!(policy, default, "{name}");
            }
            let entries = file::parse(text, name).expect("valid TOML");
            let given = entries.iter().filter(|entry| entry.key.get(2).is_some_and(|key| key == "policy"));
            let given: BTreeSet<String> = given.filter_map(|entry| entry.key.get(3).cloned()).collect();
            let known = types::policy_schema(name).expect("a known policy").leaves();
            assert_eq!(given, known.into_iter().collect(), "{name}");
        }
    }

    #[test]
    fn the_examples_of_pools_and_agents_have_the_defaults() {
        let least = loaded("[pools.coder]\nagent = { kind = \"process\", argv = [\"a\"] }\n").expect("valid");
        let pool = loaded(example("pool").expect("an example")).expect("valid");
        assert_eq!(only_pool(&pool.config).1.settings, only_pool(&least.config).1.settings);
        let process = loaded(example("process").expect("an example")).expect("valid");
        let AgentSpec::Process(process) = &only_pool(&process.config).1.agent else { panic!("a process") };
        assert_eq!(*process, ProcessSpec::new(process.argv.clone()));
        let simulated = loaded(example("simulated").expect("an example")).expect("valid");
        let AgentSpec::Simulated(simulated) = &only_pool(&simulated.config).1.agent else { panic!("simulated") };
        assert_eq!(*simulated, SimulatedSpec::default());
        let openai = loaded(example("openai").expect("an example")).expect("valid");
        let AgentSpec::OpenAi(openai) = &only_pool(&openai.config).1.agent else { panic!("a model") };
        assert_eq!(*openai, OpenAiSpec::new(&*openai.base_url, &*openai.model));
        let http = loaded(example("http").expect("an example")).expect("valid");
        let AgentSpec::Http(http) = &only_pool(&http.config).1.agent else { panic!("an endpoint") };
        assert_eq!(*http, HttpSpec::new(&*http.url));
    }

    #[test]
    fn every_known_key_is_in_the_documented_file_or_in_an_example() {
        let named = |key: &[String]| match key {
            [pools, _, agent, env, _]
                if pools == "pools"
                    && agent == "agent"
                    && matches!(&**env, "env" | "env_file" | "headers" | "parameters") =>
            {
                format!("pools.*.agent.{env}.*")
            }
            [pools, _, rest @ ..] if pools == "pools" => format!("pools.*.{}", rest.join(".")),
            key => key.join("."),
        };
        let texts = EXAMPLES.iter().map(|(_, text)| *text).chain([DOCUMENTED]);
        let entries = texts.flat_map(|text| file::parse(&uncommented(text), "f.toml").expect("valid TOML"));
        let documented: BTreeSet<String> = entries.map(|entry| named(&entry.key)).collect();
        let missing: Vec<String> =
            types::schema().leaves().into_iter().filter(|key| !documented.contains(key)).collect();
        assert!(missing.is_empty(), "config/ does not mention {missing:?}");
    }

    #[test]
    fn an_example_is_found_by_its_name_and_has_a_title() {
        assert!(example("clairvoyant").expect_err("no such example").0.contains("use one of fixed, holt, hpa"));
        for (name, text) in EXAMPLES {
            assert!(title(text).len() > 20 && title(text).len() < 160, "{name}: {}", title(text));
        }
    }
}
