//! The fields of version 1, which is read and no longer written.
//!
//! ```text
//! offset  bytes  field
//! 0       3      magic, the ASCII letters FCX
//! 3       1      version, 1
//! 4       1      flags
//!                  bit 0     kind: 0 full, 1 delta
//!                  bits 1–2  codec: 0 raw, 1 zstd, 2 and 3 reserved
//!                  bit 3     a dictionary id follows: never written
//!                  bits 4–7  reserved, 0
//! 5       16     root of the snapshot that the frame yields
//! 21      4      parent: the first 4 bytes of the parent's root            only if kind is delta
//!         n      number: size in bytes of the payload when unpacked
//!         n      number: how many operations follow
//!         …      operations: as in version 2, but starting with 2·n + k, k less than 2
//!         …      payload: raw, or one zstd frame less its magic number, up to the checksum
//! end−4   4      checksum, as in version 2
//! ```

use super::{
    Header,
    decode::{Packed, Packing},
};
use crate::{
    BaseItems, DictionaryId, Error, Limits, ParentTag, RootTag,
    op::{Kinds, Ops, read_ops},
    wire::Reader,
};

pub(super) const MAGIC: u8 = b'F';
const MAGIC_REST: [u8; 2] = *b"CX";
pub(super) const VERSION: u8 = 1;

const DELTA: u8 = 0b0000_0001;
const CODEC_MASK: u8 = 0b0000_0110;
const CODEC_ZSTD: u8 = 0b0000_0010;
const DICTIONARY: u8 = 0b0000_1000;
const RESERVED: u8 = 0b1111_0000;

/// Reads what follows the first byte of the magic.
pub(super) fn check_version(reader: &mut Reader<'_>) -> Result<(), Error> {
    if reader.array()? != MAGIC_REST {
        return Err(Error::Magic { found: MAGIC });
    }
    match reader.byte()? {
        VERSION => Ok(()),
        found => Err(Error::Version { found }),
    }
}

pub(super) fn parse<'a>(mut reader: Reader<'a>, encoded_bytes: usize, limits: &Limits) -> Result<Packed<'a>, Error> {
    let flags = reader.byte()?;
    let packing = match flags & (RESERVED | CODEC_MASK) {
        0 => Packing::Raw,
        CODEC_ZSTD => Packing::ZstdFrame,
        _ => return Err(Error::Flags { found: flags }),
    };
    let [a, b, c, d, e, f, g, h, ..] = reader.array::<16>()?;
    let parent = if flags & DELTA != 0 { Some(ParentTag(reader.array()?)) } else { None };
    if flags & DICTIONARY != 0 {
        return Err(Error::Dictionary { id: DictionaryId::from_bytes(reader.array()?) });
    }
    let declared_bytes = reader.number()?;
    limits.check_decoded(declared_bytes)?;
    let count = reader.number()?;
    let Ops { ops, inserted_bytes } = read_ops(&mut reader, count, Kinds::V1, &BaseItems::default(), limits)?;
    if inserted_bytes != declared_bytes {
        return Err(Error::InsertSum { inserted_bytes, declared_bytes });
    }
    let header = Header { root: RootTag([a, b, c, d, e, f, g, h]), parent, decoded_bytes: declared_bytes };
    Ok(Packed { header, encoded_bytes, starts_with_parent: false, ops, packing, payload: reader.rest() })
}
