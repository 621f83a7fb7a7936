//! Errors of connections: anybody who can connect can cause them, so they are counted rather than logged.

use std::borrow::Cow;

use forerunner_http::count_connection_error;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, filter::Targets, layer::Context, registry::LookupSpan};

/// Where the server logs that it cannot read a request head, as an error.
const TARGET: &str = "actix_http";

/// Removes errors of connections from a filter of the log, unless the filter names them or includes all details.
pub fn quieted(filter: &str) -> Cow<'_, str> {
    let is_detailed = |part: &str| matches!(part.trim().to_ascii_lowercase().as_str(), "debug" | "trace");
    let is_about_them = filter.contains(TARGET) || filter.split(',').any(is_detailed);
    if filter.trim().is_empty() || is_about_them { filter.into() } else { format!("{filter},{TARGET}=off").into() }
}

/// Counts errors of connections, whatever the log level.
pub fn counter<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    Counter.with_filter(Targets::new().with_target(TARGET, Level::ERROR))
}

struct Counter;

impl<S: Subscriber> Layer<S> for Counter {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        count_connection_error();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_connections_are_logged_only_where_somebody_looks_for_them() {
        for (filter, quieted_filter) in [
            ("info", "info,actix_http=off"),
            ("info,forerunner_runtime=debug", "info,forerunner_runtime=debug,actix_http=off"),
            ("debug", "debug"),
            ("Trace", "Trace"),
            ("warn,actix_http=debug", "warn,actix_http=debug"),
            ("", ""),
        ] {
            assert_eq!(quieted(filter), quieted_filter);
        }
    }
}
