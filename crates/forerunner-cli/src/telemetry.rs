//! Logs and metrics of the service.

use std::io::IsTerminal;

use anyhow::Context;
use forerunner_http::DURATION_BUCKETS;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Bucket bounds in seconds, from what an in-process agent needs up to an hour: waits, attempts, cold starts.
const DURATION_BOUNDS_S: [f64; 19] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0,
    3_600.0,
];
/// Bucket bounds in seconds of what a decision may take: the budget is 100 µs.
const DECISION_BOUNDS_S: [f64; 9] = [5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2, 0.1];

/// Begins to log to standard error, as JSON unless that is a terminal.
pub fn log(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.level).context("log.level was checked with the configuration")?;
    let terminal = std::io::stderr().is_terminal();
    let json = match config.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    let begun = if json { lines.json().flatten_event(true).try_init() } else { lines.try_init() };
    begun.map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))
}

/// Installs the recorder that `/metrics` is rendered from.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BOUNDS_S)
        .and_then(|b| {
            b.set_buckets_for_metric(Matcher::Full("forerunner_decision_seconds".to_owned()), &DECISION_BOUNDS_S)
        })
        .and_then(|b| b.set_buckets_for_metric(Matcher::Prefix("forerunner_http_".to_owned()), &DURATION_BUCKETS))
        .context("the bucket bounds are constants that are not empty")?;
    let handle = builder.install_recorder().context("the metrics cannot be set up")?;
    forerunner_runtime::metrics::describe();
    forerunner_http::describe_metrics();
    Ok(handle)
}
