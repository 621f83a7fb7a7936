//! What can be wrong with a context or its bytes.

use crate::{DictionaryId, ItemHash, ItemTag, ParentTag, RootTag, VERSION};

/// A context, a frame or a chain that is refused.
///
/// None of these errors disappears when the same bytes are tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a frame.
    #[error("bytes start with {found:#04x} where a frame starts with 0xfc, or 0x46 in version 1; pass a context frame")]
    Magic {
        /// The first byte.
        found: u8,
    },
    /// The frame was written by another version of the format.
    #[error(
        "frame has version {found}, this program reads versions 1 to {VERSION}; use a program that reads version {found}"
    )]
    Version {
        /// The frame's version.
        found: u8,
    },
    /// The frame ends before a field does.
    #[error(
        "frame of {frame_bytes} bytes is cut: {needed_bytes} bytes are needed at byte {offset}; fetch the frame again"
    )]
    Cut {
        /// Where the field starts.
        offset: usize,
        /// The field's size.
        needed_bytes: usize,
        /// What there is of the frame.
        frame_bytes: usize,
    },
    /// The frame's checksum differs from its bytes.
    #[error("frame of {frame_bytes} bytes is damaged or cut: its checksum does not match; fetch the frame again")]
    Checksum {
        /// What there is of the frame.
        frame_bytes: usize,
    },
    /// The frame sets a flag or names a codec that this version does not know.
    #[error("frame has flags {found:#010b}, of which some are unknown; use a newer program to read it")]
    Flags {
        /// All flags.
        found: u8,
    },
    /// The frame needs a dictionary that is not at hand.
    #[error(
        "frame needs dictionary {id}, which is not loaded; load it, or restore the chain on a node that has it \
         and compact it there"
    )]
    Dictionary {
        /// The dictionary's name.
        id: DictionaryId,
    },
    /// Bytes are not a dictionary that can be used.
    #[error("{bytes} bytes are no trained zstd dictionary of at most {limit} bytes; train one on deltas")]
    BadDictionary {
        /// How many.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Two different dictionaries have the same name.
    #[error("another dictionary has the name {id}; train the new one on one session more")]
    DictionaryClash {
        /// The name.
        id: DictionaryId,
    },
    /// The frame names a base item that is not at hand.
    #[error("frame needs base item {tag}, which is missing; request it from the sender and add it to the base items")]
    BaseItem {
        /// The item's name.
        tag: ItemTag,
    },
    /// A number is not written in its shortest form, or does not fit.
    #[error("number at byte {offset} of the frame is longer than its shortest form or does not fit; rewrite the frame")]
    Number {
        /// Where the number starts.
        offset: usize,
    },
    /// An operation yields no item.
    #[error("operation {index} of the frame yields no item; rewrite the frame without it")]
    EmptyOp {
        /// Its position, from 0.
        index: usize,
    },
    /// A copy reaches outside its parent.
    #[error("copy of {len} items from {start} reaches outside a parent of {items} items; rewrite the frame")]
    CopyRange {
        /// First item of the copy.
        start: usize,
        /// Items to copy.
        len: usize,
        /// Items that the parent has.
        items: usize,
    },
    /// The inserted items do not add up to the frame's declared size.
    #[error(
        "inserted items add up to {inserted_bytes} bytes, the frame declares {declared_bytes} bytes; rewrite the frame"
    )]
    InsertSum {
        /// Sum of the lengths of the inserted items.
        inserted_bytes: usize,
        /// The declared size.
        declared_bytes: usize,
    },
    /// The payload does not unpack to the declared size.
    #[error("payload does not unpack to the declared {declared_bytes} bytes: {reason}; rewrite the frame")]
    Payload {
        /// The declared size.
        declared_bytes: usize,
        /// What happened instead.
        reason: String,
    },
    /// A delta was applied to another snapshot than the one it was made from.
    #[error("delta was made from a snapshot {expected}…, got snapshot {found}…; restore its parent first")]
    Parent {
        /// What the delta names.
        expected: ParentTag,
        /// What it was given.
        found: ParentTag,
    },
    /// A restored snapshot is not the one that was stored.
    #[error("restored snapshot has root {found}, its frame names {expected}; restore from another base")]
    Root {
        /// What the frame names.
        expected: RootTag,
        /// The actual value.
        found: RootTag,
    },
    /// A frame is larger than allowed.
    #[error("frame has {bytes} bytes, limit {limit}; shorten or compact the context, or raise frame_bytes")]
    FrameSize {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A context, or what one frame unpacks to, is larger than allowed.
    #[error("context has {bytes} bytes, limit {limit}; compact it, or raise decoded_bytes")]
    DecodedSize {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A context has more items than allowed.
    #[error("context has {items} items, limit {limit}; compact it, or raise items")]
    Items {
        /// How many.
        items: usize,
        /// The limit.
        limit: usize,
    },
    /// A chain has more frames than allowed.
    #[error("chain has {frames} frames, limit {limit}; compact it, or raise chain_frames")]
    ChainLength {
        /// How many.
        frames: usize,
        /// The limit.
        limit: usize,
    },
    /// A chain unpacks to more than allowed.
    #[error("chain unpacks to {bytes} bytes, limit {limit}; compact it, or raise restored_bytes")]
    RestoredSize {
        /// Sum over its frames.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// An item does not fit into a store of items, all of which are in use.
    #[error(
        "item store has {used_bytes} bytes in use and no room for {bytes} more, limit {limit}; release contexts, or \
         raise the limit"
    )]
    StoreFull {
        /// Size of the new items.
        bytes: usize,
        /// Bytes of the items in use.
        used_bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// An item was released to a store in which nobody uses it.
    #[error("item {hash} is not in use; release each item once for each use")]
    NotInUse {
        /// The item.
        hash: ItemHash,
    },
    /// Bytes are no stream of messages, or ask for more than is allowed.
    #[error("cannot continue to read the stream of messages: {reason}; start a new stream")]
    Stream {
        /// What is wrong with it.
        reason: String,
    },
    /// A stream cannot have this window.
    #[error("window of {bytes} bytes is no power of two from 1 KiB to 8 MiB; use 1048576")]
    StreamWindow {
        /// What was asked for.
        bytes: usize,
    },
    /// A chain has no frame.
    #[error("chain has no frame; start it with a full frame")]
    EmptyChain,
    /// A chain starts with a delta.
    #[error("chain starts with a delta; start it with a full frame")]
    NoBase,
    /// A full frame follows another frame of the same chain.
    #[error("full frame inside a chain; start a new chain with it")]
    SecondBase,
    /// One frame of a chain is refused.
    #[error("frame {index} of the chain: {cause}")]
    InChain {
        /// Its position, 0 for the base.
        index: usize,
        /// Why.
        cause: Box<Error>,
    },
}
