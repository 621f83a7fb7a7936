//! Reading a frame of any version.

use super::{CHECKSUM_BYTES, Header, MAGIC, checksum, v1, v2};
use crate::{
    Codec, Delta, Dictionary, Error, Limits, Op, Snapshot,
    pack::{self, Reference},
    prefix,
    wire::Reader,
};

/// How a payload is packed.
#[derive(Debug)]
pub(super) enum Packing {
    Raw,
    /// One zstd frame without its magic number: version 1.
    ZstdFrame,
    /// The blocks of one zstd frame.
    Zstd {
        dictionary: Option<Dictionary>,
        prefix: bool,
        /// There is one block, and its header is left out.
        one_block: bool,
    },
}

/// A frame whose fields are checked and whose payload is still packed.
pub(crate) struct Packed<'a> {
    pub(crate) header: Header,
    pub(crate) encoded_bytes: usize,
    /// Whether the first operation copies the whole parent.
    pub(super) starts_with_parent: bool,
    pub(super) ops: Vec<Op>,
    pub(super) packing: Packing,
    pub(super) payload: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(crate) fn parse(bytes: &'a [u8], codec: &Codec, limits: &Limits) -> Result<Self, Error> {
        limits.check_frame(bytes.len())?;
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            MAGIC => v2::parse(checked(bytes, reader)?, bytes.len(), codec, limits),
            v1::MAGIC => {
                v1::check_version(&mut reader)?;
                v1::parse(checked(bytes, reader)?, bytes.len(), limits)
            }
            found => Err(Error::Magic { found }),
        }
    }

    /// Unpacks the payload. The caller has checked that `parent` is the one that the frame names.
    pub(crate) fn unpack(self, parent: &Snapshot) -> Result<Delta, Error> {
        let Self { header, starts_with_parent, mut ops, packing, payload, .. } = self;
        if starts_with_parent {
            ops.insert(0, Op::Copy { start: 0, len: parent.len() });
        }
        let size = header.decoded_bytes;
        let payload = match packing {
            Packing::Raw => pack::unpack_raw(payload, size),
            Packing::ZstdFrame => pack::unpack_without_magic(payload, size),
            Packing::Zstd { dictionary, prefix, one_block } => {
                let unpack = if one_block { pack::unpack_only_block } else { pack::unpack };
                let bytes = if prefix { prefix::reference(dictionary.as_ref(), parent, &ops) } else { Vec::new() };
                let reference = match &dictionary {
                    _ if prefix => Reference::Prefix { bytes: &bytes, level: pack::LEVEL },
                    Some(dictionary) => Reference::Dictionary(dictionary),
                    None => Reference::Nothing,
                };
                unpack(payload, size, reference)
            }
        };
        Ok(Delta { parent: header.parent, root: header.root, ops, payload: payload? })
    }
}

/// Checks the checksum, and limits reading to the bytes before it.
fn checked<'a>(bytes: &'a [u8], reader: Reader<'a>) -> Result<Reader<'a>, Error> {
    reader.check_left(CHECKSUM_BYTES)?;
    let (body, stored) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    if stored != checksum(body) {
        return Err(Error::Checksum { frame_bytes: bytes.len() });
    }
    Ok(reader.up_to(body.len()))
}
