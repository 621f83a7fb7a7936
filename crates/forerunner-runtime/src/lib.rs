//! The actors of Forerunner: queue, pool, agents, forecast.

pub mod agent;
