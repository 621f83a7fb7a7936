//! The settings of a kind of child process.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use forerunner_context::StreamWindow;
use forerunner_core::{Error, human_duration};
use forerunner_runtime::agent::DriverFactory;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{HomeSpec, ProcessFactory, preflight};
use crate::{AgentKind, MissingFile};

/// Variables that a child inherits unless the operator lists others.
pub const DEFAULT_ENV_PASS: [&str; 8] = ["HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "TZ"];

/// Variables of the node itself, such as store addresses with passwords. No child ever sees them.
const OWN_ENV_PREFIX: &str = "FORERUNNER_";

/// The command of an agent, and its limits.
///
/// In configuration files durations are text with a unit, such as `"250ms"` or `"5s"`. Only `argv` has no default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// Program and arguments, passed as they are: no shell reads them.
    ///
    /// A program without `/` is looked up in the child's `PATH`; one with `/` is relative to the node's own directory.
    /// Arguments that are relative paths are relative to `cwd`.
    pub argv: Vec<String>,
    /// Working directory. By default each child gets an empty one of its own, mode 0700, removed when it ends.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Variables with their values. They win over `env_pass`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Variables whose values are the contents of files, read at each start of a child (see
    /// [`read_secret`](crate::read_secret)). They win over `env`.
    #[serde(default)]
    pub env_file: BTreeMap<String, PathBuf>,
    /// Names of variables that the child inherits from the node. All others are hidden from the child.
    #[serde(default = "default_env_pass")]
    pub env_pass: Vec<String>,
    /// The user that the child runs as, by name or number. Needs a node that runs as root; by default it is the node's own.
    ///
    /// Agents of another user cannot signal the node, nor read its files or those of other pools' agents.
    #[serde(default)]
    pub user: Option<String>,
    /// The group that the child runs as, by name or number; by default that of `user`. It has no other groups.
    #[serde(default)]
    pub group: Option<String>,
    /// Longest time from the spawn to the answer to `initialize`.
    #[serde(default = "default_start_timeout", with = "human_duration")]
    pub start_timeout: Duration,
    /// Longest time to answer a `ping`.
    #[serde(default = "five_seconds", with = "human_duration")]
    pub ping_timeout: Duration,
    /// A child that was idle for longer is pinged before its next task.
    #[serde(default = "half_a_minute", with = "human_duration")]
    pub ping_after: Duration,
    /// Longest time to answer `context/load` or `context/drop`.
    #[serde(default = "half_a_minute", with = "human_duration")]
    pub load_timeout: Duration,
    /// Longest time for which the child may not read its input while the node has something to write.
    #[serde(default = "ten_seconds", with = "human_duration")]
    pub write_timeout: Duration,
    /// Longest time to stop a task after `task/cancel`. A child that takes longer is stopped itself.
    #[serde(default = "five_seconds", with = "human_duration")]
    pub cancel_grace: Duration,
    /// Longest time for which a task waits for the answer to what the child asked. Then the task expires.
    #[serde(default = "one_day", with = "human_duration")]
    pub waiting_timeout: Duration,
    /// Longest time from `shutdown` to SIGKILL. Half of it is for `shutdown`, the rest for SIGTERM.
    #[serde(default = "five_seconds", with = "human_duration")]
    pub stop_grace: Duration,
    /// Longest line that the child may write, in bytes. The node buffers no more than that.
    #[serde(default = "one_mebibyte")]
    pub max_line_bytes: usize,
    /// Most that the child may write in one task, in bytes: progress, output and the answer together.
    #[serde(default = "default_max_output")]
    pub max_output_bytes: usize,
    /// How far back a packed stream refers, in bytes: a power of two from 1 KiB to 8 MiB, or 0 for plain lines only. A child
    /// that packs costs the node twice as much memory and 2 MiB more.
    #[serde(default = "one_mebibyte")]
    pub compression_window_bytes: usize,
    /// How much of the end of its standard error the node retains, in bytes.
    #[serde(default = "default_stderr_ring")]
    pub stderr_ring_bytes: usize,
    /// The resources of the machine that the child may use.
    #[serde(default)]
    pub limits: ProcessLimits,
    /// A HOME of its own, for kinds of agents that have their sessions there.
    #[serde(skip)]
    pub(crate) home: Option<HomeSpec>,
}

/// Resource limits of a child (see `setrlimit(2)`), soft and hard alike. Absent limits are those of the node.
///
/// A limit that cannot be set fails the start: no child runs with less protection than configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessLimits {
    /// Most address space, in bytes. Runtimes that reserve much more than they use need generous values.
    pub address_space_bytes: Option<u64>,
    /// Most processor time over its whole life, in seconds.
    pub cpu_s: Option<u64>,
    /// Most open files.
    pub open_files: Option<u64>,
    /// Most processes and threads of the user that runs the node, its own included. Root is exempt.
    pub processes: Option<u64>,
    /// Largest core dump, in bytes: 0 by default, since a core dump contains all secrets of the process.
    pub core_bytes: u64,
}

impl ProcessSpec {
    /// Describes a child by its command, with defaults for everything else.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            cwd: None,
            env: BTreeMap::new(),
            env_file: BTreeMap::new(),
            env_pass: default_env_pass(),
            user: None,
            group: None,
            start_timeout: default_start_timeout(),
            ping_timeout: five_seconds(),
            ping_after: half_a_minute(),
            load_timeout: half_a_minute(),
            write_timeout: ten_seconds(),
            cancel_grace: five_seconds(),
            waiting_timeout: one_day(),
            stop_grace: five_seconds(),
            max_line_bytes: one_mebibyte(),
            max_output_bytes: default_max_output(),
            compression_window_bytes: one_mebibyte(),
            stderr_ring_bytes: default_stderr_ring(),
            limits: ProcessLimits::default(),
            home: None,
        }
    }

    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first invalid one, and what to use instead.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse =
            |key, value: &str, rule: &str| Err(Error::Setting { key, value: value.to_owned(), rule: rule.to_owned() });
        if self.argv.first().is_none_or(String::is_empty) {
            return refuse("argv", "[]", "name a program and its arguments, such as [\"python3\", \"/srv/agent.py\"]");
        }
        if let Some(text) = self.argv.iter().find(|text| text.contains('\0')) {
            return refuse("argv", text, "arguments cannot contain a zero byte");
        }
        if let Some(name) = self.env.keys().find(|name| !is_env_name(name)) {
            return refuse("env", name, "use a name that is not empty, has no `=` and does not begin with FORERUNNER_");
        }
        if let Some(name) = self.env_file.keys().find(|name| !is_env_name(name)) {
            return refuse(
                "env_file",
                name,
                "use a name that is not empty, has no `=` and does not begin with FORERUNNER_",
            );
        }
        if let Some((name, _)) = self.env.iter().find(|(_, value)| value.contains('\0')) {
            return refuse("env", name, "values cannot contain a zero byte");
        }
        if let Some(name) = self.env_pass.iter().find(|name| !is_env_name(name)) {
            return refuse(
                "env_pass",
                name,
                "use a name that is not empty, has no `=` and does not begin with FORERUNNER_",
            );
        }
        for (key, name) in [("user", &self.user), ("group", &self.group)] {
            if name.as_ref().is_some_and(|name| name.is_empty() || name.contains([':', '\0'])) {
                return refuse(key, name.as_deref().unwrap_or_default(), "use a name or a number, or leave it out");
            }
        }
        if self.max_line_bytes < 1_024 {
            return refuse("max_line_bytes", &self.max_line_bytes.to_string(), "use 1024 or more");
        }
        if self.compression_window_bytes > 0 && self.compression_window().is_none() {
            let value = self.compression_window_bytes.to_string();
            return refuse(
                "compression_window_bytes",
                &value,
                "use a power of two from 1024 to 8388608, or 0 for none",
            );
        }
        for (key, timeout) in [
            ("start_timeout", self.start_timeout),
            ("ping_timeout", self.ping_timeout),
            ("load_timeout", self.load_timeout),
            ("write_timeout", self.write_timeout),
            ("waiting_timeout", self.waiting_timeout),
        ] {
            if timeout.is_zero() {
                return refuse(key, "0s", "use more than 0s");
            }
        }
        Ok(())
    }

    /// Returns the window of packed streams, if the child may have them.
    pub(super) fn compression_window(&self) -> Option<StreamWindow> {
        StreamWindow::new(self.compression_window_bytes).ok()
    }

    /// Returns why the program cannot be started, if that shows.
    pub(crate) fn missing_program(&self) -> Option<String> {
        preflight::missing_program(self)
    }

    /// Returns the whole environment of a child: the variables that it inherits of `parent`, and its own.
    pub(crate) fn environment(
        &self,
        parent: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> BTreeMap<std::ffi::OsString, std::ffi::OsString> {
        let passes = |name: &std::ffi::OsStr| {
            name.to_str().is_some_and(|name| is_env_name(name) && self.env_pass.iter().any(|passed| passed == name))
        };
        let inherited = parent.into_iter().filter(|(name, _)| passes(name));
        let given = self.env.iter().map(|(name, value)| (name.into(), value.into()));
        inherited.chain(given).collect()
    }
}

impl AgentKind for ProcessSpec {
    const SHORT_FORM: &'static str = "COMMAND";
    const SHORT_EXAMPLE: &'static str = "python3 /srv/agent.py";
    /// Three pipes and a process descriptor, and as many again while it starts.
    const OPEN_FILES: u64 = 8;

    fn template() -> Self {
        Self::new(Vec::<String>::new())
    }

    fn from_short(text: &str) -> Option<Map<String, Value>> {
        let argv: Vec<Value> = text.split_whitespace().map(Value::from).collect();
        (!argv.is_empty()).then(|| Map::from_iter([("argv".to_owned(), Value::from(argv))]))
    }

    fn validate(&self) -> Result<(), Error> {
        self.validate()
    }

    fn describe(&self) -> String {
        let arguments = self.argv.len().saturating_sub(1);
        let plural = if arguments == 1 { "" } else { "s" };
        format!("processes `{}` with {arguments} argument{plural}", self.argv[0])
    }

    fn missing(&self) -> Vec<MissingFile> {
        preflight::missing(self)
    }

    fn factory(&self) -> Result<Arc<dyn DriverFactory>, Error> {
        Ok(Arc::new(ProcessFactory::new(self.clone())?))
    }
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !name.starts_with(OWN_ENV_PREFIX)
}

fn default_env_pass() -> Vec<String> {
    DEFAULT_ENV_PASS.map(str::to_owned).to_vec()
}

const fn default_start_timeout() -> Duration {
    Duration::from_secs(60)
}

const fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

const fn one_day() -> Duration {
    Duration::from_secs(86_400)
}

const fn one_mebibyte() -> usize {
    1 << 20
}

const fn default_max_output() -> usize {
    16 << 20
}

const fn default_stderr_ring() -> usize {
    64 << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_command_is_needed() {
        let spec: ProcessSpec = serde_json::from_str(r#"{"argv": ["agent"], "stop_grace": "250ms"}"#).unwrap();
        let expected = ProcessSpec { stop_grace: Duration::from_millis(250), ..ProcessSpec::new(["agent"]) };
        assert_eq!(spec, expected);
        assert!(spec.validate().is_ok());
        for wrong in [r#"{"argv": ["a"], "stopgrace": "1s"}"#, "{}", r#"{"argv": ["a"], "limits": {"cores": 1}}"#] {
            assert!(serde_json::from_str::<ProcessSpec>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let good = || ProcessSpec::new(["agent"]);
        let env = |name: &str| BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        for (spec, key) in [
            (ProcessSpec::new(Vec::<String>::new()), "argv"),
            (ProcessSpec::new(["a", "b\0c"]), "argv"),
            (ProcessSpec { env: env("FORERUNNER_STORE"), ..good() }, "env"),
            (ProcessSpec { env: env("A=B"), ..good() }, "env"),
            (ProcessSpec { env_pass: vec!["FORERUNNER_STORE".into()], ..good() }, "env_pass"),
            (ProcessSpec { max_line_bytes: 10, ..good() }, "max_line_bytes"),
            (ProcessSpec { compression_window_bytes: 1_000_000, ..good() }, "compression_window_bytes"),
            (ProcessSpec { write_timeout: Duration::ZERO, ..good() }, "write_timeout"),
        ] {
            let error = spec.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
    }

    #[test]
    fn the_environment_is_an_allow_list() {
        let mut spec = ProcessSpec::new(["agent"]);
        spec.env.insert("LANG".into(), "C".into());
        let parent = [("PATH", "/bin"), ("LANG", "de"), ("DATABASE_URL", "secret"), ("FORERUNNER_X", "secret")];
        let parent = parent.map(|(name, value)| (name.into(), value.into()));
        let expected = [("LANG", "C"), ("PATH", "/bin")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(spec.environment(parent), BTreeMap::from(expected));
    }
}
