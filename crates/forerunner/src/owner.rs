//! Where the actors of a runtime run: the actix system of the caller, or one on a thread of its own.

use std::{thread, time::Duration};

use actix_rt::{Arbiter, ArbiterHandle, System};
use forerunner_runtime::{Error, Handle, Node, NodeSpec, ShutdownReport};
use tokio::{
    runtime::RuntimeFlavor,
    sync::{mpsc, oneshot},
};

/// A request to stop, with how long running tasks may continue.
struct Stop {
    grace: Duration,
    done: oneshot::Sender<ShutdownReport>,
}

/// A way to the task that owns the node.
#[derive(Clone)]
pub(crate) struct Owner {
    stops: mpsc::UnboundedSender<Stop>,
}

impl Owner {
    /// Starts a node in the actix system of this thread. Without one, starts a thread with a system of its own.
    pub(crate) async fn start(spec: NodeSpec) -> Result<(Self, Handle), Error> {
        let (stops, asked) = mpsc::unbounded_channel();
        let (started, outcome) = oneshot::channel();
        let owned = own(spec, started, asked);
        match arbiter_here() {
            Some(arbiter) => {
                arbiter.spawn(owned);
            }
            None => spawn_system(owned)?,
        }
        // The sender is dropped without an outcome where a system could not be built.
        let handle = outcome.await.map_err(|_| no_thread("its thread ended before the node was started"))??;
        Ok((Self { stops }, handle))
    }

    /// Stops the node. Every caller gets the report of the first stop.
    pub(crate) async fn stop(&self, grace: Duration) -> ShutdownReport {
        let (done, report) = oneshot::channel();
        let _ = self.stops.send(Stop { grace, done });
        let lost = || ShutdownReport { clean: false, store: Some("the thread of the runtime ended before".to_owned()) };
        report.await.unwrap_or_else(|_| lost())
    }
}

/// Returns the arbiter of this thread, if one runs: a thread remembers its actix system also after that has ended.
fn arbiter_here() -> Option<ArbiterHandle> {
    // A system of actix is a current-thread runtime.
    let flavor = tokio::runtime::Handle::try_current().ok()?.runtime_flavor();
    let arbiter = Arbiter::try_current().filter(|_| flavor == RuntimeFlavor::CurrentThread)?;
    arbiter.spawn_fn(|| ()).then_some(arbiter)
}

/// Runs `owned` in an actix system on a thread of its own. The thread ends with it.
fn spawn_system(owned: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
    let thread = thread::Builder::new().name("forerunner".to_owned());
    let spawned = thread.spawn(|| System::new().block_on(owned));
    spawned.map(drop).map_err(|error| no_thread(&error.to_string()))
}

fn no_thread(reason: &str) -> Error {
    Error::NoThread { reason: reason.to_owned() }
}

/// Owns a node from its start to its stop, and answers further stops with the first report.
async fn own(
    spec: NodeSpec,
    started: oneshot::Sender<Result<Handle, Error>>,
    mut stops: mpsc::UnboundedReceiver<Stop>,
) {
    let node = match Node::start(spec).await {
        Ok(node) => node,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(node.handle()));
    let Some(first) = stops.recv().await else {
        // A runtime that is dropped does not stop: handles may still submit to it.
        return std::future::pending().await;
    };
    let report = node.shutdown(first.grace).await;
    let _ = first.done.send(report.clone());
    while let Some(stop) = stops.recv().await {
        let _ = stop.done.send(report.clone());
    }
}
