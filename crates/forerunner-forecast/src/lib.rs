//! Arrival and service-time forecasts and pool sizing for Forerunner: samples in, a target out.
