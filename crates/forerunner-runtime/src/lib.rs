//! The actors of Forerunner: queue, pool, agents, forecast.
