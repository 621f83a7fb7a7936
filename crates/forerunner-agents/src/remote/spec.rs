//! The settings of the kind.

use std::{sync::Arc, time::Duration};

use forerunner_core::{Error, human_duration};
use forerunner_runtime::agent::DriverFactory;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ProvisionerSpec, RemoteFactory};
use crate::{AgentKind, MissingFile, process::ProcessSpec};

/// Agents that dial in, and the patience with them. Every setting has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteSpec {
    /// Longest time from a broken connection to the next one. An agent that is away for longer is lost, with its task.
    #[serde(with = "human_duration")]
    pub resume_timeout: Duration,
    /// Longest time from the start of an agent that has dialled in to its answer to `initialize`.
    #[serde(with = "human_duration")]
    pub start_timeout: Duration,
    /// Longest time to answer a `ping`.
    #[serde(with = "human_duration")]
    pub ping_timeout: Duration,
    /// An agent that was idle for longer is pinged before its next task.
    #[serde(with = "human_duration")]
    pub ping_after: Duration,
    /// Longest time to answer `context/load` or `context/drop`.
    #[serde(with = "human_duration")]
    pub load_timeout: Duration,
    /// Longest time for which a connected agent may confirm no message.
    #[serde(with = "human_duration")]
    pub write_timeout: Duration,
    /// Longest time to stop a task after `task/cancel`.
    #[serde(with = "human_duration")]
    pub cancel_grace: Duration,
    /// Longest time to answer `shutdown`.
    #[serde(with = "human_duration")]
    pub stop_grace: Duration,
    /// Longest time for which a task waits for the answer to what the agent asked.
    #[serde(with = "human_duration")]
    pub waiting_timeout: Duration,
    /// Longest message of the agent, in bytes.
    pub max_line_bytes: usize,
    /// Most that the agent may send in one task, in bytes.
    pub max_output_bytes: usize,
    /// What starts and stops agents. By default the node starts none.
    pub provisioner: ProvisionerSpec,
}

impl Default for RemoteSpec {
    fn default() -> Self {
        let usual = ProcessSpec::new(["remote"]);
        Self {
            resume_timeout: Duration::from_secs(30),
            start_timeout: usual.start_timeout,
            // A connection may break meanwhile.
            ping_timeout: Duration::from_secs(45),
            ping_after: usual.ping_after,
            load_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            cancel_grace: usual.cancel_grace,
            stop_grace: usual.stop_grace,
            waiting_timeout: usual.waiting_timeout,
            max_line_bytes: usual.max_line_bytes,
            max_output_bytes: usual.max_output_bytes,
            provisioner: ProvisionerSpec::default(),
        }
    }
}

impl RemoteSpec {
    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first invalid one, and what to use instead.
    pub fn validate(&self) -> Result<(), Error> {
        if self.resume_timeout.is_zero() {
            let (value, rule) = ("0s".to_owned(), "use more than 0s".to_owned());
            return Err(Error::Setting { key: "resume_timeout", value, rule });
        }
        self.provisioner.validate()?;
        self.as_process().validate()
    }

    /// The same bounds, for the driver that they have in common with processes. Nothing is started.
    pub(super) fn as_process(&self) -> ProcessSpec {
        ProcessSpec {
            start_timeout: self.start_timeout,
            ping_timeout: self.ping_timeout,
            ping_after: self.ping_after,
            load_timeout: self.load_timeout,
            write_timeout: self.write_timeout,
            cancel_grace: self.cancel_grace,
            stop_grace: self.stop_grace,
            waiting_timeout: self.waiting_timeout,
            max_line_bytes: self.max_line_bytes,
            max_output_bytes: self.max_output_bytes,
            // Packing belongs to a connection, and these come and go.
            compression_window_bytes: 0,
            ..ProcessSpec::new(["remote"])
        }
    }
}

impl AgentKind for RemoteSpec {
    const SHORT_FORM: &'static str = "";
    const SHORT_EXAMPLE: &'static str = "";
    /// Its connection, and the next one while the old one ends.
    const OPEN_FILES: u64 = 2;

    fn template() -> Self {
        Self::default()
    }

    fn from_short(text: &str) -> Option<Map<String, Value>> {
        text.trim().is_empty().then(Map::new)
    }

    fn validate(&self) -> Result<(), Error> {
        self.validate()
    }

    fn describe(&self) -> String {
        match self.provisioner.argv.first() {
            Some(program) => format!("agents that dial in, started by `{program}`"),
            None => "agents that dial in".to_owned(),
        }
    }

    fn missing(&self) -> Vec<MissingFile> {
        self.provisioner.missing()
    }

    fn factory(&self) -> Result<Arc<dyn DriverFactory>, Error> {
        Ok(Arc::new(RemoteFactory::new(self.clone())?))
    }
}
