//! Listens, serves, stops.

use std::{io, net::SocketAddr, time::Duration};

use actix_web::{App, HttpServer as ActixServer, dev, rt};
use forerunner_runtime::Handle;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;

use crate::{api::Api, settings::HttpSettings};

/// How often histograms are folded. Without it, what is observed between two scrapes is kept sample by sample, and for
/// ever if nobody scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// The HTTP service of a node, bound but not yet serving.
///
/// Handles no signals: whoever runs it calls [`HttpControl::drain`] and [`HttpControl::stop`].
#[must_use = "a bound server serves nothing until it runs"]
pub struct HttpServer {
    addrs: Vec<SocketAddr>,
    server: dev::Server,
    api: Api,
}

impl HttpServer {
    /// Binds to `settings.listen`. Needs an actix system.
    ///
    /// # Errors
    /// When the settings are not valid, or the address cannot be bound.
    pub fn bind(settings: HttpSettings, handle: Handle, prometheus: PrometheusHandle) -> io::Result<Self> {
        settings.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let api = Api::new(settings.clone(), handle, prometheus);
        let mounted = api.clone();
        let server = ActixServer::new(move || App::new().configure(|config| mounted.configure(config)))
            .workers(settings.workers)
            .max_connections(settings.connections_per_worker())
            .client_request_timeout(settings.head_timeout)
            .keep_alive(settings.keep_alive)
            .shutdown_timeout(settings.grace_secs())
            .disable_signals()
            .bind(settings.listen.as_str())
            .map_err(|error| naming(&settings.listen, &error))?;
        Ok(Self { addrs: server.addrs(), server: server.run(), api })
    }

    /// Returns the bound addresses, with the port that was found if 0 was asked for.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Returns what stops it, from any thread.
    pub fn control(&self) -> HttpControl {
        HttpControl { api: self.api.clone(), server: self.server.handle() }
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// When the threads that serve cannot be started.
    pub async fn run(self) -> io::Result<()> {
        let upkeep = rt::spawn(keep_metrics(self.api.prometheus().clone()));
        let served = self.server.await;
        upkeep.abort();
        served
    }

    /// Serves in a task of the current system.
    pub fn spawn(self) -> JoinHandle<io::Result<()>> {
        rt::spawn(self.run())
    }
}

/// Stops an [`HttpServer`]. Cloning is cheap.
#[derive(Clone)]
pub struct HttpControl {
    api: Api,
    server: dev::ServerHandle,
}

impl HttpControl {
    /// Refuses new tasks from now on, fails readiness, and closes each connection after its next answer.
    pub fn drain(&self) {
        self.api.drain();
    }

    /// Drains, ends waits and event streams, and stops listening. If `graceful`, requests in flight may take
    /// `shutdown_grace`, else they are cut off. Resolves when all is down; the server must be running.
    pub async fn stop(&self, graceful: bool) {
        self.api.end_waits();
        self.server.stop(graceful).await;
    }
}

async fn keep_metrics(prometheus: PrometheusHandle) {
    let mut rhythm = tokio::time::interval(METRICS_UPKEEP);
    loop {
        rhythm.tick().await;
        prometheus.run_upkeep();
    }
}

fn naming(listen: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on `{listen}`: {error}; change http.listen"))
}
