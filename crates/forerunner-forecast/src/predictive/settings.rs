//! What can be set about the predictive policy.

use serde::{Deserialize, Serialize};

use crate::{Error, window::DEFAULT_WINDOW_S};

/// Settings of [`Predictive`](crate::Predictive). The objective is what an operator sets; margins and stabilization windows are learned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PredictiveSettings {
    /// Seconds of history, at least 300.
    pub window_s: u32,
}

impl Default for PredictiveSettings {
    fn default() -> Self {
        Self { window_s: DEFAULT_WINDOW_S }
    }
}

impl PredictiveSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting out of its range.
    pub fn check(&self) -> Result<(), Error> {
        if self.window_s < DEFAULT_WINDOW_S {
            let (value, allowed) = (f64::from(self.window_s), "at least 300");
            return Err(Error::Setting { policy: "predictive", key: "window_s", value, allowed });
        }
        Ok(())
    }
}
