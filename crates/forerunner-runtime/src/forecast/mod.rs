//! The forecast: samples queue and pool, calls the policy, and sends the pool its wanted size.

mod actor;
mod announced;
mod history;
mod lesson;
pub(crate) mod messages;
mod outage;
mod packed;
mod timeline;

pub(crate) use actor::{ForecastActor, ForecastDeps, ForecastLinks, PriorKnowledge};
pub(crate) use history::{SavedHistory, SavedSize};
pub use lesson::{LearnedForecast, Lesson, UntaughtPolicy};
