//! One step of a delta, and its bytes.

use crate::{
    BaseItems, Error, Item, ItemTag, Limits,
    wire::{Reader, put_number},
};

/// No step is shorter: its first number and one more.
const MIN_OP_BYTES: usize = 2;
const ITEM_TAG_BYTES: usize = 8;

/// One step of a [`Delta`](crate::Delta). Counts and positions are in items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Copies a run of items from the parent.
    Copy {
        /// Position of the first item in the parent.
        start: usize,
        /// How many items, at least 1.
        len: usize,
    },
    /// Inserts items from the payload, from where the insert before stopped.
    Insert {
        /// Their sizes in bytes, at least one.
        lens: Vec<usize>,
    },
    /// Inserts base items, of which a frame has the names only.
    Base {
        /// The items, at least one.
        items: Vec<Item>,
    },
}

/// The kind of a step, from the first number of its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Copy,
    Insert,
    Base,
}

/// How steps are written: version 1 has two kinds, version 2 has three.
#[derive(Clone, Copy)]
pub(crate) struct Kinds(usize);

impl Kinds {
    pub(crate) const V1: Self = Self(2);
    pub(crate) const V2: Self = Self(3);
}

/// Appends the steps. The layout is that of [`Frame`](crate::Frame), version 2.
pub(crate) fn put_ops(out: &mut Vec<u8>, ops: &[Op]) {
    let Kinds(kinds) = Kinds::V2;
    for op in ops {
        match op {
            Op::Copy { start, len } => {
                put_number(out, kinds * len);
                put_number(out, *start);
            }
            Op::Insert { lens } => {
                put_number(out, kinds * lens.len() + 1);
                lens.iter().for_each(|&len| put_number(out, len));
            }
            Op::Base { items } => {
                put_number(out, kinds * items.len() + 2);
                items.iter().for_each(|item| out.extend_from_slice(&item.hash().tag().0));
            }
        }
    }
}

/// The steps of a frame, base items found, and what the inserts add up to.
pub(crate) struct Ops {
    pub(crate) ops: Vec<Op>,
    pub(crate) inserted_bytes: usize,
}

/// Reads `count` steps. Each number is checked before memory is allocated for it.
///
/// # Errors
/// [`Error::Cut`], [`Error::Number`], [`Error::EmptyOp`], [`Error::Items`] when the steps yield more than `limits`
/// allow, [`Error::DecodedSize`] when the inserts do, [`Error::BaseItem`] when one that is named is not in `bases`.
pub(crate) fn read_ops(
    reader: &mut Reader<'_>,
    count: usize,
    kinds: Kinds,
    bases: &BaseItems,
    limits: &Limits,
) -> Result<Ops, Error> {
    reader.check_left(count.saturating_mul(MIN_OP_BYTES))?;
    // Each step yields an item at least.
    limits.check_items(count)?;
    let mut ops = Vec::with_capacity(count);
    let (mut items, mut inserted_bytes) = (0usize, 0usize);
    for index in 0..count {
        let (kind, len) = read_tag(reader, index, kinds)?;
        items = items.saturating_add(len);
        limits.check_items(items)?;
        ops.push(match kind {
            Kind::Copy => Op::Copy { start: reader.number()?, len },
            Kind::Insert => Op::Insert { lens: read_lens(reader, len, &mut inserted_bytes)? },
            Kind::Base => Op::Base { items: read_bases(reader, len, bases)? },
        });
    }
    limits.check_decoded(inserted_bytes)?;
    Ok(Ops { ops, inserted_bytes })
}

/// Reads what a step does and how many items it yields.
fn read_tag(reader: &mut Reader<'_>, index: usize, Kinds(kinds): Kinds) -> Result<(Kind, usize), Error> {
    let tag = reader.number()?;
    let kind = [Kind::Copy, Kind::Insert, Kind::Base][tag % kinds];
    match tag / kinds {
        0 => Err(Error::EmptyOp { index }),
        len => Ok((kind, len)),
    }
}

fn read_lens(reader: &mut Reader<'_>, items: usize, inserted_bytes: &mut usize) -> Result<Vec<usize>, Error> {
    // One byte each at least.
    reader.check_left(items)?;
    let lens: Vec<usize> = (0..items).map(|_| reader.number()).collect::<Result<_, _>>()?;
    *inserted_bytes = lens.iter().fold(*inserted_bytes, |sum, &len| sum.saturating_add(len));
    Ok(lens)
}

fn read_bases(reader: &mut Reader<'_>, items: usize, bases: &BaseItems) -> Result<Vec<Item>, Error> {
    reader.check_left(items.saturating_mul(ITEM_TAG_BYTES))?;
    (0..items).map(|_| bases.get(ItemTag(reader.array()?)).cloned()).collect()
}
