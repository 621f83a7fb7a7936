//! A node for its fronts, and whether it accepts new work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use forerunner_core::Timestamp;
use forerunner_runtime::Handle;
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use crate::{
    auth::{Auth, Scope},
    budget::Budget,
    limits::Limits,
    tenants::TenantBook,
};

/// What every front of a node calls. Cloning is cheap, and shares all limits.
///
/// It reaches what its [`Scope`] has: all of the node, or what belongs to a caller. To a caller the rest is not there.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
    pub(crate) scope: Scope,
}

struct Shared {
    handle: Handle,
    limits: Limits,
    auth: Auth,
    /// The memory budget of requests and answers.
    budget: Budget,
    /// Waits and event streams that are open.
    open_waits: AtomicUsize,
    /// Whether waits and event streams are to end.
    stopping: watch::Sender<bool>,
    /// What tenants and keys with limits have used.
    book: TenantBook,
    /// The zero of the clock that limits of rates use.
    begun: Instant,
    /// Locked while a history is replayed.
    what_if: Arc<Mutex<()>>,
}

impl Service {
    /// Creates the service layer of a node.
    pub fn new(handle: Handle, limits: Limits) -> Self {
        Self::with_auth(handle, limits, Auth::Off)
    }

    /// Creates the service layer of a node that knows its callers.
    pub fn with_auth(handle: Handle, limits: Limits, auth: Auth) -> Self {
        let shared = Arc::new(Shared {
            handle,
            limits,
            auth,
            budget: Budget::new(limits.memory_bytes),
            open_waits: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
            book: TenantBook::default(),
            begun: Instant::now(),
            what_if: Arc::default(),
        });
        Self { shared, scope: Scope::All }
    }

    /// Returns this service for a caller: what belongs to others is not there.
    #[must_use]
    pub fn scoped(&self, scope: Scope) -> Self {
        Self { shared: Arc::clone(&self.shared), scope }
    }

    /// Returns how callers are identified.
    pub fn auth(&self) -> &Auth {
        &self.shared.auth
    }

    /// Rejects new tasks from now on, and fails readiness. Accepted tasks continue.
    pub fn drain(&self) {
        self.handle().close_intake();
    }

    /// Drains, and ends waits and event streams, which could outlast any grace.
    pub fn end_waits(&self) {
        self.drain();
        tracing::debug!(open_waits = self.open_waits(), "waits and event streams end");
        self.shared.stopping.send_replace(true);
    }

    /// Returns whether the node, and so each of its fronts, is stopping.
    pub fn is_draining(&self) -> bool {
        self.handle().is_closed()
    }

    /// Returns the limits that the operator set.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Returns the budget of memory, from which each front reserves what it reads and answers.
    pub fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// Returns how many waits and event streams are open.
    pub fn open_waits(&self) -> usize {
        self.shared.open_waits.load(Ordering::Relaxed)
    }

    /// Returns the time by the node.
    pub fn time(&self) -> Timestamp {
        self.handle().time()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.shared.handle
    }

    pub(crate) fn book(&self) -> &TenantBook {
        &self.shared.book
    }

    /// Seconds of a clock that does not go back.
    pub(crate) fn clock_s(&self) -> f64 {
        self.shared.begun.elapsed().as_secs_f64()
    }

    /// The lock of the one replay that a node does at a time.
    pub(crate) fn what_if_lock(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.shared.what_if)
    }

    /// Counts a wait until it is dropped.
    pub(crate) fn open_wait(&self) -> OpenWait {
        self.shared.open_waits.fetch_add(1, Ordering::Relaxed);
        OpenWait(Arc::clone(&self.shared))
    }

    /// Resolves when waits are to end.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.shared.stopping.subscribe();
        async move {
            // An error means that the service was dropped with everything that it served.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

/// A wait, or an event stream, that is open.
pub(crate) struct OpenWait(Arc<Shared>);

impl Drop for OpenWait {
    fn drop(&mut self) {
        self.0.open_waits.fetch_sub(1, Ordering::Relaxed);
    }
}
