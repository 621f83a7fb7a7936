//! What every handler can reach, and whether the service still takes new work.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use forerunner_core::Task;
use forerunner_runtime::{CompletionFuture, Error, Handle};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::{budget::Budget, settings::HttpSettings};

/// The calls of the service, to be mounted in any actix-web application. Cloning is cheap.
///
/// [`HttpServer`](crate::HttpServer) is the usual way to serve them; tests and benchmarks mount them by themselves.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    handle: Handle,
    prometheus: PrometheusHandle,
    settings: HttpSettings,
    /// What bodies and answers may take in memory.
    budget: Budget,
    /// Whether waits and event streams are to end.
    stopping: watch::Sender<bool>,
    /// Locked while a history is replayed.
    what_if: Arc<Mutex<()>>,
}

impl Api {
    /// Prepares the calls on a node. `prometheus` renders `/metrics`.
    pub fn new(settings: HttpSettings, handle: Handle, prometheus: PrometheusHandle) -> Self {
        Self(Arc::new(Shared {
            handle,
            prometheus,
            budget: Budget::new(settings.memory_bytes),
            settings,
            stopping: watch::Sender::new(false),
            what_if: Arc::default(),
        }))
    }

    /// Refuses new tasks from now on, fails readiness, and closes each connection after its next answer.
    pub fn drain(&self) {
        self.0.handle.close_intake();
    }

    /// Also ends waits and event streams, which could outlast any grace.
    pub(crate) fn end_waits(&self) {
        self.drain();
        self.0.stopping.send_replace(true);
    }

    /// Returns whether the node, and so the service, is on its way down.
    pub fn is_draining(&self) -> bool {
        self.0.handle.is_closed()
    }

    pub(crate) fn of(request: &HttpRequest) -> &Self {
        request.app_data().expect("`Api::configure` registers the API together with the routes that need it")
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

    pub(crate) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Takes the turn to replay a history, unless somebody else has it.
    pub(crate) fn what_if_turn(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.0.what_if).try_lock_owned().ok()
    }

    /// Resolves when waits are to end.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + 'static {
        let mut stopping = self.0.stopping.subscribe();
        async move {
            // An error means that the API is gone, and all that it served with it.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }

    /// Waits for a task to end, at most `limit`, and answers how it stands then, and whether that is the whole task. `ending` is
    /// what is registered for its end already.
    ///
    /// A store that fails meanwhile does not make an accepted task a refused one: it is answered as it was seen last.
    pub(crate) async fn wait(
        &self,
        task: Task,
        ending: Option<CompletionFuture>,
        limit: Duration,
    ) -> Result<(Task, bool), Error> {
        let ended = async {
            match ending {
                Some(ending) => ending.within(limit).await,
                None => self.handle().wait(task.id, limit).await,
            }
        };
        let waited = tokio::select! {
            waited = ended => waited,
            () = self.stopping() => self.handle().task(task.id).await,
        };
        match waited {
            Err(Error::Store(error)) => {
                tracing::debug!(task = %task.id, %error, "a task is answered as it was before the wait");
                Ok((task, false))
            }
            other => other.map(|task| (task, true)),
        }
    }
}

impl FromRequest for Api {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request).clone()))
    }
}
