//! What all actors of a node share.

use std::sync::Arc;

use forerunner_core::{Clock as _, NodeId, PoolName, Timestamp};
use forerunner_store::Store;
use tokio::sync::Semaphore;

use crate::{
    clock::StoreClock, cluster::event_buffer::EventBuffer, completion_watchers::CompletionWatchers,
    contexts::NodeContexts, spec::PoolSettings,
};

/// What all actors of a node share.
pub(crate) struct Deps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: StoreClock,
    pub(crate) node: NodeId,
    pub(crate) watch: Arc<CompletionWatchers>,
    /// The events of agents, on their way to a store that persists them.
    pub(crate) events: Arc<EventBuffer>,
    /// Whether other nodes use the same store.
    pub(crate) shared: bool,
    /// The node's cache of contexts.
    pub(crate) contexts: Arc<NodeContexts>,
    /// Limits how many chains are compacted at the same time.
    pub(crate) compactions: Arc<Semaphore>,
}

impl Deps {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The name, node and settings of a pool. They do not change while the node runs.
pub(crate) struct PoolDeps {
    pub(crate) node: Arc<Deps>,
    pub(crate) name: PoolName,
    pub(crate) settings: PoolSettings,
}

impl PoolDeps {
    pub(crate) fn now(&self) -> Timestamp {
        self.node.now()
    }
}
