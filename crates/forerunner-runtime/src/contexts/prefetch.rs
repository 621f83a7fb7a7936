//! Contexts that are restored while their tasks still wait for an agent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use forerunner_core::{ContextId, PoolName, placement::Candidate};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::Source;
use crate::{deps::PoolDeps, metrics::ContextMetrics};

/// Restores of a pool under way at once, at most.
const AT_ONCE: usize = 4;

/// The restores of a pool that were begun ahead of their tasks.
///
/// What they bring goes to the contexts that the node holds, where it takes a quarter of the room at most until it is used.
pub(crate) struct Prefetches {
    flights: Mutex<HashMap<ContextId, Flight>>,
    metrics: ContextMetrics,
}

/// A restore under way.
struct Flight {
    bytes: u64,
    /// Cancelled once it is over, however it ended.
    over: CancellationToken,
    abort: AbortHandle,
    /// Whether the task's agent waits for it.
    is_awaited: bool,
}

impl Prefetches {
    /// None yet.
    pub(crate) fn new(pool: &PoolName) -> Self {
        Self { flights: Mutex::default(), metrics: ContextMetrics::new(pool.as_str()) }
    }

    /// Begins to restore the contexts of these tasks, the first that wait, as far as they are not at hand and there is room;
    /// gives up those that none of them has. Answers whether any of them has a context that is stored.
    pub(crate) fn want(&self, tasks: &[Candidate], deps: &Arc<PoolDeps>) -> bool {
        let mut flights = self.lock();
        flights.retain(|context, flight| {
            let is_wanted = flight.is_awaited || tasks.iter().any(|task| task.context.as_ref() == Some(context));
            if !is_wanted {
                flight.abort.abort();
                self.metrics.prefetch_given_up();
            }
            is_wanted
        });
        let under_way: u64 = flights.values().map(|flight| flight.bytes).sum();
        let mut room = deps.node.contexts.prefetch_room().saturating_sub(under_way);
        let mut is_about_contexts = false;
        for task in tasks.iter().filter(|task| task.context_version > 0) {
            let Some(context) = &task.context else { continue };
            is_about_contexts = true;
            let is_at_hand = deps.node.contexts.version(&deps.name, context) >= Some(task.context_version);
            if is_at_hand || flights.contains_key(context) || flights.len() >= AT_ONCE || task.context_bytes > room {
                continue;
            }
            room -= task.context_bytes;
            flights.insert(context.clone(), self.begin(context.clone(), task.context_bytes, deps));
        }
        is_about_contexts
    }

    fn begin(&self, context: ContextId, bytes: u64, deps: &Arc<PoolDeps>) -> Flight {
        let over = CancellationToken::new();
        let (guard, deps) = (over.clone().drop_guard(), Arc::clone(deps));
        let metrics = self.metrics.clone();
        let restore = async move {
            let _guard = guard;
            let source = Source { store: &*deps.node.store, pool: &deps.name, node: &deps.node.contexts };
            match source.prefetch(context.clone(), &deps.contexts).await {
                Ok(cost) => metrics.prefetched(&cost),
                // The task will try for itself, and say what is wrong.
                Err(error) => tracing::debug!(%context, %error, "a context could not be restored ahead of its task"),
            }
            deps.prefetches.lock().remove(&context);
        };
        Flight { bytes, over, abort: tokio::spawn(restore).abort_handle(), is_awaited: false }
    }

    /// Waits until the restore of a context is over, if one is under way.
    pub(crate) async fn landed(&self, context: &ContextId) {
        let over = self.lock().get_mut(context).map(|flight| {
            flight.is_awaited = true;
            flight.over.clone()
        });
        if let Some(over) = over {
            over.cancelled().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContextId, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
