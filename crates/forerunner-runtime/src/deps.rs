//! What all actors of a node share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
};

use forerunner_core::{Clock as _, NodeId, PoolName, Timestamp};
use forerunner_forecast::{Policy, PolicyLimits, build};
use forerunner_store::Store;
use tokio::sync::Semaphore;

use crate::{
    Error,
    admission::Admission,
    clock::StoreClock,
    cluster::event_buffer::EventBuffer,
    completion_watchers::CompletionWatchers,
    contexts::{ContextRoom, NodeContexts, PoolCodecs, Prefetcher},
    spec::{PolicyFactory, PoolSettings},
};

/// What all actors of a node share.
pub(crate) struct Deps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: StoreClock,
    pub(crate) node: NodeId,
    pub(crate) watch: CompletionWatchers,
    /// What agents say, on its way to a store that keeps it.
    pub(crate) said: EventBuffer,
    /// Other nodes have the same store.
    pub(crate) shared: bool,
    /// The contexts that the node holds, whichever agent moved them on.
    pub(crate) contexts: NodeContexts,
    /// Bounds how many chains are looked after at once.
    pub(crate) tending: Arc<Semaphore>,
}

impl Deps {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What the actors of one pool share.
pub(crate) struct PoolDeps {
    pub(crate) node: Arc<Deps>,
    pub(crate) name: PoolName,
    pub(crate) settings: PoolSettings,
    /// What makes the pool's policy, if it is not the one that the settings name.
    pub(crate) policy: Option<Arc<PolicyFactory>>,
    pub(crate) admission: Admission,
    /// Whether another context may begin.
    pub(crate) room: ContextRoom,
    /// Attempts that ended and whose end is not durable yet. Written by the queue, read by agents.
    pub(crate) unsettled: AtomicUsize,
    /// How its contexts are packed, and what restoring them costs.
    pub(crate) contexts: Arc<PoolCodecs>,
    /// Contexts that are restored ahead of their tasks.
    pub(crate) prefetches: Prefetcher,
    /// The pool wants to see what waits before tasks are claimed. Written by the pool, read by the queue.
    pub(crate) uses_lookahead: AtomicBool,
    /// How long an agent takes to start, in microseconds, as measured; 0 while it is not. Written by the pool, read by
    /// the queue, as is the next.
    pub(crate) cold_start_us: AtomicU64,
    /// How many agents the pool is to have.
    pub(crate) agents: AtomicU32,
    /// Any number, different for each pool and process.
    pub(crate) seed: u64,
}

impl PoolDeps {
    /// Makes the pool's policy.
    pub(crate) fn make_policy(&self, limits: PolicyLimits) -> Result<Box<dyn Policy>, Error> {
        let refuse = |error: forerunner_forecast::Error| forerunner_core::Error::Setting {
            key: "policy",
            value: self.settings.policy.to_string(),
            rule: error.to_string(),
        };
        match &self.policy {
            Some(make) => Ok(make(limits)),
            None => Ok(build(self.settings.policy, limits).map_err(refuse)?),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.node.now()
    }
}
