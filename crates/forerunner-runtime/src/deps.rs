//! What all actors of a node share.

use std::sync::{Arc, atomic::AtomicUsize};

use forerunner_core::{Clock, NodeId, PoolName, Timestamp};
use forerunner_store::Store;

use crate::{admission::Admission, spec::PoolSettings, watch::WatchBoard};

/// What all actors of a node share.
pub(crate) struct Deps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) node: NodeId,
    pub(crate) watch: WatchBoard,
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
    pub(crate) admission: Admission,
    /// Attempts that ended and whose end is not durable yet. Written by the queue, read by agents.
    pub(crate) unsettled: AtomicUsize,
    /// Any number, different for each pool and process.
    pub(crate) seed: u64,
}

impl PoolDeps {
    pub(crate) fn now(&self) -> Timestamp {
        self.node.now()
    }
}
