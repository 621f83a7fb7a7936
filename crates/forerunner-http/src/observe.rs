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
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::time::Instant;

use crate::{
    api::Api,
    metrics::{DURATION, IN_FLIGHT, REQUESTS},
};

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
    type Transform = ObservedService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(ObservedService { inner, api: self.api.clone(), metrics: Rc::new(RouteMetrics::new(self.route)) }))
    }
}

/// A route that is watched.
pub(crate) struct ObservedService<S> {
    inner: S,
    api: Api,
    metrics: Rc<RouteMetrics>,
}

impl<S, B> Service<ServiceRequest> for ObservedService<S>
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

/// The metrics of a route, cached: a lookup by name and labels would cost more than the count.
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

/// Counts a request as in flight until it is answered or its connection ends.
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

/// Limits the label's values: clients may invent methods.
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
