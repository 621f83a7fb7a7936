//! The measured servers, each on its own threads beside the client's.

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::{OnceLock, mpsc},
    thread::{self, JoinHandle},
};

use actix_web::{App, HttpServer as ActixServer, web};
use forerunner::{
    Runtime, ThreadPlacement,
    http::{DURATION_BUCKETS, HttpServer, HttpSettings},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{Error, ours};

/// A server that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Runs `serve` in its own actix system. It reports its address, and returns when it is stopped.
    fn start<F: Future<Output = Result<(), Error>>>(
        serve: impl FnOnce(mpsc::Sender<SocketAddr>, oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> Result<Self, Error> {
        let (address_sender, address_receiver) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (fail, failure) = mpsc::channel();
        let thread = thread::spawn(move || {
            if let Err(error) = actix_rt::System::new().block_on(serve(address_sender, stopped)) {
                let _ = fail.send(error);
            }
        });
        match address_receiver.recv() {
            Ok(address) => Ok(Self { address, stop: Some(stop), thread: Some(thread) }),
            Err(_) => Err(failure.recv().unwrap_or(Error::Panicked)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the bare handler receives and returns.
#[derive(Serialize, Deserialize)]
struct Body {
    input: u64,
}

/// A handler that reads JSON and writes it back: the cost of the framework alone.
pub(crate) fn echo(workers: usize) -> Result<Running, Error> {
    Running::start(move |address_sender, stopped| async move {
        let app = || App::new().route("/", web::post().to(async |body: web::Json<Body>| body));
        let server = ActixServer::new(app).workers(workers).disable_signals().bind("127.0.0.1:0")?;
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        let serving = actix_rt::spawn(server);
        let _ = address_sender.send(address);
        let _ = stopped.await;
        handle.stop(false).await;
        let _ = serving.await;
        Ok(())
    })
}

/// The product's service with a pool of agents that return their input; on disk if a file is named.
pub(crate) fn forerunner(file: Option<PathBuf>, workers: usize) -> Result<Running, Error> {
    Running::start(move |address_sender, stopped| async move {
        let builder = Runtime::builder().placement(ThreadPlacement::Spread(1));
        let builder = match file {
            Some(file) => builder.sqlite(file),
            None => builder,
        };
        let ours = ours::start_with(builder).await?;
        let settings = HttpSettings { listen: "127.0.0.1:0".to_owned(), workers, ..HttpSettings::default() };
        let server = HttpServer::bind(settings, ours.runtime.handle(), recorder())?;
        let address = server.addrs()[0];
        let control = server.control();
        let serving = server.spawn();
        let _ = address_sender.send(address);
        let _ = stopped.await;
        ours.runtime.shutdown().await;
        control.stop(false).await;
        let _ = serving.await;
        Ok(())
    })
}

/// Counts as the service counts: what metrics cost is part of the figure.
fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)
            .expect("the bounds are a constant that is not empty");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        // A program with a recorder continues to use it.
        let _ = metrics::set_global_recorder(recorder);
        handle
    };
    RECORDER.get_or_init(install).clone()
}
