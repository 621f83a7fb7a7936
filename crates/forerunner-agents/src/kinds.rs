//! The table of the kinds of agents.

use std::sync::Arc;

use forerunner_core::Error;
use forerunner_runtime::agent::DriverFactory;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{HttpSpec, OpenAiSpec, RemoteSpec, SimulatedSpec, acp::AcpSpec, process::ProcessSpec};

/// Makes [`AgentSpec`] and [`KINDS`] of the table.
macro_rules! agent_kinds {
    ($($(#[$doc:meta])* $name:literal => $variant:ident($spec:ty),)+) => {
        /// What the agents of a pool are: the kind, and its settings.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum AgentSpec {
            $($(#[$doc])* #[serde(rename = $name)] $variant($spec),)+
        }

        /// All kinds of agents.
        pub static KINDS: &[KindInfo] = &[$(KindInfo::of::<$spec>($name),)+];

        impl AgentSpec {
            /// Checks the settings together.
            ///
            /// # Errors
            /// [`Error::Setting`] with the first invalid one, and what to use instead.
            pub fn validate(&self) -> Result<(), Error> {
                match self { $(Self::$variant(spec) => AgentKind::validate(spec),)+ }
            }

            /// Describes the agents in a few words, for people. The settings are valid.
            pub fn describe(&self) -> String {
                match self { $(Self::$variant(spec) => spec.describe(),)+ }
            }

            /// Returns how many files the node opens for each agent, at most.
            pub const fn open_files(&self) -> u64 {
                match self { $(Self::$variant(_) => <$spec as AgentKind>::OPEN_FILES,)+ }
            }

            /// Returns what this machine lacks to run such agents, such as a program that is not in the `PATH`.
            pub fn missing(&self) -> Vec<MissingFile> {
                match self { $(Self::$variant(spec) => AgentKind::missing(spec),)+ }
            }

            /// Returns what starts such agents.
            ///
            /// # Errors
            /// What [`AgentSpec::validate`] refuses.
            pub fn factory(&self) -> Result<Arc<dyn DriverFactory>, Error> {
                match self { $(Self::$variant(spec) => spec.factory(),)+ }
            }
        }
    };
}

// All kinds of agents, by their names in configuration and command line. Each kind has one line.
agent_kinds! {
    /// Agents that speak the Agent Client Protocol.
    "acp" => Acp(AcpSpec),
    /// Warm child processes.
    "process" => Process(ProcessSpec),
    /// Endpoints that work on tasks, one request each.
    "http" => Http(HttpSpec),
    /// Models behind an OpenAI-compatible endpoint.
    "openai" => OpenAi(OpenAiSpec),
    /// Agents that dial in from other machines.
    "remote" => Remote(RemoteSpec),
    /// Simulated agents, whose tasks only take time.
    "simulated" => Simulated(SimulatedSpec),
}

/// The settings of a kind of agent, and what the program needs of the kind.
pub trait AgentKind: Serialize + DeserializeOwned {
    /// The placeholder for the part after `NAME=KIND:` in `--pool`, in help texts.
    const SHORT_FORM: &'static str;
    /// An example of that part.
    const SHORT_EXAMPLE: &'static str;
    /// How many files the node opens for each agent, at most.
    const OPEN_FILES: u64;

    /// Returns settings with all defaults; settings without a default are empty.
    ///
    /// Every setting must serialize, an absent one as `null`: the names of the keys are read from the result. An empty
    /// table is one whose keys the operator chooses.
    fn template() -> Self;

    /// Returns the settings that the part after `NAME=KIND:` in `--pool` sets. `None` if it makes no sense.
    fn from_short(text: &str) -> Option<Map<String, Value>>;

    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first invalid one, and what to use instead.
    fn validate(&self) -> Result<(), Error>;

    /// Describes the agents in a few words, for people. The settings are valid. Shows no secrets.
    fn describe(&self) -> String;

    /// Returns what this machine lacks to run such agents: files that the settings name. The settings are valid.
    ///
    /// It is for advice before a start, which may happen on another machine. Agents that need no file lack nothing.
    fn missing(&self) -> Vec<MissingFile> {
        Vec::new()
    }

    /// Returns what starts such agents.
    ///
    /// # Errors
    /// What [`AgentKind::validate`] refuses.
    fn factory(&self) -> Result<Arc<dyn DriverFactory>, Error>;
}

/// Something that a machine lacks to run agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingFile {
    /// The setting that names it.
    pub key: &'static str,
    /// What is missing, and the remedy.
    pub message: String,
}

/// A kind of agent, without settings.
#[derive(Debug, Clone, Copy)]
pub struct KindInfo {
    /// The name of the kind.
    pub name: &'static str,
    /// [`AgentKind::SHORT_FORM`].
    pub short_form: &'static str,
    /// [`AgentKind::SHORT_EXAMPLE`].
    pub short_example: &'static str,
    /// [`AgentKind::template`], as JSON.
    pub template: fn() -> Value,
    /// [`AgentKind::from_short`].
    pub from_short: fn(&str) -> Option<Map<String, Value>>,
}

impl KindInfo {
    const fn of<K: AgentKind>(name: &'static str) -> Self {
        let (short_form, short_example) = (K::SHORT_FORM, K::SHORT_EXAMPLE);
        Self { name, short_form, short_example, template: template::<K>, from_short: K::from_short }
    }

    /// Returns the kind of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }
}

fn template<K: AgentKind>() -> Value {
    serde_json::to_value(K::template()).expect("settings are text, numbers, lists and tables")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings of a kind, as `--pool` gives them.
    fn spec(kind: &KindInfo, short: &str) -> AgentSpec {
        let mut settings = (kind.from_short)(short).unwrap();
        settings.insert("kind".to_owned(), kind.name.into());
        serde_json::from_value(settings.into()).unwrap()
    }

    #[test]
    fn the_short_form_of_every_kind_makes_agents_of_that_kind() {
        for kind in KINDS {
            let spec = spec(kind, kind.short_example);
            spec.validate().unwrap();
            assert_eq!(spec.factory().unwrap().kind(), kind.name);
            assert!(!spec.describe().is_empty() && std::ptr::eq(KindInfo::named(kind.name).unwrap(), kind));
        }
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), names.iter().collect::<std::collections::BTreeSet<_>>().len(), "{names:?}");
    }

    #[test]
    fn every_key_of_the_settings_is_in_the_template() {
        for kind in KINDS {
            let all = serde_json::to_value(spec(kind, kind.short_example)).unwrap();
            let template = (kind.template)();
            for key in all.as_object().unwrap().keys().filter(|key| *key != "kind") {
                assert!(template.get(key).is_some(), "{}.{key}", kind.name);
            }
        }
    }

    #[test]
    fn agents_are_described_in_a_few_words() {
        let [process, simulated] = ["process", "simulated"].map(|name| KindInfo::named(name).unwrap());
        assert_eq!(spec(process, "python3 /srv/agent.py").describe(), "processes `python3` with 1 argument");
        assert_eq!(spec(simulated, "").describe(), "simulated agents");
        assert!((process.from_short)(" ").is_none());
        assert_eq!((spec(process, "a").open_files(), spec(simulated, "").open_files()), (8, 0));
    }
}
