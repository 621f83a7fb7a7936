//! One stored turn: its fields, how it is written and how it is read.

mod decode;
mod encode;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::{Codec, Error, ParentTag, RootTag, Snapshot};

pub(crate) use decode::Packed;
pub(crate) use encode::write;

/// The first byte of every frame from version 2 on: no text in UTF-8 contains it.
pub const MAGIC: u8 = 0xfc;
/// The version of the format that is written. Version 1 is read, too.
pub const VERSION: u8 = 2;

const CHECKSUM_BYTES: usize = 4;

/// One encoded turn, within the limits of the snapshot that it yields.
///
/// # Layout, version 2
///
/// ```text
/// offset  bytes  field
/// 0       1      magic and version, fc
/// 1       1      flags
///                  bit 0     delta: a parent follows
///                  bit 1     zstd: the payload is packed
///                  bit 2     a dictionary id follows
///                  bit 3     prefix: the payload refers to the parent's text
///                  bit 4     keep: the first operation, copying the whole parent, is left out
///                  bit 5     one block: the payload is one block of zstd, and its header is left out
///                  bits 6–7  how many operations follow, 3 when a number tells
/// 2       8      root tag of the snapshot that the frame yields
/// 10      4      parent: the first 4 bytes of the parent's root           only if bit 0 is set
///         4      dictionary: the first 4 bytes of the BLAKE3-256 of it    only if bit 2 is set
///         n      number: how many operations follow                       only if bits 6–7 are 3
///         …      operations
///         …      payload, up to the checksum
/// end−4   4      checksum: the first 4 bytes of the BLAKE3-256 of all bytes before
/// ```
///
/// Bits 3 and 4 need bit 0; bits 2, 3 and 5 need bit 1. A *number* is unsigned LEB128 in its shortest form, less than 2⁶⁴.
/// An *operation* starts with the number `3·n + k`, `n` at least 1:
///
/// - `k` = 0 copies `n` items of the parent; the number of the first follows, counted from 0.
/// - `k` = 1 inserts `n` items; their sizes in bytes follow, `n` numbers. The unpacked payload is their contents in the
///   same order, and nothing else.
/// - `k` = 2 inserts `n` base items; the first 8 bytes of the BLAKE3-256 of each follow.
///
/// A full frame has neither parent nor copies. Applying the operations in order yields the items; hashing each with
/// BLAKE3-256 and the concatenated hashes with BLAKE3 in derive-key mode, context `forerunner-context snapshot root v1`,
/// gives the root, whose first 8 bytes must be the frame's.
///
/// A packed payload is the blocks of one zstd frame (RFC 8878 §3.1.1.2), without the frame's header and checksum. With
/// bit 5 it is the content of the one block, which is compressed. A reader puts the header of a single-segment frame
/// before them, with the sum of all inserted sizes as content size and no dictionary id. Without bit 3, the dictionary
/// is a trained one (RFC 8878 §5), or none without bit 2. With bit 3 it is made of
///
/// 1. with bit 2 set, the trained dictionary up to where its content starts, and the last 8 KiB of its content;
/// 2. the last 32 KiB of the removed items: those that no operation copies and that part 3 has nothing of;
/// 3. the last 32 KiB of all items of the parent;
///
/// each or what there is of it, items one after the other in the order of the parent. Without bit 2 it is plain content.
///
/// A writer uses the raw payload when packing does not make the frame shorter. A reader checks in this order: size,
/// magic, checksum, flags; each number against its limit and the bytes left, before it allocates memory for it; whether
/// dictionary and base items are known; the parent. The checksum finds damage in bits that no hash of contents covers.
/// The root proves the contents.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    header: Header,
    bytes: Vec<u8>,
}

/// The fields of a frame that are readable without unpacking it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The snapshot that the frame yields.
    pub root: RootTag,
    /// The snapshot that it needs, absent for a full frame.
    pub parent: Option<ParentTag>,
    /// Size of its inserted items in bytes.
    pub decoded_bytes: usize,
}

impl Frame {
    /// Encodes a whole snapshot, with neither dictionary nor base items: the base of a new chain.
    ///
    /// # Errors
    /// As [`Codec::full`].
    pub fn full(snapshot: &Snapshot) -> Result<Self, Error> {
        Codec::default().full(snapshot)
    }

    /// Encodes what turns `parent` into `next`, with neither dictionary nor base items nor prefix.
    ///
    /// # Errors
    /// As [`Codec::delta`].
    pub fn delta(parent: &Snapshot, next: &Snapshot) -> Result<Self, Error> {
        Codec::default().delta(parent, next)
    }

    /// Returns the fields that are readable without unpacking.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the encoded bytes, to be stored.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl fmt::Debug for Frame {
    /// Shows header and size: contents are private and large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("header", &self.header).field("bytes", &self.bytes.len()).finish()
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = *blake3::hash(body).as_bytes();
    [a, b, c, d]
}
