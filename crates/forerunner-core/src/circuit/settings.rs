//! What an operator may set of a dependency circuit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, circuit::Backoff, format_duration, human_duration};

/// When failures count as an outage of what the agents depend on, and how the pool waits for its end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DependencySettings {
    /// Whether the pool watches for outages.
    pub enabled: bool,
    /// Share of the last tasks that must fail alike to open the circuit, in (0, 1].
    pub open_share: f64,
    /// Share of the last tasks that must fail alike to limit how many run at once, in (0, `open_share`].
    pub limit_share: f64,
    /// Pause before the first probe of an open circuit; doubles with each probe that fails.
    #[serde(with = "human_duration")]
    pub probe_initial: Duration,
    /// Longest pause between two probes.
    #[serde(with = "human_duration")]
    pub probe_max: Duration,
    /// How long after the beginning of an outage failed attempts do not count.
    #[serde(with = "human_duration")]
    pub outage_limit: Duration,
}

impl Default for DependencySettings {
    /// At 30 % random failures, 13 of 16 tasks fail with a chance of 3 in 10⁵: a partial outage limits and does not open.
    /// At 5 %, 10 of 64 fail with a chance of 2 in 10³. Probes 5 s apart find the end of an outage within 10 s.
    fn default() -> Self {
        Self {
            enabled: true,
            open_share: 0.8,
            limit_share: 0.15,
            probe_initial: Duration::from_secs(1),
            probe_max: Duration::from_secs(5),
            outage_limit: Duration::from_secs(24 * 3_600),
        }
    }
}

impl DependencySettings {
    /// Checks the settings together.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first bad one.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |key, value: String, rule: String| Err(Error::Setting { key, value, rule });
        if !(self.open_share > 0.0 && self.open_share <= 1.0) {
            return refuse("dependency.open_share", self.open_share.to_string(), "use more than 0, at most 1".into());
        }
        if !(self.limit_share > 0.0 && self.limit_share <= self.open_share) {
            let rule = format!("use more than 0, at most dependency.open_share = {}", self.open_share);
            return refuse("dependency.limit_share", self.limit_share.to_string(), rule);
        }
        if self.probe_initial < Duration::from_millis(10) {
            return refuse("dependency.probe_initial", format_duration(self.probe_initial), "use 10ms or more".into());
        }
        if self.probe_max < self.probe_initial {
            let rule = format!("use at least dependency.probe_initial = {}", format_duration(self.probe_initial));
            return refuse("dependency.probe_max", format_duration(self.probe_max), rule);
        }
        Ok(())
    }

    /// Returns the pauses between probes.
    pub(super) const fn backoff(&self) -> Backoff {
        Backoff { initial: self.probe_initial, max: self.probe_max }
    }
}
