//! The fields of version 2.

use super::{
    Header,
    decode::{Packed, Packing},
};
use crate::{
    Codec, DictionaryId, Error, Limits, ParentTag, RootTag,
    op::{Kinds, Ops, read_ops},
    wire::Reader,
};

pub(super) const DELTA: u8 = 0b0000_0001;
pub(super) const ZSTD: u8 = 0b0000_0010;
pub(super) const DICTIONARY: u8 = 0b0000_0100;
pub(super) const PREFIX: u8 = 0b0000_1000;
pub(super) const KEEP: u8 = 0b0001_0000;
pub(super) const ONE_BLOCK: u8 = 0b0010_0000;
pub(super) const COUNT_SHIFT: u32 = 6;
/// Instead of the count of operations: a number has it.
pub(super) const COUNT_FOLLOWS: usize = 3;

pub(super) fn parse<'a>(
    mut reader: Reader<'a>,
    encoded_bytes: usize,
    codec: &Codec,
    limits: &Limits,
) -> Result<Packed<'a>, Error> {
    let flags = checked_flags(reader.byte()?)?;
    let has = |flag: u8| flags & flag != 0;
    let root = RootTag(reader.array()?);
    let parent = if has(DELTA) { Some(ParentTag(reader.array()?)) } else { None };
    let dictionary = if has(DICTIONARY) { Some(DictionaryId::from_bytes(reader.array()?)) } else { None };
    let count = match usize::from(flags >> COUNT_SHIFT) {
        COUNT_FOLLOWS => reader.number()?,
        count => count,
    };
    let Ops { ops, inserted_bytes } = read_ops(&mut reader, count, Kinds::V2, codec.bases(), limits)?;
    let dictionary = dictionary.map(|id| codec.known(id)).transpose()?.cloned();
    let packing = match has(ZSTD) {
        true => Packing::Zstd { dictionary, prefix: has(PREFIX), one_block: has(ONE_BLOCK) },
        false => Packing::Raw,
    };
    let header = Header { root, parent, decoded_bytes: inserted_bytes };
    Ok(Packed { header, encoded_bytes, starts_with_parent: has(KEEP), ops, packing, payload: reader.rest() })
}

fn checked_flags(flags: u8) -> Result<u8, Error> {
    let needs = |some: u8, other: u8| flags & some == 0 || flags & other != 0;
    if needs(PREFIX | KEEP, DELTA) && needs(PREFIX | DICTIONARY | ONE_BLOCK, ZSTD) {
        return Ok(flags);
    }
    Err(Error::Flags { found: flags })
}
