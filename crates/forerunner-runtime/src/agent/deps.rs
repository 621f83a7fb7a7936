//! What all agents of a pool share.

use std::sync::Arc;

use crate::{
    contexts::{PoolCodecs, Prefetcher},
    deps::PoolDeps,
};

/// What all agents of a pool share.
pub(crate) struct AgentDeps {
    pub(crate) pool: Arc<PoolDeps>,
    /// The codec of the pool's contexts, and the measured cost of a restore.
    pub(crate) codecs: Arc<PoolCodecs>,
    /// Restores contexts before their tasks begin.
    pub(crate) prefetcher: Prefetcher,
}
