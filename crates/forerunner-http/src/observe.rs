//! Counts and times requests by route, and closes connections while the service drains.

use std::{
    cell::RefCell,
    future::{Ready, ready},
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    http::{ConnectionType, Method},
};
use futures_util::future::LocalBoxFuture;
use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use tokio::time::Instant;

use crate::api::Api;

const REQUESTS: &str = "forerunner_http_requests_total";
const DURATION: &str = "forerunner_http_request_duration_seconds";
const IN_FLIGHT: &str = "forerunner_http_requests_in_flight";
const CONNECTION_ERRORS: &str = "forerunner_http_connection_errors_total";
pub(crate) const CONNECTIONS: &str = "forerunner_http_connections";
pub(crate) const CLOSED: &str = "forerunner_http_connections_closed_total";
pub(crate) const MEMORY: &str = "forerunner_http_memory_bytes";

/// Bucket bounds that suit `forerunner_http_request_duration_seconds`: from an acknowledged submission in memory to the
/// longest wait.
pub const DURATION_BUCKETS: [f64; 13] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// Tells the installed recorder what the metrics of the service mean. Call once it is installed.
pub fn describe_metrics() {
    metrics::describe_counter!(REQUESTS, Unit::Count, "Requests answered, by method, route and status.");
    metrics::describe_histogram!(DURATION, Unit::Seconds, "Time from a request's head to its answer's head, by route.");
    metrics::describe_gauge!(IN_FLIGHT, Unit::Count, "Requests being answered.");
    let errors = "Connections that ended with an error, such as a request head that cannot be read.";
    metrics::describe_counter!(CONNECTION_ERRORS, Unit::Count, errors);
    // It is there, as 0, before anything happens.
    counter!(CONNECTION_ERRORS).absolute(0);
    metrics::describe_gauge!(CONNECTIONS, Unit::Count, "Open connections.");
    metrics::describe_counter!(
        CLOSED,
        Unit::Count,
        "Connections that the node ended: `slow_head`, `idle`, `peer_left`, `not_read`, `evicted`."
    );
    metrics::describe_gauge!(MEMORY, Unit::Bytes, "Bytes of bodies and answers in flight.");
}

/// Counts an error of a connection. The server tells of them by log events only, so whoever writes the log calls this.
pub fn count_connection_error() {
    counter!(CONNECTION_ERRORS).increment(1);
}

/// Watches one route. The label is the route's template, so the number of time series is bounded.
pub(crate) struct Observe {
    api: Api,
    route: &'static str,
}

impl Observe {
    pub(crate) const fn new(api: Api, route: &'static str) -> Self {
        Self { api, route }
    }
}

impl<S, B> Transform<S, ServiceRequest> for Observe
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Transform = Observed<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(Observed { inner, api: self.api.clone(), metrics: Rc::new(RouteMetrics::new(self.route)) }))
    }
}

/// A route that is watched.
pub(crate) struct Observed<S> {
    inner: S,
    api: Api,
    metrics: Rc<RouteMetrics>,
}

impl<S, B> Service<ServiceRequest> for Observed<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (api, metrics) = (self.api.clone(), Rc::clone(&self.metrics));
        let method = method_label(request.method());
        let begun = Instant::now();
        let answering = self.inner.call(request);
        Box::pin(async move {
            let _in_flight = InFlight::enter(&metrics.in_flight);
            let mut response = answering.await?;
            if api.is_draining() {
                response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
            }
            metrics.answered(method, response.status().as_u16(), begun);
            Ok(response)
        })
    }
}

/// The metrics of a route, looked up once: a lookup by name and labels would cost more than the count.
struct RouteMetrics {
    route: &'static str,
    in_flight: Gauge,
    duration: Histogram,
    answers: RefCell<Vec<(&'static str, u16, Counter)>>,
}

impl RouteMetrics {
    fn new(route: &'static str) -> Self {
        Self {
            route,
            in_flight: gauge!(IN_FLIGHT),
            duration: histogram!(DURATION, "route" => route),
            answers: RefCell::default(),
        }
    }

    fn answered(&self, method: &'static str, status: u16, begun: Instant) {
        self.duration.record(begun.elapsed().as_secs_f64());
        let mut answers = self.answers.borrow_mut();
        let known =
            answers.iter().position(|(its_method, its_status, _)| (*its_method, *its_status) == (method, status));
        let index = known.unwrap_or_else(|| {
            answers.push((method, status, self.counter(method, status)));
            answers.len() - 1
        });
        answers[index].2.increment(1);
    }

    fn counter(&self, method: &'static str, status: u16) -> Counter {
        counter!(REQUESTS, "method" => method, "route" => self.route, "status" => status.to_string())
    }
}

/// Counts a request as in flight until it is answered, or its connection is gone.
struct InFlight(Gauge);

impl InFlight {
    fn enter(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Keeps the label set bounded: clients may invent methods.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
