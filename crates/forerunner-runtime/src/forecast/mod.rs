//! The forecast: samples queue and pool, calls the policy, and sends the pool its wanted size.

mod actor;
mod announced;
mod history;
pub(crate) mod messages;
mod outage;
mod packed;
mod timeline;

pub(crate) use actor::{ForecastActor, ForecastDeps, ForecastLinks};
pub(crate) use history::{SavedHistory, SavedSize};
