//! What every handler can reach, and whether the service still takes new work.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpRequest, web};
use forerunner_core::{Task, TaskId};
use forerunner_runtime::{Error, Handle};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use crate::{routes, settings::HttpSettings};

/// How far the service is on its way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It takes everything.
    Open,
    /// It refuses new tasks and closes each connection after an answer, so that clients go elsewhere.
    Draining,
    /// It also ends waits and event streams.
    Stopping,
}

/// The calls of the service, to be mounted in any actix-web application. Cloning is cheap.
///
/// [`HttpServer`](crate::HttpServer) is the usual way to serve them; tests and benchmarks mount them by themselves.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    handle: Handle,
    prometheus: PrometheusHandle,
    settings: HttpSettings,
    phase: watch::Sender<Phase>,
}

impl Api {
    /// Prepares the calls on a node. `prometheus` renders `/metrics`.
    pub fn new(settings: HttpSettings, handle: Handle, prometheus: PrometheusHandle) -> Self {
        Self(Arc::new(Shared { handle, prometheus, settings, phase: watch::Sender::new(Phase::Open) }))
    }

    /// Mounts the calls: `App::new().configure(|config| api.configure(config))`.
    ///
    /// Metrics handles are bound to the recorder that is installed by then.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        config.app_data(self.clone());
        routes::mount(self, config);
    }

    /// Refuses new tasks from now on, fails readiness, and closes each connection after its next answer.
    pub fn drain(&self) {
        self.0.handle.close_intake();
        self.advance(Phase::Draining);
    }

    /// Also ends waits and event streams, which could outlast any grace.
    pub(crate) fn end_waits(&self) {
        self.drain();
        self.advance(Phase::Stopping);
    }

    /// Returns whether the service is on its way down.
    pub fn is_draining(&self) -> bool {
        *self.0.phase.borrow() >= Phase::Draining
    }

    pub(crate) fn of(request: &HttpRequest) -> &Self {
        request.app_data().expect("`configure` registers the API together with the routes that need it")
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    pub(crate) fn settings(&self) -> &HttpSettings {
        &self.0.settings
    }

    pub(crate) fn prometheus(&self) -> &PrometheusHandle {
        &self.0.prometheus
    }

    /// Resolves when waits are to end.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + 'static {
        let mut phase = self.0.phase.subscribe();
        async move {
            // The sender lives as long as the API, so an error means that it is gone for good.
            let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
        }
    }

    /// Waits for a task to end, at most `limit`, and answers how it stands then.
    pub(crate) async fn wait(&self, task: TaskId, limit: Duration) -> Result<Task, Error> {
        tokio::select! {
            waited = self.handle().wait(task, limit) => waited,
            () = self.stopping() => self.handle().task(task).await,
        }
    }

    fn advance(&self, next: Phase) {
        self.0.phase.send_if_modified(|phase| {
            let moves = *phase < next;
            *phase = next.max(*phase);
            moves
        });
    }
}
