//! What the predictive policy has learned, and how it survives a restart.

use serde::{Deserialize, Serialize};

use super::PredictiveSettings;
use crate::{
    announced::Announcements,
    calendar::Calendar,
    forecaster::Forecaster,
    service::ServiceModel,
    sessions::Sessions,
    stabilization::SlidingMaximum,
    tournament::{Levels, Scores},
    window::Window,
};

/// Version of the text that [`Predictive::save`] writes; texts of another version are not restored.
const SAVED_VERSION: u32 = 4;
/// Completions and seconds before the pool may shrink: there is nothing to judge a lull by yet.
const LEARN_COMPLETIONS: f64 = 20.0;
const LEARN_S: f64 = 30.0;
const LEARN_AT_MOST_S: f64 = 300.0;

/// What survives a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Learned {
    pub version: u32,
    pub window: Window,
    pub rates: Forecaster,
    pub service: ServiceModel,
    #[serde(alias = "hold")]
    pub recent_needs: SlidingMaximum,
    pub levels: Levels,
    /// What the tournament learned, as of the last save.
    pub scores: Scores,
    /// Absent in what was written before there was one.
    #[serde(default)]
    pub calendar: Calendar,
    /// Absent in what was written before there were any.
    #[serde(default)]
    pub announcements: Announcements,
    /// Absent in what was written before there were any.
    #[serde(default)]
    pub sessions: Sessions,
    /// Seconds from asking for an agent to its being ready, as last measured; `None` before.
    #[serde(default)]
    pub cold_start_s: Option<f64>,
    /// Seconds observed in all.
    pub observed_s: f64,
    pub desired: u32,
    /// The part of `desired` that is there for other tasks than announced ones; absent in what was written before.
    #[serde(default)]
    pub desired_for_rest: Option<u32>,
}

impl Learned {
    pub fn new(settings: &PredictiveSettings) -> Self {
        Self {
            version: SAVED_VERSION,
            window: Window::new(settings.window_s, 0.0),
            rates: Forecaster::new(0.0),
            service: ServiceModel::new(),
            recent_needs: SlidingMaximum::default(),
            levels: Levels::default(),
            scores: Scores::default(),
            calendar: Calendar::default(),
            announcements: Announcements::default(),
            sessions: Sessions::default(),
            cold_start_s: None,
            observed_s: 0.0,
            desired: 0,
            desired_for_rest: None,
        }
    }

    pub fn is_sound(&self) -> bool {
        self.version == SAVED_VERSION
            && self.window.is_sound()
            && self.rates.is_sound()
            && self.service.is_sound()
            && self.recent_needs.is_sound()
            && self.levels.is_sound()
            && self.scores.is_sound()
            && self.calendar.is_sound()
            && self.announcements.is_sound()
            && self.sessions.is_sound()
            && self.cold_start_s.is_none_or(|seconds| seconds.is_finite() && seconds > 0.0)
            && self.observed_s.is_finite()
    }

    /// Lets time pass that nobody observed.
    pub fn skip_to(&mut self, t: f64) {
        self.window.skip_to(t);
        self.rates.skip_to(t);
    }

    pub fn has_learned(&self) -> bool {
        let enough = self.service.completed() >= LEARN_COMPLETIONS && self.observed_s >= LEARN_S;
        // A pool that hardly ever has a task must be able to shrink as well.
        enough || self.observed_s >= LEARN_AT_MOST_S
    }
}
