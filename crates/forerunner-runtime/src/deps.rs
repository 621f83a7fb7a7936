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
    /// What agents say, on its way to a store that keeps it.
    pub(crate) said: Arc<EventBuffer>,
    /// Other nodes have the same store.
    pub(crate) shared: bool,
    /// The contexts that the node holds, whichever agent moved them on.
    pub(crate) contexts: Arc<NodeContexts>,
    /// Bounds how many chains are looked after at once.
    pub(crate) tending: Arc<Semaphore>,
}

impl Deps {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Which pool it is, on which node, and how it is set. It does not change while the node runs.
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
