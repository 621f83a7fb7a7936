//! `forerunner serve`: the service.

use std::{io, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use forerunner_agents::{AgentSpec, process::shield_node, remote::ProvisionerSpec};
use forerunner_console::{Usage, output::Output};
use forerunner_http::{Front, HttpControl, HttpServer};
use forerunner_remote::{Provisioners, RemoteFront};
use forerunner_runtime::{Node, NodeSpec, PoolSpec, ThreadPlacement};
use forerunner_store::Store;
use tokio::task::JoinHandle;

use crate::{
    config::{self, Config, ConfigArgs, Loaded, StoreConfig},
    exit::{Forced, NotClosed, NotListening, SERVICE_EXIT_CODES},
    exposure, files,
    jwks::Jwks,
    seed,
    service_manager::ServiceManager,
    signals::{self, Signals},
    store, telemetry,
};

/// What to serve.
#[derive(Debug, Args)]
#[command(after_help = SERVICE_EXIT_CODES)]
pub struct ServeArgs {
    /// A recording that the forecast of a pool learns from before its first start: any form that `forerunner replay` reads
    /// without --map. The name of the pool may be left out if there is one. May be repeated.
    #[arg(long, value_name = "[POOL=]FILE")]
    seed_history: Vec<String>,
    // Its heading would count for the flags below it.
    #[command(flatten)]
    config: ConfigArgs,
}

/// How long a stop may take beyond the grace: its steps, and HTTP requests in flight.
const STOP_MARGIN: Duration = Duration::from_secs(90);
/// How long a stop waits for a store that is being opened.
const OPENING: Duration = Duration::from_secs(2);

/// Serves until a signal, then lets running tasks finish; a second signal stops at once.
pub async fn run(args: ServeArgs, out: &Output) -> anyhow::Result<()> {
    telemetry::detach()?;
    let shielded = shield_node();
    let mut signals = Signals::listen()?;
    signals::ignore_others()?;
    let loaded = Loaded::read(&args.config)?;
    config::check(&loaded)?;
    let (source, exposed) = (loaded.source(), loaded.secrets_in_flags());
    let mut config = loaded.config;
    telemetry::log(&config.log)?;
    tracing::info!(file = source, "configuration read");
    if let Err(error) = shielded {
        tracing::warn!(%error, "agents of the node's own user can read its memory and its environment");
    }
    for key in exposed {
        tracing::warn!(
            key,
            "a secret is on the command line, which agents and all users of the machine can read; put it into the \
             configuration, or into a file of its own (store.url_file)"
        );
    }
    files::share_out(&mut config)?;
    let mut opening = pin!(open(&config.store));
    let store = tokio::select! {
        opened = &mut opening => opened?,
        signal = signals.next() => {
            tracing::info!(%signal, "stopped before the store was open");
            return close_opened(opening, &mut signals).await;
        }
    };
    seed::from_files(store.as_ref(), &config, &args.seed_history).await?;
    let service = Service::start_on(store, &config).await?;
    announce(&service, &config, out)?;
    serve(service, config.shutdown.grace, &mut signals).await
}

/// Closes a store that is being opened, if the opening ends soon: its first writes are then complete. A second signal,
/// or a slow store, ends the process like a kill, which the next start repairs.
async fn close_opened(
    opening: impl Future<Output = anyhow::Result<Arc<dyn Store>>>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    tokio::select! {
        opened = opening => match opened {
            Ok(store) => store.close().await.map_err(|error| NotClosed(error.to_string()).into()),
            // The reason of the failure is no longer needed.
            Err(_) => Ok(()),
        },
        signal = signals.next_urgent() => Err(Forced(signal).into()),
        () = tokio::time::sleep(OPENING) => Ok(()),
    }
}

async fn serve(mut service: Service, grace: Duration, signals: &mut Signals) -> anyhow::Result<()> {
    let (manager, node) = (ServiceManager::from_env(), service.node.handle());
    let signal = tokio::select! {
        signal = signals.next() => signal,
        reason = service.http_failed() => {
            let reason = reason.context("the HTTP service failed");
            return service.shutdown(grace).await.and(reason);
        }
        never = manager.report(&node) => match never {},
    };
    tracing::info!(%signal, ?grace, "shutting down; a second SIGTERM, SIGINT or SIGQUIT stops at once");
    tokio::select! {
        clean = service.shutdown(grace) => clean,
        signal = signals.next_urgent() => Err(Forced(signal).into()),
        never = manager.report_stop(grace.saturating_add(STOP_MARGIN)) => match never {},
    }
}

fn announce(service: &Service, config: &Config, out: &Output) -> anyhow::Result<()> {
    let pools: Vec<&str> = config.pools.keys().map(|name| name.as_str()).collect();
    tracing::info!(listen = service.address, pools = pools.join(","), store = service.store, "serving");
    let answer = serde_json::json!({ "listening": service.address, "pools": pools, "store": service.store });
    out.show_line(&answer, || {
        format!("listening on {}  pools: {}  store: {}", service.address, pools.join(", "), service.store)
    })
}

/// A node and the HTTP service in front of it.
pub struct Service {
    /// Where it listens: `http://host:port`.
    pub address: String,
    /// The store's kind.
    pub store: &'static str,
    node: Node,
    http: HttpControl,
    provisioners: Provisioners,
    jwks: Jwks,
    serving: JoinHandle<io::Result<()>>,
}

impl Service {
    /// Starts pools and HTTP service on an open store. What was started is stopped again if something fails.
    pub async fn start_on(store: Arc<dyn Store>, config: &Config) -> anyhow::Result<Self> {
        Self::start_with(store, config, |pool| pool).await
    }

    /// Starts them with pools that are changed by `adapt` first.
    pub async fn start_with(
        store: Arc<dyn Store>,
        config: &Config,
        adapt: impl FnMut(PoolSpec) -> PoolSpec,
    ) -> anyhow::Result<Self> {
        let auth = config.auth.build().map_err(|error| Usage(error.to_string()))?;
        let metrics = telemetry::metrics()?;
        let kind = store.kind();
        let mut spec = NodeSpec::new(store);
        spec.placement = ThreadPlacement::Spread(config.node.threads);
        spec.retention = config.node.retention;
        spec.context_retention = config.node.context_retention;
        spec.context_cache_bytes = config.node.context_cache_bytes;
        spec.max_depth = config.node.max_depth;
        spec.max_schedules = config.node.max_schedules;
        let spec = config::pools(config)?.into_iter().map(adapt).fold(spec, NodeSpec::pool);
        let node = Node::start(spec).await.context("the node cannot be started")?;
        let service = forerunner_service::Service::with_auth(node.handle(), config.http.limits(), auth);
        // A key is known from the first call on. If the store fails now, the service reads them later.
        if let Err(error) = service.refresh_keys().await {
            tracing::debug!(%error, "the keys are read later");
        }
        let jwks = match Jwks::keep(&service).await {
            Ok(jwks) => jwks,
            Err(error) => {
                node.shutdown(Duration::ZERO).await;
                return Err(error);
            }
        };
        let provisioners = Provisioners::start(&service, provisioners(config));
        let server = match HttpServer::bind_with_fronts(config.http.clone(), service, metrics, fronts()) {
            Ok(server) => server,
            Err(error) => {
                node.shutdown(Duration::ZERO).await;
                return Err(NotListening(error).into());
            }
        };
        if let Some(warning) = exposure::warning(server.addrs(), config.auth.mode) {
            tracing::warn!("{warning}");
        }
        if let Some(admin) = server.admin_address() {
            tracing::info!(admin_listen = admin, "serving probes and metrics on the admin listener");
        }
        let (address, http) = (server.address().to_owned(), server.control());
        Ok(Self { address, store: kind, node, http, provisioners, jwks, serving: server.spawn() })
    }

    /// Resolves when the HTTP service has failed.
    async fn http_failed(&mut self) -> anyhow::Result<()> {
        (&mut self.serving).await??;
        anyhow::bail!("it ended by itself")
    }

    /// Fails readiness and rejects new tasks, lets running ones finish for `grace`, and stops.
    ///
    /// The service answers until the node's work has ended, so that clients that wait for a result get it. The store
    /// closes last: an answer reads the state of a task from it.
    pub async fn shutdown(self, grace: Duration) -> anyhow::Result<()> {
        self.http.drain();
        drop(self.provisioners);
        let stopped = self.node.stop(grace).await;
        self.http.stop(true).await;
        drop(self.jwks);
        let report = stopped.close().await;
        tracing::info!(clean = report.clean, "stopped");
        match (report.store, report.clean) {
            (Some(reason), _) => Err(NotClosed(reason).into()),
            (None, false) => anyhow::bail!(
                "some agents did not stop in time, or their results could not be stored: the next start re-queues their tasks; check for processes that are left"
            ),
            (None, true) => Ok(()),
        }
    }
}

/// What starts the remote agents of the pools.
fn provisioners(config: &Config) -> impl Iterator<Item = (&str, &ProvisionerSpec)> {
    config.pools.iter().filter_map(|(name, pool)| match &pool.agent {
        AgentSpec::Remote(spec) => Some((name.as_str(), &spec.provisioner)),
        _ => None,
    })
}

/// The protocols that the node speaks beside its own, on the same addresses.
fn fronts() -> Vec<Box<dyn Front>> {
    vec![Box::new(RemoteFront::default())]
}

/// Opens a store, which migrates it to the newest schema.
pub async fn open(store: &StoreConfig) -> anyhow::Result<Arc<dyn Store>> {
    let (url, options) = (store.url.clone(), store.postgres());
    Ok(actix_rt::task::spawn_blocking(move || store::open(&url, options)).await??)
}
