//! The forecast: looks at queue and pool, asks the policy, and tells the pool how many agents to hold.

mod actor;
mod announced;
mod history;
pub(crate) mod messages;
mod packed;
mod timeline;

pub(crate) use actor::{ForecastActor, ForecastDeps, ForecastLinks};
pub(crate) use history::{SavedHistory, SavedSize};
