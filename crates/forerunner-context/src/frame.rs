//! One stored turn: its byte layout, writing it and reading it.

use std::fmt;

use crate::{
    Delta, Error, Limits, Op, ParentTag, Root, Snapshot,
    codec::{self, Codec},
    op::{put_ops, read_ops},
    wire::{Reader, put_number},
};

/// What every frame starts with.
pub const MAGIC: [u8; 3] = *b"FCX";
/// The version of the format that is written and read.
pub const VERSION: u8 = 1;

const KIND_DELTA: u8 = 0b0000_0001;
const CODEC_MASK: u8 = 0b0000_0110;
const CODEC_ZSTD: u8 = 0b0000_0010;
const HAS_DICTIONARY: u8 = 0b0000_1000;
const RESERVED: u8 = 0b1111_0000;
const CHECKSUM_BYTES: usize = 4;

/// One encoded turn, within the limits of the snapshot that it yields.
///
/// # Layout, version 1
///
/// ```text
/// offset  bytes  field
/// 0       3      magic, the ASCII letters FCX
/// 3       1      version, 1
/// 4       1      flags
///                  bit 0     kind: 0 full, 1 delta
///                  bits 1–2  codec: 0 raw, 1 zstd, 2 and 3 reserved
///                  bit 3     a dictionary id follows
///                  bits 4–7  reserved, 0
/// 5       16     root of the snapshot that the frame yields
/// 21      4      parent: the first 4 bytes of the parent's root            only if kind is delta
///         8      dictionary: the first 8 bytes of the BLAKE3-256 of it     only if bit 3 is set
///         n      number: size in bytes of the payload when unpacked
///         n      number: how many operations follow
///         …      operations
///         …      payload, packed, up to the checksum
/// end−4   4      checksum: the first 4 bytes of the BLAKE3-256 of all bytes before
/// ```
///
/// A *number* is unsigned LEB128 in its shortest form, less than 2⁶⁴. An *operation* starts with the number `2·n + k`,
/// `n` at least 1:
///
/// - `k` = 0 copies `n` items of the parent; the number of the first follows, counted from 0.
/// - `k` = 1 inserts `n` items; their sizes in bytes follow, `n` numbers. Their contents stand in the payload in the
///   same order, and all sizes of the frame add up to the size of the unpacked payload.
///
/// A full frame applies its operations to an empty list, so it has only inserts. Applying the operations in order
/// yields the items; hashing each with BLAKE3-256 and the concatenated hashes with BLAKE3 in derive-key mode, context
/// `forerunner-context snapshot root v1`, must give the root as the first 16 bytes.
///
/// Codec *raw* stores the payload as it is. Codec *zstd* stores one zstd frame (RFC 8878) less its first four bytes,
/// the magic number `28 b5 2f fd`. A writer takes the shorter one, raw if equal. Dictionaries have their place in the
/// layout and no meaning yet: this version writes none and refuses a frame that names one.
///
/// A reader checks, in this order: size, magic, version, checksum, flags, dictionary, then each number against its
/// limit and the bytes left, before it allocates what the number asks for. The checksum finds damage in bits that no
/// hash of contents covers; the root is what proves the contents.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    header: Header,
    bytes: Vec<u8>,
}

/// What a frame tells without being unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The snapshot that the frame yields.
    pub root: Root,
    /// The snapshot that it needs, absent for a full frame.
    pub parent: Option<ParentTag>,
    /// Size of its inserted items in bytes.
    pub decoded_bytes: usize,
}

impl Frame {
    /// Encodes a whole snapshot: the base of a new chain.
    ///
    /// # Errors
    /// [`Error::FrameSize`] when the frame is larger than the limits of `snapshot` allow.
    pub fn full(snapshot: &Snapshot) -> Result<Self, Error> {
        Self::encode(&Delta::full(snapshot), snapshot.limits())
    }

    /// Encodes what turns `parent` into `next`. The same snapshots always give the same bytes.
    ///
    /// # Errors
    /// [`Error::FrameSize`] or [`Error::DecodedSize`] when the change is larger than the limits of `next` allow.
    pub fn delta(parent: &Snapshot, next: &Snapshot) -> Result<Self, Error> {
        Self::encode(&Delta::diff(parent, next), next.limits())
    }

    /// Encodes a delta.
    ///
    /// # Errors
    /// [`Error::FrameSize`] or [`Error::DecodedSize`] when it is larger than `limits` allow.
    pub fn encode(delta: &Delta, limits: &Limits) -> Result<Self, Error> {
        let header = Header { root: delta.root, parent: delta.parent, decoded_bytes: delta.payload.len() };
        limits.check_decoded(header.decoded_bytes)?;
        let (codec, packed) = codec::pack(&delta.payload);
        let mut bytes = Vec::with_capacity(64 + packed.len());
        put_header(&mut bytes, &header, codec);
        put_ops(&mut bytes, &delta.ops);
        bytes.extend_from_slice(&packed);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        limits.check_frame(bytes.len())?;
        Ok(Self { header, bytes })
    }

    /// Reads a frame back.
    ///
    /// # Errors
    /// Any error about a frame: its bytes are never trusted, and never make this panic.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Delta, Error> {
        Packed::parse(bytes, limits)?.unpack()
    }

    /// Returns what the frame tells without being unpacked.
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

/// A frame whose fields are checked and whose payload is still packed.
pub(crate) struct Packed<'a> {
    pub(crate) header: Header,
    pub(crate) encoded_bytes: usize,
    codec: Codec,
    ops: Vec<Op>,
    payload: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(crate) fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        limits.check_frame(bytes.len())?;
        let mut reader = Reader::new(checked_body(bytes)?);
        let flags = reader.byte()?;
        let codec = codec_of(flags)?;
        let root = Root::from_bytes(reader.array()?);
        let parent = if flags & KIND_DELTA != 0 { Some(ParentTag(reader.array()?)) } else { None };
        if flags & HAS_DICTIONARY != 0 {
            return Err(Error::Dictionary { id: u64::from_be_bytes(reader.array()?) });
        }
        let decoded_bytes = reader.number()?;
        limits.check_decoded(decoded_bytes)?;
        let ops = read_ops(&mut reader, decoded_bytes, limits)?;
        let header = Header { root, parent, decoded_bytes };
        Ok(Self { header, encoded_bytes: bytes.len(), codec, ops, payload: reader.rest() })
    }

    pub(crate) fn unpack(self) -> Result<Delta, Error> {
        let payload = codec::unpack(self.codec, self.payload, self.header.decoded_bytes)?;
        Ok(Delta { parent: self.header.parent, root: self.header.root, ops: self.ops, payload })
    }
}

fn put_header(out: &mut Vec<u8>, header: &Header, codec: Codec) {
    let kind = if header.parent.is_some() { KIND_DELTA } else { 0 };
    let codec = if codec == Codec::Zstd { CODEC_ZSTD } else { 0 };
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind | codec]);
    out.extend_from_slice(header.root.as_bytes());
    if let Some(ParentTag(tag)) = header.parent {
        out.extend_from_slice(&tag);
    }
    put_number(out, header.decoded_bytes);
}

/// Checks magic, version and checksum, and returns what lies between version and checksum.
fn checked_body(bytes: &[u8]) -> Result<&[u8], Error> {
    let mut reader = Reader::new(bytes);
    let found = reader.array()?;
    if found != MAGIC {
        return Err(Error::Magic { found });
    }
    let version = reader.byte()?;
    if version != VERSION {
        return Err(Error::Version { found: version });
    }
    reader.check_left(CHECKSUM_BYTES)?;
    let (body, stored) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    if stored != checksum(body) {
        return Err(Error::Checksum { frame_bytes: bytes.len() });
    }
    Ok(&body[MAGIC.len() + 1..])
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = *blake3::hash(body).as_bytes();
    [a, b, c, d]
}

fn codec_of(flags: u8) -> Result<Codec, Error> {
    match flags & (RESERVED | CODEC_MASK) {
        0 => Ok(Codec::Raw),
        CODEC_ZSTD => Ok(Codec::Zstd),
        _ => Err(Error::Flags { found: flags }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE_HEADER: usize = 5 + 16;

    fn snapshot(texts: &[&str]) -> Snapshot {
        let mut snapshot = Snapshot::new();
        texts.iter().for_each(|text| snapshot.push(text).unwrap());
        snapshot
    }

    fn decode(bytes: &[u8]) -> Result<Delta, Error> {
        Frame::decode(bytes, &Limits::default())
    }

    /// A frame with any fields and a right checksum, as only a hostile writer makes.
    fn forged(flags: u8, fields: &[u8]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[VERSION, flags], &[7; 16], fields].concat();
        bytes.extend_from_slice(&checksum(&bytes));
        bytes
    }

    fn numbers(values: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        values.iter().for_each(|&value| put_number(&mut out, value));
        out
    }

    /// Fails when the layout changes: then raise the version and keep reading this one.
    #[test]
    fn the_layout_is_the_documented_one() {
        let (old, new) = (snapshot(&["system", "old"]), snapshot(&["system", "new", ""]));
        let bytes = Frame::delta(&old, &new).unwrap().into_bytes();
        let mut expected = b"FCX\x01\x01".to_vec();
        expected.extend_from_slice(new.root().as_bytes());
        expected.extend_from_slice(&old.root().as_bytes()[..4]);
        expected.extend_from_slice(&[3, 2, 2, 0, 5, 3, 0]); // 3 bytes, 2 ops: copy 1 from 0, insert 2 of 3 and 0
        expected.extend_from_slice(b"new");
        let hash = blake3::hash(&expected);
        expected.extend_from_slice(&hash.as_bytes()[..4]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_stored_frame_of_version_1_stays_readable() {
        const HEX: &str = include_str!("../testdata/full-v1.hex");
        let hex = HEX.trim().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = hex.chunks(2).map(byte).collect();
        let expected = snapshot(&["you are a helper", &"again and ".repeat(20)]);
        assert_eq!(decode(&bytes).unwrap().apply(&Snapshot::new()).unwrap(), expected);
    }

    #[test]
    fn every_flipped_or_cut_byte_is_an_error() {
        let base = snapshot(&["you are a helper", &"again and ".repeat(40)]);
        let mut next = base.clone();
        next.push("and now something else: ".repeat(9)).unwrap();
        for frame in [Frame::full(&base), Frame::delta(&base, &next), Frame::full(&Snapshot::new())] {
            let good = frame.unwrap().into_bytes();
            for at in 0..good.len() {
                assert!(decode(&good[..at]).is_err(), "cut at {at}");
                for flip in 1..=u8::MAX {
                    let mut bad = good.clone();
                    bad[at] ^= flip;
                    assert!(decode(&bad).is_err(), "byte {at} ^ {flip:#x}");
                }
            }
        }
    }

    #[test]
    fn damage_has_a_name() {
        let good = Frame::full(&snapshot(&["hello"])).unwrap().into_bytes();
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            decode(&bad).unwrap_err()
        };
        assert_eq!(decode(b""), Err(Error::Cut { offset: 0, needed_bytes: 3, frame_bytes: 0 }));
        assert_eq!(with(0, b'f'), Error::Magic { found: *b"fCX" });
        assert_eq!(with(3, 2), Error::Version { found: 2 });
        assert_eq!(with(BASE_HEADER, 99), Error::Checksum { frame_bytes: good.len() });
        assert_eq!(decode(&good[..9]), Err(Error::Checksum { frame_bytes: 9 }));
    }

    #[test]
    fn what_a_later_version_may_add_is_refused_by_name() {
        for flags in [0b0001_0000, 0b1000_0000, 0b0000_0100, 0b0000_0110] {
            assert_eq!(decode(&forged(flags, &[0, 0])), Err(Error::Flags { found: flags }));
        }
        let named = forged(HAS_DICTIONARY, &[0, 0, 0, 0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(decode(&named), Err(Error::Dictionary { id: 0x0102 }));
    }

    #[test]
    fn forged_numbers_are_refused_before_they_cost_memory() {
        let limits = Limits::default();
        let huge = usize::MAX / 8;
        for (fields, expected) in [
            (numbers(&[huge, 0]), Error::DecodedSize { bytes: huge, limit: limits.decoded_bytes }),
            (numbers(&[0, 1, 0, 0]), Error::EmptyOp { index: 0 }),
            (numbers(&[0, 1, 1, 0]), Error::EmptyOp { index: 0 }),
            (numbers(&[0, 1, 2 * huge, 0]), Error::Items { items: huge, limit: limits.items }),
            (numbers(&[0, 2, 2 * 40_000, 0, 2 * 40_000, 0]), Error::Items { items: 80_000, limit: limits.items }),
            (numbers(&[5, 1, 3, 4]), Error::InsertSum { inserted_bytes: 4, declared_bytes: 5 }),
            (numbers(&[5, 1, 5, usize::MAX, 6]), Error::InsertSum { inserted_bytes: usize::MAX, declared_bytes: 5 }),
        ] {
            assert_eq!(decode(&forged(0, &fields)), Err(expected));
        }
        for fields in [numbers(&[0, huge, 0]), numbers(&[0, 1, 2 * 9_000 + 1, 0])] {
            assert!(matches!(decode(&forged(0, &fields)), Err(Error::Cut { .. })));
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let (codec, packed) = codec::pack(&[0; 1_000_000]);
        assert_eq!(codec, Codec::Zstd);
        assert!(packed.len() < 100);
        let bomb = |declared: usize| [&numbers(&[declared, 1, 3, declared])[..], &packed[..]].concat();
        assert!(matches!(decode(&forged(CODEC_ZSTD, &bomb(1_000))), Err(Error::Payload { .. })));
        let tight = Limits { decoded_bytes: 999_999, ..Limits::default() };
        let refused = Frame::decode(&forged(CODEC_ZSTD, &bomb(1_000_000)), &tight);
        assert_eq!(refused, Err(Error::DecodedSize { bytes: 1_000_000, limit: 999_999 }));
        assert!(decode(&forged(CODEC_ZSTD, &bomb(1_000_000))).is_ok());
    }

    #[test]
    fn contents_stay_out_of_logs() {
        let (old, new) = (snapshot(&["a"]), snapshot(&["a", "secret"]));
        let payload = format!("{:?}", "secret".as_bytes());
        assert!(!format!("{:?}", Frame::delta(&old, &new).unwrap()).contains(&payload));
        assert!(!format!("{:?}", Delta::diff(&old, &new)).contains(&payload));
    }

    #[test]
    fn a_full_frame_cannot_copy() {
        let delta = decode(&forged(0, &numbers(&[0, 1, 2, 0]))).unwrap();
        let refused = delta.apply(&snapshot(&["a"]));
        assert_eq!(refused, Err(Error::CopyRange { start: 0, len: 1, items: 0 }));
    }

    #[test]
    fn a_frame_over_its_limit_is_neither_written_nor_read() {
        let frame = Frame::full(&snapshot(&["0123456789"])).unwrap();
        let bytes = frame.as_bytes().len();
        let limits = Limits { frame_bytes: bytes - 1, ..Limits::default() };
        let refused = Error::FrameSize { bytes, limit: bytes - 1 };
        assert_eq!(Frame::decode(frame.as_bytes(), &limits), Err(refused.clone()));
        let mut tight = Snapshot::with_limits(limits);
        tight.push("0123456789").unwrap();
        assert_eq!(Frame::full(&tight), Err(refused));
    }
}
