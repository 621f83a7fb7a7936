//! Writing a frame: which packing wins, and the fields of version 2.

use std::borrow::Cow;

use super::{
    CHECKSUM_BYTES, Frame, Header, MAGIC, checksum,
    v2::{COUNT_FOLLOWS, COUNT_SHIFT, DELTA, DICTIONARY, KEEP, ONE_BLOCK, PREFIX, ZSTD},
};
use crate::{
    Codec, Delta, Dictionary, DictionaryId, Error, Limits, Op, ParentTag, Snapshot,
    op::put_ops,
    pack::{LEVEL, Reference, pack, strip_only_block},
    prefix::{self, DICTIONARY_BYTES, LOG_BYTES},
    wire::put_number,
};

/// A frame of appended items up to this size is not tried against the parent's text: the few bytes are not worth it.
const PREFIX_OVER_BYTES: usize = 256;
/// Contexts below this pack so fast that nothing is gained by saving time.
const SMALL_CONTEXT_BYTES: usize = 10_000;
/// From this size on, the parent's text is referred to at the level of all else, and before that at a faster one.
const LARGE_CONTEXT_BYTES: usize = 128 * 1024;
const FAST_LEVEL: i32 = 1;
const MAX_INLINE_COUNT: usize = COUNT_FOLLOWS - 1;

/// Writes a delta on `parent`, or a full frame, in the shortest form that `codec` offers.
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

/// The operations as bytes, and the flags about them.
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
        let prefix = if matches!(reference, Reference::Prefix { .. }) { PREFIX } else { 0 };
        let named = if dictionary.is_some() { DICTIONARY } else { 0 };
        let mut packed = pack(raw, reference)?;
        let one_block = if strip_only_block(&mut packed) { ONE_BLOCK } else { 0 };
        let packed = Cow::Owned(packed);
        Some(Self { flags: ZSTD | prefix | named | one_block, dictionary: dictionary.map(Dictionary::id), packed })
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
        Some(parent) if codec.refers_to_parent() && is_worth_it(delta, parent, alone.cost() + steps_bytes) => {
            let bytes = prefix::reference(dictionary, parent, &delta.ops);
            let level = if parent.size_bytes() < LARGE_CONTEXT_BYTES { FAST_LEVEL } else { LEVEL };
            alone.or_shorter(Payload::zstd(raw, Reference::Prefix { bytes: &bytes, level }, dictionary))
        }
        _ => alone,
    }
}

/// Decides whether to try the parent's text: always when items were replaced, since their text recurs.
///
/// Otherwise when the frame is not short, and trying takes less than about a quarter of the time of packing the whole
/// context. Setting up takes as long as packing 4 KiB of a context, loading the reference as a tenth of its size, the
/// payload as twice its own.
fn is_worth_it(delta: &Delta, parent: &Snapshot, frame_bytes: usize) -> bool {
    if delta.drops_items(parent) {
        return true;
    }
    let context = parent.size_bytes() + delta.payload.len();
    let reference = DICTIONARY_BYTES + parent.size_bytes().min(LOG_BYTES);
    let work = 4096 + reference / 10 + 2 * delta.payload.len();
    frame_bytes > PREFIX_OVER_BYTES && (context < SMALL_CONTEXT_BYTES || work <= context / 4)
}
