//! What all agents of a pool share.

use std::sync::Arc;

use crate::{
    contexts::{PoolCodecs, Prefetcher},
    deps::PoolDeps,
};

/// What all agents of a pool share.
pub(crate) struct AgentDeps {
    pub(crate) pool: Arc<PoolDeps>,
    /// How the pool's contexts are packed, and what restoring them costs.
    pub(crate) codecs: Arc<PoolCodecs>,
    /// Restores contexts ahead of their tasks.
    pub(crate) prefetcher: Prefetcher,
}
