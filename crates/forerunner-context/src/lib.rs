//! Context snapshots, deltas and frames for Forerunner: bytes in, bytes out.
//!
//! A context is a list of [`Item`]s (a message, a system prompt, a tool schema). In memory it is a [`Snapshot`]. A turn
//! is stored as one [`Frame`]: a full snapshot, or the [`Delta`] from the snapshot before. Frames in order form a
//! [`Chain`], from which anybody with the bytes restores the same snapshot, or gets a typed [`Error`].
//!
//! This crate is not a store, not a cache and not a cipher: no IO, no clock, no async, no secrets. It rejects damage by
//! accident, and frames built to exhaust memory. It trusts a writer who may replace the whole chain.
//!
//! ```
//! use forerunner_context::{Chain, Frame, Limits, Snapshot};
//!
//! let mut snapshot = Snapshot::new();
//! snapshot.push("you are a careful reviewer")?;
//! let base = Frame::full(&snapshot)?.into_bytes();
//!
//! let mut next = snapshot.clone(); // shares the items
//! next.push("please review this patch")?;
//! let delta = Frame::delta(&snapshot, &next)?.into_bytes();
//! assert!(delta.len() < 80);
//!
//! let restored = Chain::restore([base.as_slice(), &delta], &Limits::default())?;
//! assert_eq!(restored, next);
//! # Ok::<(), forerunner_context::Error>(())
//! ```

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod base;
mod chain;
mod codec;
mod compaction;
mod delta;
mod dictionary;
mod error;
mod frame;
mod item;
mod limits;
mod op;
mod pack;
mod prefix;
mod probe;
mod root;
mod snapshot;
mod store;
mod stream;
mod train;
mod wire;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod laws;

pub use base::{BaseItems, MIN_BASE_BYTES};
pub use chain::Chain;
pub use codec::Codec;
pub use compaction::{CompactionReason, FRAME_OVERHEAD_BYTES, Turn};
pub use delta::Delta;
pub use dictionary::{Dictionaries, Dictionary, DictionaryId, MAX_DICTIONARY_BYTES};
pub use error::Error;
pub use frame::{Frame, Header, MAGIC, VERSION};
pub use item::{Item, ItemHash, ItemTag};
pub use limits::Limits;
pub use op::Op;
pub use prefix::{DICTIONARY_BYTES, LOG_BYTES, REMOVED_BYTES};
pub use probe::BaseProbe;
pub use root::{ParentTag, Root, RootTag};
pub use snapshot::Snapshot;
pub use store::ItemStore;
pub use stream::{StreamPacker, StreamUnpacker, StreamWindow};
pub use train::{CANDIDATE_BYTES, MIN_WIN, Payloads, train};
