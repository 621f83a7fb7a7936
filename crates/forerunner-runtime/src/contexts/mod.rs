//! Contexts on a node: their codecs, the node's cache, restores and compaction.

mod cache;
mod calls;
mod chain_state;
mod codecs;
mod compaction;
mod prefetch;
mod restore;
mod room;
mod shared;

pub(crate) use cache::NodeContexts;
pub(crate) use chain_state::{Commit, Memory};
pub(crate) use codecs::PoolCodecs;
pub(crate) use compaction::{Compaction, CompactorDeps};
pub(crate) use prefetch::Prefetcher;
pub(crate) use restore::{RestoredContext, Source};
pub(crate) use room::ContextRoom;
