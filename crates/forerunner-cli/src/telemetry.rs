//! Logs and metrics of the service.

mod connection_errors;
mod throttle;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
    thread,
};

use anyhow::Context;
use forerunner_console::{
    line_writer::{LineWriter, Watcher},
    stdio, terminal,
};
use forerunner_http::DURATION_BUCKETS;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, Layer, filter::FilterExt, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use self::throttle::Throttle;
use crate::config::{LogConfig, LogFormat};

/// Bucket bounds in seconds, from what an in-process agent needs up to an hour: waits, attempts, cold starts.
const DURATION_BOUNDS_S: [f64; 19] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0,
    3_600.0,
];
/// Bucket bounds in seconds of the duration of a decision: the budget is 100 µs.
const DECISION_BOUNDS_S: [f64; 9] = [5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2, 0.1];
/// Shows lost lines in `/metrics`, and logs them once writing works again.
const WATCHER: Watcher = Watcher {
    lost: forerunner_runtime::metrics::record_log_lines_lost,
    recovered: |lines| tracing::warn!(lines, "log lines were lost: the reader was too slow or gone"),
};

/// Detaches standard output and standard error: from here on neither blocks a thread.
pub fn detach() -> anyhow::Result<()> {
    stdio::detach(WATCHER).map(drop)
}

/// Begins to log to standard error, as JSON unless that is a terminal. Panics are lines of the log from here on.
pub fn log(config: &LogConfig) -> anyhow::Result<()> {
    let filter = connection_errors::quieted(&config.level);
    let filter = EnvFilter::try_new(filter).context("log.level was checked with the configuration")?;
    let terminal = io::stderr().is_terminal();
    let json = match config.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let writer = stdio::detach(WATCHER)?;
    let filter = filter.and(Throttle::new(writer.clone()));
    // An error of the layer itself would be written to standard error directly.
    let writer = move || -> Box<dyn io::Write> {
        if terminal { Box::new(TerminalLines(writer.clone())) } else { Box::new(writer.clone()) }
    };
    let lines = fmt::layer().with_writer(writer).with_ansi(terminal).log_internal_errors(false);
    let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
    let layers = tracing_subscriber::registry().with(lines.with_filter(filter)).with(connection_errors::counter());
    layers.try_init().map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Lines of the log for a terminal. The formatter escapes control characters. What turns the direction of writing, or is not
/// seen, is shown as a dot.
struct TerminalLines(LineWriter);

impl io::Write for TerminalLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = String::from_utf8_lossy(line);
        let shown =
            shown.chars().map(|c| if !c.is_control() && terminal::is_hidden(c) { terminal::STAND_IN } else { c });
        self.0.push(shown.collect::<String>().into_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The hook of the standard library writes to standard error, where it waits for a reader that does not read.
fn log_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let panic = text.unwrap_or("a value that is no text");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(panic, place, thread, backtrace, "the program panicked: please report this");
}

/// Installs the recorder that `/metrics` is rendered from.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BOUNDS_S)
        .and_then(|b| {
            b.set_buckets_for_metric(
                Matcher::Full("forerunner_decision_duration_seconds".to_owned()),
                &DECISION_BOUNDS_S,
            )
        })
        .and_then(|b| b.set_buckets_for_metric(Matcher::Prefix("forerunner_http_".to_owned()), &DURATION_BUCKETS))
        .context("the bucket bounds are constants that are not empty")?;
    let handle = builder.install_recorder().context("the metrics cannot be set up")?;
    forerunner_runtime::metrics::describe();
    forerunner_http::describe_metrics();
    forerunner_runtime::metrics::record_log_lines_lost(stdio::lost());
    Ok(handle)
}
