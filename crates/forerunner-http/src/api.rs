//! What every handler can reach.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use forerunner_service::{Handle, Service};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{front::Front, settings::HttpSettings};

/// The calls of the service, to be mounted in any actix-web application. Cloning is cheap.
///
/// [`HttpServer`](crate::HttpServer) is the usual way to serve them; tests and benchmarks mount them directly.
/// Handlers, also those of other fronts, receive it as an argument.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    service: Service,
    prometheus: PrometheusHandle,
    settings: HttpSettings,
    fronts: Vec<Box<dyn Front>>,
}

impl Api {
    /// Prepares the calls on a node. `prometheus` renders `/metrics`.
    pub fn new(settings: HttpSettings, handle: Handle, prometheus: PrometheusHandle) -> Self {
        let service = Service::new(handle, settings.limits());
        Self::with_fronts(settings, service, prometheus, Vec::new())
    }

    /// Prepares the calls on a service layer that others share, and those of other fronts.
    pub fn with_fronts(
        settings: HttpSettings,
        service: Service,
        prometheus: PrometheusHandle,
        fronts: Vec<Box<dyn Front>>,
    ) -> Self {
        Self(Arc::new(Shared { service, prometheus, settings, fronts }))
    }

    /// Returns what the calls are made of.
    pub fn service(&self) -> &Service {
        &self.0.service
    }

    /// Refuses new tasks from now on, fails readiness, and closes each connection after its next answer.
    pub fn drain(&self) {
        self.service().drain();
    }

    /// Returns whether the node, and so the service, is on its way down.
    pub fn is_draining(&self) -> bool {
        self.service().is_draining()
    }

    pub(crate) fn of(request: &HttpRequest) -> &Self {
        request.app_data().expect("`Api::configure` registers the API together with the routes that need it")
    }

    pub(crate) fn settings(&self) -> &HttpSettings {
        &self.0.settings
    }

    pub(crate) fn prometheus(&self) -> &PrometheusHandle {
        &self.0.prometheus
    }

    pub(crate) fn fronts(&self) -> &[Box<dyn Front>] {
        &self.0.fronts
    }
}

impl FromRequest for Api {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request).clone()))
    }
}
