//! Arrival and service-time forecasts and pool sizing for Forerunner: samples in, a target out.

mod policy;

pub use policy::{Decision, Forecast, Objective, Observation, Policy, PolicyLimits, ReasonCode};
