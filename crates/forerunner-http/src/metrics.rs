//! The metrics of the service, and what they mean.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram};

pub(crate) const REQUESTS: &str = "forerunner_http_requests_total";
pub(crate) const DURATION: &str = "forerunner_http_request_duration_seconds";
pub(crate) const IN_FLIGHT: &str = "forerunner_http_requests_in_flight";
const CONNECTION_ERRORS: &str = "forerunner_http_connection_errors_total";
pub(crate) const CONNECTIONS: &str = "forerunner_http_connections";
pub(crate) const CLOSED: &str = "forerunner_http_connections_closed_total";

/// Bucket bounds that suit `forerunner_http_request_duration_seconds`: from an acknowledged submission in memory to the
/// longest wait.
pub const DURATION_BUCKETS: [f64; 13] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// Registers the descriptions of the service's metrics. Call it once, after the recorder is installed.
pub fn describe_metrics() {
    describe_counter!(REQUESTS, Unit::Count, "Requests answered, by method, route and status.");
    describe_histogram!(DURATION, Unit::Seconds, "Time from a request's head to its answer's head, by route.");
    describe_gauge!(IN_FLIGHT, Unit::Count, "Requests being answered.");
    let errors = "Connections that ended with an error, such as a request head that cannot be read.";
    describe_counter!(CONNECTION_ERRORS, Unit::Count, errors);
    // It is there, as 0, before anything happens.
    counter!(CONNECTION_ERRORS).absolute(0);
    describe_gauge!(CONNECTIONS, Unit::Count, "Open connections.");
    describe_counter!(
        CLOSED,
        Unit::Count,
        "Connections that the node ended: `slow_head`, `idle`, `peer_left`, `not_read`, `evicted`."
    );
    forerunner_service::describe_metrics();
}

/// Counts an error of a connection. The server reports such errors only as log events, so the writer of the log calls
/// this.
pub fn count_connection_error() {
    counter!(CONNECTION_ERRORS).increment(1);
}
