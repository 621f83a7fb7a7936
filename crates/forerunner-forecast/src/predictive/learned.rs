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

    /// Reads what [`Predictive::save`](super::Predictive) wrote under the same settings; `None` for any other text.
    pub fn read(saved: &str, settings: &PredictiveSettings) -> Option<Self> {
        let learned: Self = serde_json::from_str(saved).ok()?;
        let fits = learned.is_sound() && learned.window.span_s() == f64::from(settings.window_s);
        fits.then_some(learned)
    }

    fn is_sound(&self) -> bool {
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

    /// Lets seconds pass that nobody observed.
    pub fn pass(&mut self, away_s: f64) {
        let away_s = if away_s.is_finite() { away_s.max(0.0) } else { 0.0 };
        self.skip_to(self.window.now() + away_s);
        self.calendar.skip(away_s);
    }

    /// Adds what a recording taught that ended `away_s` seconds ago.
    ///
    /// Of habits, sessions and rules the recording knows more than a pool that is asked to learn from it. The present is what the
    /// pool itself sees: its size, and its rates once it has learned anything. Durations are of whichever saw more tasks.
    pub fn taught_by(self, mut recorded: Self, away_s: f64) -> Self {
        recorded.pass(away_s);
        recorded.service.resume();
        let knows_rates = self.has_learned();
        let knows_durations = self.service.completed() >= recorded.service.completed();
        let now = if knows_rates { &self } else { &recorded };
        let (window, rates) = (now.window.clone(), now.rates.clone());
        Self {
            window,
            rates,
            service: if knows_durations { self.service } else { recorded.service },
            // Those of announced tasks count on the window's clock.
            announcements: if knows_rates { self.announcements } else { Announcements::default() },
            sessions: if recorded.sessions.have_learned() { recorded.sessions } else { self.sessions },
            recent_needs: SlidingMaximum::default(),
            cold_start_s: self.cold_start_s.or(recorded.cold_start_s),
            observed_s: self.observed_s + recorded.observed_s,
            desired: self.desired,
            desired_for_rest: self.desired_for_rest,
            ..recorded
        }
    }

    /// Takes up what another pool knows of the same agents, where it has seen more of them.
    pub fn adopt(&mut self, mut other: Self) {
        if other.service.completed() > self.service.completed() {
            other.service.resume();
            self.service = other.service;
        }
        if !self.sessions.have_learned() {
            self.sessions = other.sessions;
        }
        self.cold_start_s = self.cold_start_s.or(other.cold_start_s);
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
