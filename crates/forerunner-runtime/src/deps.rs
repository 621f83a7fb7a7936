//! What all actors of a node share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use forerunner_core::{Clock as _, NodeId, PoolName, Timestamp};
use forerunner_store::Store;
use tokio::sync::Semaphore;

use crate::{
    clock::StoreClock, cluster::event_buffer::EventBuffer, completion_watchers::CompletionWatchers,
    contexts::NodeContexts, schedules::ScheduleBook, spec::PoolSettings, task_logs::TaskLogs,
};

/// What all actors of a node share.
pub(crate) struct Deps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: StoreClock,
    pub(crate) node: NodeId,
    pub(crate) watch: Arc<CompletionWatchers>,
    /// The events of agents, on their way to a store that persists them.
    pub(crate) events: Arc<EventBuffer>,
    /// The logs of the tasks that run on this node.
    pub(crate) logs: TaskLogs,
    /// Whether other nodes use the same store.
    pub(crate) shared: bool,
    /// The node's cache of contexts.
    pub(crate) contexts: Arc<NodeContexts>,
    /// Limits how many chains are compacted at the same time.
    pub(crate) compactions: Arc<Semaphore>,
    /// The schedules of the store.
    pub(crate) schedules: ScheduleBook,
    /// Whether this node was the leader at its last heartbeat.
    pub(crate) is_leader: AtomicBool,
}

impl Deps {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether this node acts first where any node may: it leads, or is alone.
    pub(crate) fn leads(&self) -> bool {
        !self.shared || self.is_leader.load(Ordering::Relaxed)
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
