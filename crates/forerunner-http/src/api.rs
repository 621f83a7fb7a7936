//! What every handler can reach.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload};
use forerunner_service::{
    Handle, Service,
    auth::{Auth, Scope},
};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::{front::Front, settings::HttpSettings};

/// The calls of the service, to be mounted in any actix-web application. Cloning is cheap.
///
/// [`HttpServer`](crate::HttpServer) is the usual way to serve them; tests and benchmarks mount them directly.
/// Handlers, also those of other fronts, receive it as an argument.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    /// For a handler: what the caller may reach.
    service: Service,
}

struct Shared {
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
        Self { shared: Arc::new(Shared { prometheus, settings, fronts }), service }
    }

    /// Returns what the calls are made of. In a handler it reaches what belongs to the caller.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Refuses new tasks from now on, fails readiness, and closes each connection after its next answer.
    pub fn drain(&self) {
        self.service().drain();
    }

    /// Returns whether the node, and so the service, is stopping.
    pub fn is_draining(&self) -> bool {
        self.service().is_draining()
    }

    pub(crate) fn of(request: &HttpRequest) -> &Self {
        request.app_data().expect("`Api::configure` registers the API together with the routes that need it")
    }

    pub(crate) fn settings(&self) -> &HttpSettings {
        &self.shared.settings
    }

    pub(crate) fn prometheus(&self) -> &PrometheusHandle {
        &self.shared.prometheus
    }

    pub(crate) fn fronts(&self) -> &[Box<dyn Front>] {
        &self.shared.fronts
    }
}

impl FromRequest for Api {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let Self { shared, service } = Self::of(request);
        // Nothing is reached where nobody has checked the caller.
        let unchecked = || match service.auth() {
            Auth::Off => service.clone(),
            Auth::On(_) => service.scoped(Scope::Nothing),
        };
        let service = request.extensions().get().cloned().unwrap_or_else(unchecked);
        ready(Ok(Self { shared: Arc::clone(shared), service }))
    }
}
