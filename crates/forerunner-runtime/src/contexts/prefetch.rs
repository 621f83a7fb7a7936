//! Prefetch: contexts that are restored while their tasks wait, or because the agent that has them stops.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use forerunner_core::{
    ContextId, PoolName,
    placement::{Candidate, ResidentEntry},
};
use forerunner_store::Store;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::{NodeContexts, PoolCodecs, Source};
use crate::metrics::ContextMetrics;

/// Most concurrent restores of a pool.
const AT_ONCE: usize = 4;

/// The prefetched restores of a pool.
///
/// They fill the node's cache, of which unused prefetched contexts have at most a quarter.
#[derive(Clone)]
pub(crate) struct Prefetcher(Arc<Shared>);

/// What a prefetcher shares with its restores.
struct Shared {
    pool: PoolName,
    store: Arc<dyn Store>,
    node: Arc<NodeContexts>,
    codecs: Arc<PoolCodecs>,
    in_flight: Mutex<HashMap<ContextId, InFlight>>,
    metrics: ContextMetrics,
}

/// A restore in flight.
struct InFlight {
    bytes: u64,
    /// Cancelled when the restore has ended, successfully or not.
    over: CancellationToken,
    abort: AbortHandle,
    /// Whether it continues whatever tasks wait: its task has begun, or a stopping agent handed it off.
    is_pinned: bool,
}

/// How many contexts of a stopping agent the node saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HandedOff {
    /// The node's cache has them already.
    pub(crate) cached: u64,
    /// The node restores them.
    pub(crate) restored: u64,
    /// There was no room, or too many restores were in flight. The store has them.
    pub(crate) skipped: u64,
}

impl Prefetcher {
    /// Creates a prefetcher that restores contexts of `pool` into the node's cache.
    pub(crate) fn new(pool: PoolName, store: Arc<dyn Store>, node: Arc<NodeContexts>, codecs: Arc<PoolCodecs>) -> Self {
        let metrics = ContextMetrics::new(pool.as_str());
        Self(Arc::new(Shared { pool, store, node, codecs, in_flight: Mutex::default(), metrics }))
    }

    /// Starts to restore the contexts of these tasks, the first that wait. Skips cached contexts and those without
    /// room, and aborts restores that none of the tasks needs. Returns whether any of the tasks has a stored context.
    pub(crate) fn prefetch(&self, tasks: &[Candidate]) -> bool {
        let mut in_flight = self.0.lock();
        in_flight.retain(|context, flight| {
            let is_wanted = flight.is_pinned || tasks.iter().any(|task| task.context.as_ref() == Some(context));
            if !is_wanted {
                flight.abort.abort();
                self.0.metrics.prefetch_cancelled();
            }
            is_wanted
        });
        let mut is_about_contexts = false;
        for task in tasks.iter().filter(|task| task.context_version > 0) {
            let Some(context) = &task.context else { continue };
            is_about_contexts = true;
            let is_at_hand = self.0.node.version(&self.0.pool, context) >= Some(task.context_version);
            if !is_at_hand && !in_flight.contains_key(context) && self.0.has_room(&in_flight, task.context_bytes) {
                in_flight.insert(context.clone(), self.begin(context.clone(), task.context_bytes));
            }
        }
        is_about_contexts
    }

    /// Caches the contexts of an agent that stops, the most needed first. Contexts in the cache count as used now, so
    /// that they stay; the others are restored as far as there is room. All of them are in the store, since an agent
    /// becomes idle only after its task is settled.
    pub(crate) fn hand_off<'a>(&self, contexts: impl IntoIterator<Item = &'a ResidentEntry<ContextId>>) -> HandedOff {
        let (mut in_flight, mut handed) = (self.0.lock(), HandedOff::default());
        for ResidentEntry { context, version, bytes, .. } in contexts {
            let found = self.0.node.find(&self.0.pool, context);
            if found.is_some_and(|found| found.memory.version >= *version) {
                handed.cached += 1;
            } else if let Some(flight) = in_flight.get_mut(context) {
                flight.is_pinned = true;
                handed.restored += 1;
            } else if self.0.has_room(&in_flight, *bytes) {
                let flight = self.begin(context.clone(), *bytes);
                in_flight.insert(context.clone(), InFlight { is_pinned: true, ..flight });
                handed.restored += 1;
            } else {
                handed.skipped += 1;
            }
        }
        self.0.metrics.handed_off(handed.cached, handed.restored, handed.skipped);
        handed
    }

    fn begin(&self, context: ContextId, bytes: u64) -> InFlight {
        let over = CancellationToken::new();
        let (guard, shared) = (over.clone().drop_guard(), Arc::clone(&self.0));
        let restore = async move {
            let _guard = guard;
            let source = Source { store: &*shared.store, pool: &shared.pool, node: &shared.node };
            match source.prefetch(context.clone(), &shared.codecs).await {
                Ok(cost) => shared.metrics.prefetched(&cost),
                // The attempt restores the context itself, and reports the error.
                Err(error) => tracing::debug!(%context, %error, "a context could not be restored ahead of its task"),
            }
            shared.lock().remove(&context);
        };
        InFlight { bytes, over, abort: tokio::spawn(restore).abort_handle(), is_pinned: false }
    }

    /// Waits for the restore of a context, if one is in flight.
    pub(crate) async fn wait(&self, context: &ContextId) {
        let over = self.0.lock().get_mut(context).map(|flight| {
            flight.is_pinned = true;
            flight.over.clone()
        });
        if let Some(over) = over {
            over.cancelled().await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<ContextId, InFlight>> {
        self.in_flight.lock()
    }

    /// Whether another restore, of this many bytes, may begin.
    fn has_room(&self, in_flight: &HashMap<ContextId, InFlight>, bytes: u64) -> bool {
        let pending_bytes: u64 = in_flight.values().map(|flight| flight.bytes).sum();
        in_flight.len() < AT_ONCE && pending_bytes.saturating_add(bytes) <= self.node.prefetch_room()
    }
}
