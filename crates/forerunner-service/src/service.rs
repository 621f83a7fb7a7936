//! A node for its fronts, and whether it accepts new work.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use forerunner_core::Timestamp;
use forerunner_runtime::Handle;
use tokio::sync::{Mutex, watch};

use crate::{budget::Budget, limits::Limits};

/// What every front of a node calls. Cloning is cheap, and shares all limits.
#[derive(Clone)]
pub struct Service(Arc<Shared>);

struct Shared {
    handle: Handle,
    limits: Limits,
    /// The memory budget of requests and answers.
    budget: Budget,
    /// Waits and event streams that are open.
    open_waits: AtomicUsize,
    /// Whether waits and event streams are to end.
    stopping: watch::Sender<bool>,
    /// Locked while a history is replayed.
    what_if: Arc<Mutex<()>>,
}

impl Service {
    /// Creates the service layer of a node.
    pub fn new(handle: Handle, limits: Limits) -> Self {
        Self(Arc::new(Shared {
            handle,
            limits,
            budget: Budget::new(limits.memory_bytes),
            open_waits: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
            what_if: Arc::default(),
        }))
    }

    /// Rejects new tasks from now on, and fails readiness. Accepted tasks continue.
    pub fn drain(&self) {
        self.handle().close_intake();
    }

    /// Drains, and ends waits and event streams, which could outlast any grace.
    pub fn end_waits(&self) {
        self.drain();
        tracing::debug!(open_waits = self.open_waits(), "waits and event streams end");
        self.0.stopping.send_replace(true);
    }

    /// Returns whether the node, and so each of its fronts, is on its way down.
    pub fn is_draining(&self) -> bool {
        self.handle().is_closed()
    }

    /// Returns the limits that the operator set.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Returns the budget of memory, from which each front reserves what it reads and answers.
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Returns how many waits and event streams are open.
    pub fn open_waits(&self) -> usize {
        self.0.open_waits.load(Ordering::Relaxed)
    }

    /// Returns the time by the node.
    pub fn time(&self) -> Timestamp {
        self.handle().time()
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// The lock of the one replay that a node does at a time.
    pub(crate) fn what_if_lock(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.0.what_if)
    }

    /// Counts a wait until it is dropped.
    pub(crate) fn open_wait(&self) -> OpenWait {
        self.0.open_waits.fetch_add(1, Ordering::Relaxed);
        OpenWait(Arc::clone(&self.0))
    }

    /// Resolves when waits are to end.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.0.stopping.subscribe();
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
