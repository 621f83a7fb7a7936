//! The interface of a rule that sizes a pool. Its callers are the actors, the simulator and `forerunner advise`.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::Arrival;

/// What the operator asks for: this share of tasks starts within this time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Objective {
    /// Share of tasks that start on time, in (0, 1).
    pub share: f64,
    /// On time means: at most this many seconds from being due to the start.
    pub within_s: f64,
}

impl Default for Objective {
    fn default() -> Self {
        Self { share: 0.99, within_s: 1.0 }
    }
}

/// The bounds and the objective a policy works within.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PolicyLimits {
    /// Fewest agents.
    pub min: u32,
    /// Most agents.
    pub max: u32,
    /// Seconds from asking for an agent to its being ready, until measured.
    pub cold_start_s: f64,
    /// Seconds between two decisions.
    pub tick_s: f64,
    /// What is asked for.
    pub objective: Objective,
}

impl PolicyLimits {
    /// Limits a size to `min..=max`.
    pub fn clamp(&self, size: u32) -> u32 {
        size.clamp(self.min, self.max.max(self.min))
    }
}

/// What happened since the observation before, and the present state. The line format of `forerunner advise`.
///
/// Everything after `starting` is optional there; unknown fields are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// Seconds since some fixed start; never decreases.
    pub t: f64,
    /// Tasks that became due.
    pub arrivals: u64,
    /// Tasks that left an agent.
    pub completions: u64,
    /// Mean seconds on an agent of those completions.
    pub mean_service_s: Option<f64>,
    /// Tasks waiting for an agent now.
    pub queue_depth: u32,
    /// Tasks on an agent now.
    pub in_flight: u32,
    /// Idle warm agents now.
    pub ready: u32,
    /// Agents that are starting now.
    pub starting: u32,
    /// Mean context size of the completions, in tokens.
    pub mean_context_tokens: Option<f64>,
    /// Agents that get no new tasks and stop when idle.
    pub draining: u32,
    /// Greatest number of tasks on agents at once.
    pub peak_concurrency: u32,
    /// Tasks that began on an agent.
    pub started: u64,
    /// Of those, how many began later than the objective allows.
    pub late: u64,
    /// 90th percentile of the recent measured cold starts, in seconds.
    pub cold_start_s: Option<f64>,
    /// The single arrivals, with their sessions where they are known.
    pub arrived: Vec<Arrival>,
    /// Task numbers and seconds on an agent of the completions.
    pub completed: Vec<(u64, f64)>,
    /// What is known to come: in how many seconds from `t`, and how many tasks. All that is known, each time.
    pub announced: Vec<(f64, u64)>,
    /// Most agents that may start at the same time; `None` where any number may.
    pub max_starting: Option<u32>,
    /// Seconds from 1970-01-01T00:00:00Z to `t`, so that reasons can name the time of day; `None` where it is not known.
    pub utc_s: Option<f64>,
}

impl Observation {
    /// Agents that exist or start, and may get tasks.
    pub fn size(&self) -> u32 {
        self.in_flight.saturating_sub(self.draining).saturating_add(self.ready).saturating_add(self.starting)
    }
}

/// What a policy expects at the time when an agent that starts now is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Forecast {
    /// Seconds ahead: cold start plus tick.
    pub horizon_s: f64,
    /// Expected arrivals per second at the horizon.
    pub rate_per_s: f64,
    /// The same by sessions that pause and are expected back, with new ones, whichever forecast is in charge; absent where no
    /// sessions are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub sessions_rate_per_s: Option<f64>,
    /// Lower edge of the 90 % band of that rate.
    pub rate_low: f64,
    /// Upper edge of the 90 % band of that rate.
    pub rate_high: f64,
    /// Expected seconds on an agent.
    pub service_s: f64,
    /// Expected tasks waiting at the horizon if the pool stayed as it is.
    pub depth: f64,
    /// Completions per second, averaged over the recent past.
    pub completion_rate_per_s: f64,
    /// Change of that rate per second, over the rolling window.
    pub completion_trend: f64,
    /// Completions per busy agent-second over the rolling window: what an agent gets done.
    #[serde(default)]
    pub capacity_per_s: f64,
    /// Change of that capacity per second, over the same window.
    #[serde(default)]
    pub capacity_trend: f64,
    /// By what factor the tasks on agents are slower than the durations known; 1 where they are not.
    #[serde(default = "no_change")]
    pub service_change: f64,
    /// Change of the time on an agent, in seconds per second, over the rolling window.
    pub service_trend: f64,
    /// What is known to come, apart from the forecast.
    #[serde(default)]
    pub announced: AnnouncedDemand,
}

const fn no_change() -> f64 {
    1.0
}

/// Tasks that are known to come: delayed ones, retries, schedules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnnouncedDemand {
    /// Tasks due within the horizon.
    pub within_horizon: u64,
    /// Agents for those of them that the forecast does not cover.
    pub agents: u32,
    /// Seconds until the next of all announced tasks is due; `None` if there are none.
    pub next_in_s: Option<f64>,
    /// Tasks due then, within one second.
    pub next_tasks: u64,
}

/// Why a decision is what it is. The name is part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReasonCode {
    /// The size is right.
    Steady,
    /// The forecast needs more agents.
    ForecastUp,
    /// The forecast has needed fewer agents for the whole stabilization window.
    ForecastDown,
    /// Fewer would do, but not for long enough yet.
    #[serde(alias = "hold")]
    Stabilizing,
    /// Arrivals exceed the forecast.
    Surge,
    /// Tasks wait that the present and the starting agents cannot start in time.
    Backlog,
    /// Tasks are known to come: delayed ones, retries, schedules.
    Announced,
    /// What the agents depend on fails, or failed: the pool keeps its size.
    Outage,
    /// A threshold was crossed.
    Utilisation,
    /// The size was set by hand or by configuration.
    Fixed,
    /// A lower or upper bound is in the way.
    Bounded,
    /// There is not enough history yet, so the pool does not shrink.
    Learning,
}

impl ReasonCode {
    /// Returns the name used in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::ForecastUp => "forecast_up",
            Self::ForecastDown => "forecast_down",
            Self::Stabilizing => "stabilizing",
            Self::Surge => "surge",
            Self::Backlog => "backlog",
            Self::Announced => "announced",
            Self::Outage => "outage",
            Self::Utilisation => "utilisation",
            Self::Fixed => "fixed",
            Self::Bounded => "bounded",
            Self::Learning => "learning",
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many agents a policy wants, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decision {
    /// Agents wanted, within the limits.
    pub desired: u32,
    /// Agents needed before bounds and stabilization.
    pub need: f64,
    /// Why, for programs.
    pub reason: ReasonCode,
    /// Why, for people: names the numbers that decided.
    pub detail: String,
    /// The rule in charge.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub rule: Cow<'static, str>,
    /// What was expected, for policies that forecast.
    pub forecast: Option<Forecast>,
}

/// What a share of punctual tasks would have cost lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// The share asked about, in (0, 1).
    pub share: f64,
    /// Whether any rule known would have reached it.
    pub reachable: bool,
    /// Share of tasks that the rule named would have started on time: at least `share` if that is reachable, else the
    /// greatest there is.
    pub on_time_share: f64,
    /// Agents on average under that rule; times 3600 the instance-seconds per hour.
    pub agents: f64,
    /// The rule, in words.
    pub rule: String,
}

/// A rule that sizes a pool.
///
/// Deterministic: the same observations give the same decisions. Knows no clock; time is [`Observation::t`].
pub trait Policy: Send {
    /// Returns the name used in configuration, reports and metrics.
    fn name(&self) -> &'static str;

    /// Seconds between two decisions: the rule's own rhythm. Events may ask for one in between.
    fn interval_s(&self) -> f64;

    /// Learns from an observation and returns how many agents are wanted now.
    fn decide(&mut self, seen: &Observation) -> Decision;

    /// Continues under other bounds, with all that was learned; false where a policy cannot, so that it is to be made
    /// anew.
    fn set_bounds(&mut self, _min: u32, _max: u32) -> bool {
        false
    }

    /// What each of `shares` of punctual tasks would have cost in the recent past; empty if the policy does not know
    /// it, or not yet.
    fn what_if(&self, _shares: &[f64]) -> Vec<WhatIf> {
        Vec::new()
    }

    /// Share of forecast bands that contained the arrivals, of those judged so far; `None` without bands, or before the first was
    /// judged. The bands aim at 0.9.
    fn band_coverage(&self) -> Option<f64> {
        None
    }

    /// The chance that a session returns before an agent that starts now is ready, by the seconds since its last turn, rising;
    /// empty where a policy does not know.
    fn return_chances(&self) -> Vec<(f64, f64)> {
        Vec::new()
    }

    /// Writes down what was learned, as JSON, so that a restart does not begin from nothing.
    fn save(&self) -> Option<String> {
        None
    }

    /// Restores what [`Policy::save`] wrote; `away_s` seconds have passed since the last observation, and the next one
    /// will have `t = 0` or later. Unreadable or outdated text is ignored; then the result is false.
    fn restore(&mut self, _saved: &str, _away_s: f64) -> bool {
        false
    }

    /// Tasks that were learned from, in all.
    fn learned_tasks(&self) -> u64 {
        0
    }

    /// Adds what a recording taught, as [`Policy::save`] wrote it at the end of the recording, `away_s` seconds ago. What the
    /// policy knows of the present stays: its size, and, once it has learned anything, its rates. The next observation will have
    /// `t = 0` or later. Unreadable or outdated text is ignored; then the result is false.
    fn teach(&mut self, _saved: &str, _away_s: f64) -> bool {
        false
    }

    /// Takes up what the policy of another pool with the same agents saved about them: durations, pauses of sessions and the cold
    /// start. Not how many tasks come. What was measured already stays, where it says more. False as for [`Policy::teach`].
    fn adopt(&mut self, _saved: &str) -> bool {
        false
    }
}
