//! The settings of agents that speak ACP.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use forerunner_core::{Error, human_duration};
use forerunner_runtime::agent::DriverFactory;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    factory::AcpFactory,
    permission::{PermissionMode, PermissionRule, TOOL_KINDS},
    presets::Preset,
    request::VERSIONS,
};
use crate::{
    AgentKind, MissingFile,
    process::{HomeSpec, ProcessLimits, ProcessSpec},
};

/// The command of an agent that speaks ACP, what it may do, and its limits.
///
/// A preset (`agent`) or a command (`argv`) is needed. Durations are text with a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcpSpec {
    /// A preset: one of [`PRESETS`](super::PRESETS). Other settings override it.
    #[serde(default)]
    pub agent: Option<String>,
    /// Program and arguments, passed as they are. By default those of the preset.
    #[serde(default)]
    pub argv: Vec<String>,
    /// The newest version of the protocol that the node offers: 1 or 2.
    #[serde(default = "one")]
    pub version: u32,
    /// Variables with their values.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables whose values are the contents of files.
    #[serde(default)]
    pub env_file: BTreeMap<String, PathBuf>,
    /// Names of variables that the agent inherits from the node.
    #[serde(default = "default_env_pass")]
    pub env_pass: Vec<String>,
    /// The user that the agent runs as. Needs a node that runs as root.
    #[serde(default)]
    pub user: Option<String>,
    /// The group that the agent runs as.
    #[serde(default)]
    pub group: Option<String>,
    /// A directory that is copied to the HOME of each agent when it starts: its configuration and credentials.
    #[serde(default)]
    pub home: Option<PathBuf>,
    /// Where the working directories of contexts are. All nodes that share a store need the same path.
    #[serde(default)]
    pub workspace: Option<PathBuf>,
    /// The files of a session, below HOME, that are stored with its context. By default those of the preset.
    #[serde(default)]
    pub session_files: Vec<String>,
    /// The mode of each session, by the agent's own name.
    #[serde(default)]
    pub mode: Option<String>,
    /// Options of each session, by the agent's own names.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Whether the node offers to read and write files for the agent. Some agents have no tools without it.
    #[serde(default)]
    pub files: Option<bool>,
    /// What becomes of a permission that no rule decides.
    #[serde(default)]
    pub permissions: PermissionMode,
    /// Rules for permissions. The first that matches decides.
    #[serde(default)]
    pub rules: Vec<PermissionRule>,
    /// How long a task waits for the answer to a question of its agent.
    #[serde(default = "one_day", with = "human_duration")]
    pub waiting_timeout: Duration,
    /// Most sessions of one process: the one that runs, and others that are idle or wait for an answer.
    #[serde(default = "default_sessions")]
    pub sessions_per_agent: u32,
    /// Longest time from the spawn to the first session.
    #[serde(default = "one_minute", with = "human_duration")]
    pub start_timeout: Duration,
    /// Longest time to open, load or close a session.
    #[serde(default = "half_a_minute", with = "human_duration")]
    pub load_timeout: Duration,
    /// Longest silence of an agent that works, while none of its tools runs; without end if it is zero.
    #[serde(default = "one_minute", with = "human_duration")]
    pub stall_timeout: Duration,
    /// Longest time for which the agent may not read its input while the node has something to write.
    #[serde(default = "ten_seconds", with = "human_duration")]
    pub write_timeout: Duration,
    /// Longest time to end a turn after `session/cancel`.
    #[serde(default = "five_seconds", with = "human_duration")]
    pub cancel_grace: Duration,
    /// Longest time from the end of its input to SIGKILL.
    #[serde(default = "five_seconds", with = "human_duration")]
    pub stop_grace: Duration,
    /// Longest line that the agent may write, in bytes.
    #[serde(default = "default_max_line")]
    pub max_line_bytes: usize,
    /// Most that the agent may write in one task, in bytes.
    #[serde(default = "default_max_output")]
    pub max_output_bytes: usize,
    /// Most that the agent may write in a minute without a task, in bytes.
    #[serde(default = "default_max_idle")]
    pub max_idle_bytes: usize,
    /// Most bytes of a session's files that are stored with its context. Of a larger session the transcript remains.
    #[serde(default = "default_max_session")]
    pub max_session_bytes: u64,
    /// How much of the end of its standard error the node retains, in bytes.
    #[serde(default = "default_stderr_ring")]
    pub stderr_ring_bytes: usize,
    /// Texts with which a message begins that is no part of an answer. By default those of the preset.
    #[serde(default)]
    pub notices: Vec<String>,
    /// Texts with which an answer begins that reports a failure.
    #[serde(default)]
    pub failures: Vec<String>,
    /// The resources of the machine that the agent may use. Most runtimes of agents do not bear `address_space_bytes`.
    #[serde(default)]
    pub limits: ProcessLimits,
}

impl AcpSpec {
    /// Describes an agent by a preset or a command, with defaults for everything else.
    pub fn new(agent: Option<&str>, argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            agent: agent.map(str::to_owned),
            argv: argv.into_iter().map(Into::into).collect(),
            version: one(),
            env: BTreeMap::new(),
            env_file: BTreeMap::new(),
            env_pass: default_env_pass(),
            user: None,
            group: None,
            home: None,
            workspace: None,
            session_files: Vec::new(),
            mode: None,
            options: BTreeMap::new(),
            files: None,
            permissions: PermissionMode::default(),
            rules: Vec::new(),
            waiting_timeout: one_day(),
            sessions_per_agent: default_sessions(),
            start_timeout: one_minute(),
            load_timeout: half_a_minute(),
            stall_timeout: one_minute(),
            write_timeout: ten_seconds(),
            cancel_grace: five_seconds(),
            stop_grace: five_seconds(),
            max_line_bytes: default_max_line(),
            max_output_bytes: default_max_output(),
            max_idle_bytes: default_max_idle(),
            max_session_bytes: default_max_session(),
            stderr_ring_bytes: default_stderr_ring(),
            notices: Vec::new(),
            failures: Vec::new(),
            limits: ProcessLimits::default(),
        }
    }

    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first invalid one, and what to use instead.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key, value: &str, rule: String| Err(Error::Setting { key, value: value.to_owned(), rule });
        if let Some(agent) = self.agent.as_deref().filter(|agent| Preset::named(agent).is_none()) {
            let rule = format!("use one of {}, or leave it out and name the command in `argv`", Preset::names());
            return refuse("agent", agent, rule);
        }
        if self.agent.is_none() && self.argv.is_empty() {
            let rule = format!("name a command, or a preset in `agent`: {}", Preset::names());
            return refuse("argv", "[]", rule);
        }
        if !VERSIONS.contains(&self.version) {
            return refuse("version", &self.version.to_string(), "use 1 or 2".to_owned());
        }
        let leads_out = |path: &&String| path.starts_with('/') || path.split('/').any(|name| name == "..");
        if let Some(path) = self.session_files.iter().find(leads_out) {
            return refuse("session_files", path, "use paths below HOME, without `..`".to_owned());
        }
        if let Some(path) = self.workspace.as_deref().filter(|path| !path.is_absolute()) {
            return refuse("workspace", &path.to_string_lossy(), "use an absolute path".to_owned());
        }
        let unknown = |rule: &&PermissionRule| rule.tool.as_deref().is_some_and(|tool| !TOOL_KINDS.contains(&tool));
        if let Some(rule) = self.rules.iter().find(unknown) {
            let tool = rule.tool.as_deref().unwrap_or_default();
            return refuse("rules", tool, format!("use a kind of tool: {}", TOOL_KINDS.join(", ")));
        }
        if !(1..=1_024).contains(&self.sessions_per_agent) {
            return refuse("sessions_per_agent", &self.sessions_per_agent.to_string(), "use 1 to 1024".to_owned());
        }
        for (key, time) in [("load_timeout", self.load_timeout), ("waiting_timeout", self.waiting_timeout)] {
            if time.is_zero() {
                return refuse(key, "0s", "use more than 0s".to_owned());
            }
        }
        self.process().validate()
    }

    /// The preset, or the defaults of agents that have none.
    pub(super) fn preset(&self) -> Option<&'static Preset> {
        self.agent.as_deref().and_then(Preset::named)
    }

    /// The process of an agent.
    pub(super) fn process(&self) -> ProcessSpec {
        let preset = self.preset();
        let argv = match self.argv.is_empty() {
            true => preset.map_or(&[][..], |preset| preset.argv).iter().map(|&text| text.to_owned()).collect(),
            false => self.argv.clone(),
        };
        let known = preset.map_or(&[][..], |preset| preset.env).iter();
        let mut env: BTreeMap<String, String> =
            known.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        env.extend(self.env.clone());
        ProcessSpec {
            env,
            env_file: self.env_file.clone(),
            env_pass: self.env_pass.clone(),
            user: self.user.clone(),
            group: self.group.clone(),
            start_timeout: self.start_timeout,
            load_timeout: self.load_timeout,
            write_timeout: self.write_timeout,
            cancel_grace: self.cancel_grace,
            stop_grace: self.stop_grace,
            max_line_bytes: self.max_line_bytes,
            max_output_bytes: self.max_output_bytes,
            compression_window_bytes: 0,
            stderr_ring_bytes: self.stderr_ring_bytes,
            limits: self.limits,
            home: Some(HomeSpec { template: self.home.clone() }),
            ..ProcessSpec::new(argv)
        }
    }

    /// Where the files of a session are.
    pub(super) fn session_patterns(&self) -> Vec<String> {
        let known = self.preset().map_or(&[][..], |preset| preset.session_files);
        if self.session_files.is_empty() { texts(known) } else { self.session_files.clone() }
    }

    /// How messages begin that are no part of an answer.
    pub(super) fn notice_texts(&self) -> Arc<[String]> {
        let known = self.preset().map_or(&[][..], |preset| preset.notices);
        if self.notices.is_empty() { texts(known).into() } else { self.notices.clone().into() }
    }

    pub(super) fn offers_files(&self) -> bool {
        self.files.unwrap_or_else(|| self.preset().is_some_and(|preset| preset.needs_files))
    }

    pub(super) fn retries_refusals(&self) -> bool {
        self.preset().is_some_and(|preset| preset.retries_refusals)
    }

    /// What names the kind of the agent in a context: a session of one kind means nothing to another.
    pub(super) fn identity(&self) -> String {
        let program = || self.argv.join(" ");
        self.agent.clone().unwrap_or_else(program)
    }

    /// Where the working directories of a pool's contexts are.
    pub(super) fn workspace_of(&self, pool: &str) -> PathBuf {
        let root = self.workspace.clone().unwrap_or_else(|| std::env::temp_dir().join("forerunner-workspaces"));
        Path::new(&root).join(pool)
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

impl AgentKind for AcpSpec {
    const SHORT_FORM: &'static str = "PRESET|COMMAND";
    const SHORT_EXAMPLE: &'static str = "opencode";
    /// As a process, and the directories of a session while its files are read.
    const OPEN_FILES: u64 = 16;

    fn template() -> Self {
        Self::new(None, Vec::<String>::new())
    }

    fn from_short(text: &str) -> Option<Map<String, Value>> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [] => None,
            [name] if Preset::named(name).is_some() => Some(Map::from_iter([("agent".to_owned(), (*name).into())])),
            words => Some(Map::from_iter([("argv".to_owned(), words.to_vec().into())])),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        self.validate()
    }

    fn describe(&self) -> String {
        match &self.agent {
            Some(agent) => format!("`{agent}` over ACP"),
            None => format!("`{}` over ACP", self.argv[0]),
        }
    }

    fn missing(&self) -> Vec<MissingFile> {
        let process = self.process();
        let mut missing = AgentKind::missing(&process);
        if let Some(home) = self.home.as_deref().filter(|home| !home.is_dir()) {
            let message = format!("there is no directory {}; create it, or name another", home.display());
            missing.push(MissingFile { key: "home", message });
        }
        missing
    }

    fn factory(&self) -> Result<Arc<dyn DriverFactory>, Error> {
        Ok(Arc::new(AcpFactory::new(self.clone())?))
    }
}

const fn one() -> u32 {
    1
}

fn default_env_pass() -> Vec<String> {
    // HOME is one of the agent's own.
    texts(&["PATH", "LANG", "TZ", "TERM"])
}

const fn default_sessions() -> u32 {
    16
}

const fn one_day() -> Duration {
    Duration::from_secs(86_400)
}

const fn one_minute() -> Duration {
    Duration::from_secs(60)
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

const fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

const fn default_max_line() -> usize {
    4 << 20
}

const fn default_max_output() -> usize {
    64 << 20
}

const fn default_max_idle() -> usize {
    16 << 20
}

const fn default_max_session() -> u64 {
    8 << 20
}

const fn default_stderr_ring() -> usize {
    64 << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_enough_and_settings_win_over_it() {
        let spec: AcpSpec = serde_json::from_str(r#"{"agent": "codex"}"#).unwrap();
        assert_eq!(spec, AcpSpec::new(Some("codex"), Vec::<String>::new()));
        spec.validate().unwrap();
        let process = spec.process();
        assert_eq!((process.argv, process.limits.address_space_bytes), (vec!["codex-acp".to_owned()], None));
        assert_eq!(process.env.get("NO_BROWSER").map(String::as_str), Some("1"));
        let text = r#"{"agent": "codex", "argv": ["/x"], "env": {"NO_BROWSER": "0"}, "session_files": [".x/*"]}"#;
        let spec: AcpSpec = serde_json::from_str(text).unwrap();
        let process = spec.process();
        assert_eq!((process.argv[0].as_str(), process.env["NO_BROWSER"].as_str()), ("/x", "0"));
        assert_eq!(spec.session_patterns(), [".x/*"]);
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        for (text, key) in [
            ("{}", "argv"),
            (r#"{"agent": "robot"}"#, "agent"),
            (r#"{"agent": "pi", "version": 3}"#, "version"),
            (r#"{"agent": "pi", "session_files": ["../x"]}"#, "session_files"),
            (r#"{"agent": "pi", "workspace": "work"}"#, "workspace"),
            (r#"{"agent": "pi", "rules": [{"tool": "fly", "decision": "allow"}]}"#, "rules"),
            (r#"{"agent": "pi", "sessions_per_agent": 0}"#, "sessions_per_agent"),
            (r#"{"agent": "pi", "load_timeout": "0s"}"#, "load_timeout"),
            (r#"{"agent": "pi", "max_line_bytes": 1}"#, "max_line_bytes"),
        ] {
            let spec: AcpSpec = serde_json::from_str(text).unwrap();
            let error = spec.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{text}: {error}");
        }
        assert!(serde_json::from_str::<AcpSpec>(r#"{"agent": "pi", "permissions": "maybe"}"#).is_err());
    }
}
