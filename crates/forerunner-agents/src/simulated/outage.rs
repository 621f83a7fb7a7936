//! An outage of what simulated agents depend on.

use std::{sync::OnceLock, time::Duration};

use forerunner_core::human_duration;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How long a task takes until it fails in an outage, before `speed`.
pub(super) const FAILS_AFTER: Duration = Duration::from_millis(200);

/// A time in which tasks fail after 200 ms with the same retryable error, as if a model provider answered 503.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatedOutage {
    /// When it begins, counted from the start of the first agent.
    #[serde(with = "human_duration")]
    pub after: Duration,
    /// How long it lasts; with 0 there is none.
    #[serde(with = "human_duration")]
    pub lasts: Duration,
    /// Share of tasks that fail in it.
    pub share: f64,
}

impl Default for SimulatedOutage {
    fn default() -> Self {
        Self { after: Duration::ZERO, lasts: Duration::ZERO, share: 1.0 }
    }
}

/// What the agents of one factory share: when the first of them started.
#[derive(Debug, Default)]
pub(super) struct OutageClock(OnceLock<Instant>);

impl OutageClock {
    pub(super) fn begin(&self) {
        self.0.get_or_init(Instant::now);
    }

    /// Whether it is the time of the outage now, at the set speed.
    pub(super) fn is_within(&self, outage: &SimulatedOutage, speed: f64) -> bool {
        let since = self.0.get().map_or(0.0, |begun| begun.elapsed().as_secs_f64() * speed);
        let from = outage.after.as_secs_f64();
        (from..from + outage.lasts.as_secs_f64()).contains(&since)
    }
}
