//! Writing a frame: which packing wins, and the fields of version 2.

use std::borrow::Cow;

use super::{
    CHECKSUM_BYTES, Frame, Header, MAGIC, checksum,
    v2::{COUNT_FOLLOWS, COUNT_SHIFT, DELTA, DICTIONARY, KEEP, PREFIX, ZSTD},
};
use crate::{
    Codec, Delta, Dictionary, DictionaryId, Error, Limits, Op, ParentTag, Snapshot,
    op::put_ops,
    pack::{Reference, pack},
    prefix,
    wire::put_number,
};

/// A frame up to this size is not tried against the parent's text: that costs more time than the few bytes are worth.
pub(crate) const PREFIX_OVER_BYTES: usize = 256;
const MAX_INLINE_COUNT: usize = COUNT_FOLLOWS - 1;

/// Writes a delta on `parent`, or a full frame, in the shortest form that `codec` knows.
///
/// # Errors
/// [`Error::FrameSize`] or [`Error::DecodedSize`] when it is larger than `limits` allow.
pub(crate) fn write(delta: &Delta, parent: Option<&Snapshot>, codec: &Codec, limits: &Limits) -> Result<Frame, Error> {
    let header = Header { root: delta.root, parent: delta.parent, decoded_bytes: delta.payload.len() };
    limits.check_decoded(header.decoded_bytes)?;
    let steps = Steps::of(&delta.ops, parent);
    let payload = choose(delta, parent, codec, steps.bytes.len());
    let mut bytes = Vec::with_capacity(payload.fixed_bytes() + steps.bytes.len() + payload.packed.len());
    bytes.extend_from_slice(&[MAGIC, steps.flags | payload.flags | if parent.is_some() { DELTA } else { 0 }]);
    bytes.extend_from_slice(delta.root.as_bytes());
    if let Some(ParentTag(tag)) = delta.parent {
        bytes.extend_from_slice(&tag);
    }
    if let Some(id) = payload.dictionary {
        bytes.extend_from_slice(id.as_bytes());
    }
    bytes.extend_from_slice(&steps.bytes);
    bytes.extend_from_slice(&payload.packed);
    let checksum = checksum(&bytes);
    bytes.extend_from_slice(&checksum);
    limits.check_frame(bytes.len())?;
    Ok(Frame { header, bytes })
}

/// The operations as bytes, and what the flags say about them.
struct Steps {
    flags: u8,
    bytes: Vec<u8>,
}

impl Steps {
    fn of(ops: &[Op], parent: Option<&Snapshot>) -> Self {
        let all = parent.map(|parent| Op::Copy { start: 0, len: parent.len() });
        let (keep, ops) = match ops {
            [first, rest @ ..] if Some(first) == all.as_ref() => (KEEP, rest),
            ops => (0, ops),
        };
        let mut bytes = Vec::new();
        let mut count = ops.len();
        if count > MAX_INLINE_COUNT {
            put_number(&mut bytes, count);
            count = COUNT_FOLLOWS;
        }
        put_ops(&mut bytes, ops);
        Self { flags: keep | (count as u8) << COUNT_SHIFT, bytes }
    }
}

/// A way to store the payload.
struct Payload<'a> {
    flags: u8,
    dictionary: Option<DictionaryId>,
    packed: Cow<'a, [u8]>,
}

impl<'a> Payload<'a> {
    fn raw(raw: &'a [u8]) -> Self {
        Self { flags: 0, dictionary: None, packed: Cow::Borrowed(raw) }
    }

    fn zstd(raw: &[u8], reference: Reference<'_>, dictionary: Option<&Dictionary>) -> Option<Self> {
        let prefix = if matches!(reference, Reference::Prefix(_)) { PREFIX } else { 0 };
        let named = if dictionary.is_some() { DICTIONARY } else { 0 };
        let packed = Cow::Owned(pack(raw, reference)?);
        Some(Self { flags: ZSTD | prefix | named, dictionary: dictionary.map(Dictionary::id), packed })
    }

    /// The frame's size without its operations and payload.
    fn fixed_bytes(&self) -> usize {
        2 + 8 + 4 + self.dictionary.map_or(0, |_| 4) + CHECKSUM_BYTES
    }

    fn cost(&self) -> usize {
        self.fixed_bytes() + self.packed.len()
    }

    fn or_shorter(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.cost() < self.cost() => other,
            _ => self,
        }
    }
}

fn choose<'a>(delta: &'a Delta, parent: Option<&Snapshot>, codec: &Codec, steps_bytes: usize) -> Payload<'a> {
    let raw = delta.payload.as_slice();
    if raw.is_empty() {
        return Payload::raw(raw);
    }
    let dictionary = codec.dictionary();
    let reference = dictionary.map_or(Reference::Nothing, Reference::Dictionary);
    let alone = Payload::raw(raw).or_shorter(Payload::zstd(raw, reference, dictionary));
    match parent {
        Some(parent) if codec.refers_to_parent() && alone.cost() + steps_bytes > PREFIX_OVER_BYTES => {
            let prefix = prefix::reference(dictionary.map(Dictionary::bytes), parent, &delta.ops);
            alone.or_shorter(Payload::zstd(raw, Reference::Prefix(&prefix), dictionary))
        }
        _ => alone,
    }
}
