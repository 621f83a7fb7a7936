//! Lines of the server that do not belong into the log: anybody who can connect can cause an error of a connection, so
//! these errors are counted.

use std::borrow::Cow;

use forerunner_http::count_connection_error;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, filter::Targets, layer::Context, registry::LookupSpan};

/// Where the server logs that it cannot read a request head, as an error.
const TARGET: &str = "actix_http";

/// Where the server logs how many threads it starts and stops, at level info: of no use to an operator.
const SERVER: &str = "actix_server";

/// Removes errors of connections from a filter of the log, and the server's remarks about its threads, unless the filter
/// names them or includes all details.
pub fn quieted(filter: &str) -> Cow<'_, str> {
    let has = |levels: &[&str]| {
        filter.split(',').any(|part| levels.iter().any(|level| part.trim().eq_ignore_ascii_case(level)))
    };
    if filter.trim().is_empty() || has(&["debug", "trace"]) {
        return filter.into();
    }
    let errors = if filter.contains(TARGET) { "" } else { ",actix_http=off" };
    let server = if filter.contains(SERVER) || !has(&["info"]) { "" } else { ",actix_server=warn" };
    format!("{filter}{errors}{server}").into()
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
            ("info", "info,actix_http=off,actix_server=warn"),
            ("info,forerunner_runtime=debug", "info,forerunner_runtime=debug,actix_http=off,actix_server=warn"),
            ("info,actix_server=info", "info,actix_server=info,actix_http=off"),
            ("error", "error,actix_http=off"),
            ("debug", "debug"),
            ("Trace", "Trace"),
            ("warn,actix_http=debug", "warn,actix_http=debug"),
            ("", ""),
        ] {
            assert_eq!(quieted(filter), quieted_filter);
        }
    }
}
