//! The settings of a provisioner.

use std::time::Duration;

use forerunner_core::{Error, human_duration};
use serde::{Deserialize, Serialize};

use crate::{MissingFile, process::ProcessSpec};

/// What an argument of the command contains where the number of agents belongs.
pub(super) const AGENTS: &str = "{agents}";
/// What an argument of the command contains where the name of the pool belongs.
pub(super) const POOL: &str = "{pool}";

/// The command that makes another system run as many agents as the pool wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProvisionerSpec {
    /// The command, started without a shell. In its arguments, `{agents}` is the number of agents and `{pool}` the name of
    /// the pool. Empty: nobody starts agents.
    pub argv: Vec<String>,
    /// Names of variables that the command inherits from the node. All others are hidden from it.
    pub env_pass: Vec<String>,
    /// Longest run of the command. Then the node kills its process group.
    #[serde(with = "human_duration")]
    pub timeout: Duration,
    /// How often the command runs although the number is the same, in case that something else has changed it.
    #[serde(with = "human_duration")]
    pub repeat: Duration,
    /// For how long the pool wants fewer agents before the command gets a lower number.
    #[serde(with = "human_duration")]
    pub scale_down_delay: Duration,
    /// Longest pause after runs that failed. The first one is 1 s, and each further failure doubles it.
    #[serde(with = "human_duration")]
    pub max_backoff: Duration,
}

impl Default for ProvisionerSpec {
    fn default() -> Self {
        Self {
            argv: Vec::new(),
            env_pass: ProcessSpec::new(["remote"]).env_pass,
            timeout: Duration::from_secs(30),
            repeat: Duration::from_secs(300),
            scale_down_delay: Duration::from_secs(60),
            max_backoff: Duration::from_secs(60),
        }
    }
}

impl ProvisionerSpec {
    /// Returns whether there is a command.
    pub fn is_set(&self) -> bool {
        !self.argv.is_empty()
    }

    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first invalid one, and what to use instead.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key, value: String, rule: &str| Err(Error::Setting { key, value, rule: rule.to_owned() });
        if !self.is_set() {
            return Ok(());
        }
        if !self.argv[1..].iter().any(|argument| argument.contains(AGENTS)) {
            let rule = "write {agents} where the number of agents belongs, such as --replicas={agents}";
            return refuse("provisioner.argv", self.argv.join(" "), rule);
        }
        for (key, duration) in [
            ("provisioner.timeout", self.timeout),
            ("provisioner.repeat", self.repeat),
            ("provisioner.max_backoff", self.max_backoff),
        ] {
            if duration.is_zero() {
                return refuse(key, "0s".to_owned(), "use more than 0s");
            }
        }
        self.as_process().validate().map_err(of_provisioner)
    }

    /// Returns what this machine lacks to run the command.
    pub(crate) fn missing(&self) -> Vec<MissingFile> {
        if !self.is_set() {
            return Vec::new();
        }
        let program = self.as_process().missing_program();
        program.map(|message| MissingFile { key: "provisioner.argv", message }).into_iter().collect()
    }

    /// The same program, as a process of the node. No agent.
    pub(super) fn as_process(&self) -> ProcessSpec {
        ProcessSpec { env_pass: self.env_pass.clone(), ..ProcessSpec::new(&self.argv) }
    }
}

/// Names the setting as the operator writes it.
fn of_provisioner(error: Error) -> Error {
    match error {
        Error::Setting { key: "argv", value, rule } => Error::Setting { key: "provisioner.argv", value, rule },
        Error::Setting { key: "env_pass", value, rule } => Error::Setting { key: "provisioner.env_pass", value, rule },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaling(argument: &str) -> ProvisionerSpec {
        ProvisionerSpec {
            argv: ["kubectl", "scale", argument].map(str::to_owned).to_vec(),
            ..ProvisionerSpec::default()
        }
    }

    #[test]
    fn a_command_must_get_the_number_of_agents() {
        assert_eq!(ProvisionerSpec::default().validate(), Ok(()), "nobody starts agents");
        assert_eq!(scaling("--replicas={agents}").validate(), Ok(()));
        let error = scaling("--replicas=8").validate().unwrap_err().to_string();
        assert!(error.contains("provisioner.argv") && error.contains("{agents}"), "{error}");
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_by_their_names() {
        let good = || scaling("{agents}");
        for (spec, key) in [
            (ProvisionerSpec { timeout: Duration::ZERO, ..good() }, "provisioner.timeout"),
            (ProvisionerSpec { repeat: Duration::ZERO, ..good() }, "provisioner.repeat"),
            (ProvisionerSpec { max_backoff: Duration::ZERO, ..good() }, "provisioner.max_backoff"),
            (ProvisionerSpec { env_pass: vec!["FORERUNNER_TOKEN".to_owned()], ..good() }, "provisioner.env_pass"),
            (scaling("{agents}\0"), "provisioner.argv"),
        ] {
            let Err(Error::Setting { key: named, .. }) = spec.validate() else { panic!("{key} is accepted") };
            assert_eq!(named, key);
        }
    }

    #[test]
    fn a_program_that_is_not_here_is_named() {
        assert!(ProvisionerSpec::default().missing().is_empty());
        let spec =
            ProvisionerSpec { argv: vec!["no-such-program-here".to_owned(), "{agents}".to_owned()], ..scaling("") };
        let missing = spec.missing();
        assert_eq!(missing[0].key, "provisioner.argv");
        assert!(missing[0].message.contains("no-such-program-here"), "{}", missing[0].message);
    }
}
