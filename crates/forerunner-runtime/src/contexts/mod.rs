//! Contexts on a node: how each pool packs them, what the node holds, what moving them costs.

mod book;
mod cache;
mod calls;
mod memory;
mod prefetch;
mod restore;
mod room;
mod shared;
mod tend;

pub(crate) use book::ContextBook;
pub(crate) use cache::NodeContexts;
pub(crate) use memory::{Advance, Memory};
pub(crate) use prefetch::{HandedOver, Prefetches};
pub(crate) use restore::{Source, Warm};
pub(crate) use room::ContextRoom;
pub(crate) use tend::{Tend, Tools};
