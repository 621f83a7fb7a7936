//! One step of a delta, and its bytes.

use crate::{
    Error, Limits,
    wire::{Reader, put_number},
};

/// No step is shorter: its first number and one more.
const MIN_OP_BYTES: usize = 2;

/// One step of a [`Delta`](crate::Delta). Counts and positions are in items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Takes a run of items over from the parent.
    Copy {
        /// Position of the first item in the parent.
        start: usize,
        /// How many items, at least 1.
        len: usize,
    },
    /// Takes items from the payload, from where the insert before stopped.
    Insert {
        /// Their sizes in bytes, at least one.
        lens: Vec<usize>,
    },
}

/// Appends the number of steps and the steps. The layout is that of [`Frame`](crate::Frame).
pub(crate) fn put_ops(out: &mut Vec<u8>, ops: &[Op]) {
    put_number(out, ops.len());
    for op in ops {
        match op {
            Op::Copy { start, len } => {
                put_number(out, 2 * len);
                put_number(out, *start);
            }
            Op::Insert { lens } => {
                put_number(out, 2 * lens.len() + 1);
                lens.iter().for_each(|&len| put_number(out, len));
            }
        }
    }
}

/// Reads the steps of a frame that declares a payload of `decoded_bytes`.
///
/// # Errors
/// [`Error::Cut`], [`Error::Number`], [`Error::EmptyOp`], [`Error::Items`] when the steps yield more than `limits`
/// allow, [`Error::InsertSum`] when the inserts do not use up the payload.
pub(crate) fn read_ops(reader: &mut Reader<'_>, decoded_bytes: usize, limits: &Limits) -> Result<Vec<Op>, Error> {
    let count = reader.count(MIN_OP_BYTES)?;
    // Each step yields an item at least.
    limits.check_items(count)?;
    let mut ops = Vec::with_capacity(count);
    let (mut items, mut inserted_bytes) = (0usize, 0usize);
    for index in 0..count {
        let (len, is_insert) = read_tag(reader, index)?;
        items = items.saturating_add(len);
        limits.check_items(items)?;
        if !is_insert {
            ops.push(Op::Copy { start: reader.number()?, len });
            continue;
        }
        let lens = read_lens(reader, len)?;
        inserted_bytes = lens.iter().fold(inserted_bytes, |sum, &len| sum.saturating_add(len));
        ops.push(Op::Insert { lens });
    }
    if inserted_bytes != decoded_bytes {
        return Err(Error::InsertSum { inserted_bytes, declared_bytes: decoded_bytes });
    }
    Ok(ops)
}

/// Reads how many items a step yields and whether it inserts them.
fn read_tag(reader: &mut Reader<'_>, index: usize) -> Result<(usize, bool), Error> {
    match reader.number()? {
        0 | 1 => Err(Error::EmptyOp { index }),
        tag => Ok((tag / 2, tag % 2 == 1)),
    }
}

fn read_lens(reader: &mut Reader<'_>, items: usize) -> Result<Vec<usize>, Error> {
    // One byte each at least.
    reader.check_left(items)?;
    (0..items).map(|_| reader.number()).collect()
}
