//! Listens, serves, stops.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use actix_server::{Server, ServerBuilder, ServerHandle};
use actix_web::{rt, web::ServiceConfig};
use forerunner_service::{Handle, Service};
use futures_util::future::try_join_all;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;

use crate::{
    api::Api,
    front::Front,
    net::{self, Bound, EXTRA_CONNECTIONS, Limits, Listen, Peers},
    routes,
    settings::HttpSettings,
    tls::Tls,
};

/// Interval of the histograms' maintenance. Without it, observations are stored one by one until the next scrape, and
/// for ever without scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// Connections of the admin listener: monitors are few.
const ADMIN_CONNECTIONS: usize = 64;

/// The HTTP service of a node, bound but not yet serving.
///
/// Handles no signals: its caller uses [`HttpControl::drain`] and [`HttpControl::stop`].
#[must_use = "a bound server serves nothing until it runs"]
pub struct HttpServer {
    addrs: Vec<SocketAddr>,
    address: String,
    admin_address: Option<String>,
    sockets: Vec<PathBuf>,
    servers: Vec<Server>,
    tls: Option<Tls>,
    api: Api,
}

impl HttpServer {
    /// Binds to `settings.listen`, and to `settings.admin_listen` if that is set. Needs an actix system.
    ///
    /// # Errors
    /// When the settings are not valid, or an address cannot be bound.
    pub fn bind(settings: HttpSettings, handle: Handle, prometheus: PrometheusHandle) -> io::Result<Self> {
        let service = Service::new(handle, settings.limits());
        Self::bind_with_fronts(settings, service, prometheus, Vec::new())
    }

    /// Binds on a service layer that others share, and serves the calls of other fronts beside its own, on the same addresses.
    ///
    /// # Errors
    /// As [`HttpServer::bind`].
    pub fn bind_with_fronts(
        settings: HttpSettings,
        service: Service,
        prometheus: PrometheusHandle,
        fronts: Vec<Box<dyn Front>>,
    ) -> io::Result<Self> {
        settings.validate().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let api = Api::with_fronts(settings.clone(), service, prometheus, fronts);
        let tls = Tls::read(&settings.tls)?;
        let bound = bind("http.listen", &settings.listen)?;
        let admin = settings.admin_listen();
        let admin = admin.map(|listen| bind("http.admin_listen", listen)).transpose()?.unwrap_or_default();
        let mut this = Self {
            addrs: bound.iter().chain(&admin).filter_map(Bound::address).collect(),
            address: bound.first().map(|bound| url(bound, tls.is_some())).unwrap_or_default(),
            admin_address: admin.first().map(|bound| url(bound, tls.is_some())),
            sockets: bound.iter().chain(&admin).filter_map(Bound::path).collect(),
            servers: Vec::new(),
            tls,
            api: api.clone(),
        };
        let (most, mounted) = (settings.connections_per_worker(), api.clone());
        let peers = Peers::new(settings.connections_per_peer());
        let workers = ServerBuilder::new().workers(settings.workers);
        this.serve(workers, bound, most, peers, move |config| mounted.configure(config))?;
        if !admin.is_empty() {
            // Its own threads and connections, so that no load of clients blocks monitors.
            let workers = ServerBuilder::new().workers(1);
            this.serve(workers, admin, ADMIN_CONNECTIONS, Peers::new(None), move |config| api.configure_admin(config))?;
        }
        Ok(this)
    }

    fn serve(
        &mut self,
        builder: ServerBuilder,
        bound: Vec<Bound>,
        most: usize,
        peers: Peers,
        calls: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> io::Result<()> {
        let tls = self.tls.clone();
        let settings = self.api.settings();
        let limits = Limits { head: settings.head_timeout, idle: settings.keep_alive, write: settings.write_timeout };
        let builder = builder
            .max_concurrent_connections(most + EXTRA_CONNECTIONS)
            .shutdown_timeout(settings.grace_secs())
            .disable_signals();
        let served =
            |builder, bound| net::listener(builder, bound, most, limits, peers.clone(), tls.clone(), calls.clone());
        self.servers.push(bound.into_iter().try_fold(builder, served)?.run());
        Ok(())
    }

    /// Returns the bound addresses, with the actual port for port 0. Those of the admin listener are the last. A Unix
    /// socket has none.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Returns where it listens: `http://HOST:PORT` or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns where the admin listener is, if there is one, in the same form.
    pub fn admin_address(&self) -> Option<&str> {
        self.admin_address.as_deref()
    }

    /// Returns what stops it, from any thread.
    pub fn control(&self) -> HttpControl {
        HttpControl { api: self.api.clone(), servers: self.servers.iter().map(Server::handle).collect() }
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// When the threads that serve cannot be started.
    pub async fn run(self) -> io::Result<()> {
        let upkeep = rt::spawn(maintain_metrics(self.api.prometheus().clone()));
        let service = self.api.service().clone();
        let keys = rt::spawn(async move { service.keep_keys().await });
        let service = self.api.service().clone();
        let tenants = rt::spawn(async move { service.keep_tenants().await });
        let certificate = self.tls.map(|tls| rt::spawn(tls.keep_current()));
        let served = try_join_all(self.servers).await;
        upkeep.abort();
        keys.abort();
        tenants.abort();
        certificate.inspect(JoinHandle::abort);
        for socket in &self.sockets {
            let _ = std::fs::remove_file(socket);
        }
        served.map(drop)
    }

    /// Serves in a task of the current system.
    pub fn spawn(self) -> JoinHandle<io::Result<()>> {
        rt::spawn(self.run())
    }
}

impl Api {
    /// Mounts the calls: `App::new().configure(|config| api.configure(config))`.
    ///
    /// Metrics use the recorder that is installed by then. A server other than [`HttpServer`] must check the names of
    /// the host itself: `http.hosts` is not used.
    pub fn configure(&self, config: &mut ServiceConfig) {
        config.app_data(self.clone());
        routes::mount(self, config);
    }

    /// Mounts the calls of monitors alone.
    fn configure_admin(&self, config: &mut ServiceConfig) {
        config.app_data(self.clone());
        routes::mount_admin(self, config);
    }
}

/// Stops an [`HttpServer`]. Cloning is cheap.
#[derive(Clone)]
pub struct HttpControl {
    api: Api,
    /// The admin listener's, if there is one, is the last.
    servers: Vec<ServerHandle>,
}

impl HttpControl {
    /// Refuses new tasks from now on, fails readiness, and closes each connection after its next answer.
    pub fn drain(&self) {
        self.api.drain();
    }

    /// Drains, ends waits and event streams, and stops listening. If `graceful`, requests in flight may take
    /// `shutdown_grace`, otherwise they are aborted. Resolves when everything has stopped; the server must be running.
    pub async fn stop(&self, graceful: bool) {
        self.api.service().end_waits();
        for server in &self.servers {
            server.stop(graceful).await;
        }
    }
}

async fn maintain_metrics(prometheus: PrometheusHandle) {
    let mut rhythm = tokio::time::interval(METRICS_UPKEEP);
    loop {
        rhythm.tick().await;
        prometheus.run_upkeep();
    }
}

/// Where a listener is, as clients write it.
fn url(bound: &Bound, is_encrypted: bool) -> String {
    let url = bound.url();
    if is_encrypted { url.replacen("http://", "https://", 1) } else { url }
}

fn bind(key: &str, listen: &str) -> io::Result<Vec<Bound>> {
    let parsed = Listen::parse(listen).ok_or(io::ErrorKind::InvalidInput)?;
    let naming =
        |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on `{listen}`: {error}; change {key}"));
    parsed.bind().map_err(naming)
}
