//! Arrival and service-time forecasts and pool sizing for Forerunner: samples in, a target out.
//!
//! A [`Policy`] gets [`Observation`]s: what happened since the one before, and the present state. It answers each with
//! a [`Decision`]: how many agents are wanted, and why. The same code decides for the running pool, in the simulator
//! and behind a pipe. There are:
//!
//! - [`Predictive`] sizes for what will arrive by the time a new agent is ready;
//! - [`Utilisation`] is the reactive rule with two thresholds;
//! - [`Fixed`] wants one size;
//! - [`Knative`], [`Hpa`], [`Keda`], [`RayServe`], [`KeepAlive`], [`SqrtStaffing`] and [`Holt`] are rules others scale by.
//!
//! In addition, [`EventDetector`] decides when a decision should not wait for the next tick.
//!
//! Pure: no clock, no IO, no actors, no logging. Time is [`Observation::t`]; seconds throughout.
//!
//! ```
//! use forerunner_forecast::{Objective, Observation, PolicyKind, PolicyLimits, build};
//!
//! let limits = PolicyLimits { min: 1, max: 40, cold_start_s: 10.0, tick_s: 1.0, objective: Objective::default() };
//! let mut policy = build(PolicyKind::default(), limits)?;
//! // Three tasks a second, six seconds each: 18 busy agents.
//! for t in 0..120 {
//!     let seen = Observation {
//!         t: f64::from(t),
//!         arrivals: 3,
//!         completions: 3,
//!         mean_service_s: Some(6.0),
//!         in_flight: 18,
//!         ready: 4,
//!         started: 3,
//!         ..Observation::default()
//!     };
//!     let decision = policy.decide(&seen);
//!     assert!(limits.clamp(decision.desired) == decision.desired);
//!     if t == 119 {
//!         assert!(decision.desired > 18, "{}", decision.detail);
//!     }
//! }
//! # Ok::<(), forerunner_forecast::Error>(())
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod announced;
mod arrival;
mod baselines;
mod calendar;
mod error;
mod fixed;
mod forecaster;
mod period_detector;
mod policies;
mod policy;
mod predictive;
mod rate;
mod service;
mod sessions;
mod sizing;
mod stabilization;
mod tournament;
mod trend;
mod triggers;
mod utilisation;
mod window;

pub use arrival::Arrival;
pub use baselines::*;
pub use error::Error;
pub use fixed::{Fixed, FixedSettings};
pub use forecaster::{Forecaster, RateForecast, Rule};
pub use policies::{PolicyKind, build};
pub use policy::{
    AnnouncedDemand, Decision, Forecast, Objective, Observation, Policy, PolicyLimits, ReasonCode, WhatIf,
};
pub use predictive::{Predictive, PredictiveSettings};
pub use rate::{DampedHolt, Ewma};
pub use service::{ServiceForecast, ServiceModel, Shift};
pub use sizing::{Load, erlang_c, normal_quantile, offered_load, square_root_staffing};
pub use tournament::Tuning;
pub use trend::Trend;
pub use triggers::{Cause, DEBOUNCE_S, EventDetector, RecentServiceTime};
pub use utilisation::{Utilisation, UtilisationSettings};
pub use window::{Point, Sample, Window};
