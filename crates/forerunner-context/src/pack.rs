//! Packing the payload of a frame.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, DCtx, compress_bound, get_error_name};

use crate::{Dictionary, Error};

/// Level 9 saves 5 to 13 % of the bytes for two to five times the work: too much for every turn. Up to level 3 the
/// result does not depend on what a context packed before; the row hashes of higher levels are salted anew.
pub(crate) const LEVEL: i32 = 3;
/// What every zstd frame starts with (RFC 8878 §3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BLOCK_HEADER_BYTES: usize = 3;
const MAX_BLOCK_BYTES: u32 = 128 * 1024;
/// The longest header: magic, descriptor, window or not, dictionary id, content size.
const MAX_HEADER_BYTES: usize = 4 + 1 + 1 + 4 + 8;

thread_local! {
    /// Creating these costs more than packing a turn. They have tables, and no bytes of what they packed.
    static CONTEXTS: RefCell<(CCtx<'static>, DCtx<'static>)> = RefCell::new((CCtx::create(), DCtx::create()));
}

/// What both sides know already, so that a payload may refer to it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reference<'a> {
    Nothing,
    Dictionary(&'a Dictionary),
    Prefix {
        /// Precede the payload. When they start as a trained dictionary does, its tables count too.
        bytes: &'a [u8],
        /// The cost of packing; unpacking costs the same at all levels.
        level: i32,
    },
}

/// Packs `raw` into the blocks of one zstd frame, without the frame's header. The same arguments give the same bytes.
///
/// `None` when zstd fails for lack of memory: the raw bytes are used then.
pub(crate) fn pack(raw: &[u8], reference: Reference<'_>) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(compress_bound(raw.len()));
    let written = CONTEXTS.with_borrow_mut(|(context, _)| match reference {
        Reference::Nothing => context.compress(&mut frame, raw, LEVEL),
        Reference::Dictionary(dictionary) => context.compress_using_cdict(&mut frame, raw, dictionary.packer()),
        Reference::Prefix { bytes, level } => context.compress_using_dict(&mut frame, raw, bytes, level),
    });
    written.ok()?;
    let blocks_at = header_bytes(&frame)?;
    frame.drain(..blocks_at);
    Some(frame)
}

/// Removes the header (three bytes) of a block that is compressed and the only one; returns whether there was one.
pub(crate) fn strip_only_block(blocks: &mut Vec<u8>) -> bool {
    let is_only =
        only_block(blocks.len().saturating_sub(BLOCK_HEADER_BYTES)).is_some_and(|header| blocks.starts_with(&header));
    if is_only {
        blocks.drain(..BLOCK_HEADER_BYTES);
    }
    is_only
}

/// The header of the last block of a frame, compressed (RFC 8878 §3.1.1.2); `None` for what no block can be.
fn only_block(block_bytes: usize) -> Option<[u8; BLOCK_HEADER_BYTES]> {
    const LAST_AND_COMPRESSED: u32 = 1 | 2 << 1;
    let size = u32::try_from(block_bytes).ok().filter(|&size| size <= MAX_BLOCK_BYTES)?;
    let [a, b, c, _] = (size << 3 | LAST_AND_COMPRESSED).to_le_bytes();
    Some([a, b, c])
}

/// Unpacks a block whose header was cut off.
///
/// # Errors
/// As [`unpack`].
pub(crate) fn unpack_only_block(block: &[u8], raw_bytes: usize, reference: Reference<'_>) -> Result<Vec<u8>, Error> {
    let header = only_block(block.len()).ok_or_else(|| refused(raw_bytes, "it is larger than a block"))?;
    unpack(&[&header, block].concat(), raw_bytes, reference)
}

/// Unpacks blocks that must yield exactly `raw_bytes`, which the caller has checked against its limits.
///
/// Decodes in one call into a buffer of that size. The buffer is then its own window, and zstd fails rather than write
/// beyond its end.
///
/// # Errors
/// [`Error::Payload`] when the blocks are damaged, or yield more or fewer bytes.
pub(crate) fn unpack(blocks: &[u8], raw_bytes: usize, reference: Reference<'_>) -> Result<Vec<u8>, Error> {
    let mut frame = Vec::with_capacity(MAX_HEADER_BYTES + blocks.len());
    put_header(&mut frame, raw_bytes);
    frame.extend_from_slice(blocks);
    unpack_frame(&frame, raw_bytes, reference)
}

/// Unpacks a zstd frame less its magic number: the form of version 1.
///
/// # Errors
/// As [`unpack`].
pub(crate) fn unpack_without_magic(packed: &[u8], raw_bytes: usize) -> Result<Vec<u8>, Error> {
    unpack_frame(&[&ZSTD_MAGIC, packed].concat(), raw_bytes, Reference::Nothing)
}

fn unpack_frame(frame: &[u8], raw_bytes: usize, reference: Reference<'_>) -> Result<Vec<u8>, Error> {
    let mut raw = Vec::with_capacity(raw_bytes);
    let read = CONTEXTS.with_borrow_mut(|(_, context)| match reference {
        Reference::Nothing => context.decompress(&mut raw, frame),
        Reference::Dictionary(dictionary) => context.decompress_using_ddict(&mut raw, frame, dictionary.unpacker()),
        Reference::Prefix { bytes, .. } => context.decompress_using_dict(&mut raw, frame, bytes),
    });
    read.map_err(|code| refused(raw_bytes, get_error_name(code)))?;
    check_size(&raw, raw_bytes)?;
    Ok(raw)
}

/// Reads a payload that is not packed.
///
/// # Errors
/// [`Error::Payload`] when it has another size.
pub(crate) fn unpack_raw(payload: &[u8], raw_bytes: usize) -> Result<Vec<u8>, Error> {
    check_size(payload, raw_bytes)?;
    Ok(payload.to_vec())
}

fn check_size(raw: &[u8], declared_bytes: usize) -> Result<(), Error> {
    if raw.len() != declared_bytes {
        return Err(refused(declared_bytes, format_args!("it has {} bytes", raw.len())));
    }
    Ok(())
}

fn refused(declared_bytes: usize, reason: impl ToString) -> Error {
    Error::Payload { declared_bytes, reason: reason.to_string() }
}

/// Returns where the blocks of a zstd frame start (RFC 8878 §3.1.1.1).
fn header_bytes(frame: &[u8]) -> Option<usize> {
    let descriptor = *frame.strip_prefix(&ZSTD_MAGIC)?.first()?;
    let single_segment = descriptor & 0b0010_0000 != 0;
    let window = usize::from(!single_segment);
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 0b11)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        size => 1 << size,
    };
    let header = ZSTD_MAGIC.len() + 1 + window + dictionary_id + content_size;
    (header <= frame.len()).then_some(header)
}

/// Writes the header of a single-segment frame of `raw_bytes` that names no dictionary: the one for any blocks of ours.
fn put_header(out: &mut Vec<u8>, raw_bytes: usize) {
    const SINGLE_SEGMENT: u8 = 0b0010_0000;
    out.extend_from_slice(&ZSTD_MAGIC);
    match raw_bytes as u64 {
        size @ 0..=0xff => out.extend_from_slice(&[SINGLE_SEGMENT, size as u8]),
        size @ 0x100..=0x100ff => {
            out.push(1 << 6 | SINGLE_SEGMENT);
            out.extend_from_slice(&(size as u16).wrapping_sub(0x100).to_le_bytes());
        }
        size => {
            out.push(3 << 6 | SINGLE_SEGMENT);
            out.extend_from_slice(&size.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text of 16 letters without repetitions.
    fn text(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        noise.into_iter().map(|byte| b'a' + byte % 16).collect()
    }

    fn prefixed(bytes: &[u8]) -> Reference<'_> {
        Reference::Prefix { bytes, level: LEVEL }
    }

    #[test]
    fn blocks_come_back_at_every_width_of_the_content_size() {
        for bytes in [0, 1, 255, 256, 257, 65_791, 65_792, 300_000, 3_000_000] {
            let raw = text(bytes);
            let blocks = pack(&raw, Reference::Nothing).unwrap();
            assert_eq!(unpack(&blocks, bytes, Reference::Nothing).unwrap(), raw, "{bytes}");
        }
    }

    #[test]
    fn a_prefix_makes_its_own_text_almost_free() {
        let (prefix, raw) = (text(40_000), text(4_000));
        let alone = pack(&raw, Reference::Nothing).unwrap();
        let blocks = pack(&raw, prefixed(&prefix)).unwrap();
        assert!(blocks.len() < 30 && blocks.len() < alone.len() / 10, "{} of {}", blocks.len(), alone.len());
        assert_eq!(unpack(&blocks, raw.len(), prefixed(&prefix)).unwrap(), raw);
        let other = unpack(&blocks, raw.len(), prefixed(&prefix[1..]));
        assert_ne!(other.as_deref(), Ok(raw.as_slice()));
    }

    #[test]
    fn a_payload_of_another_size_is_refused() {
        let raw = vec![b'x'; 10_000];
        let blocks = pack(&raw, Reference::Nothing).unwrap();
        for declared in [0, 1, 9_999, 10_001, 20_000, 100_000] {
            let refused = unpack(&blocks, declared, Reference::Nothing);
            assert!(matches!(refused, Err(Error::Payload { .. })), "{declared}");
        }
        assert!(matches!(unpack_raw(b"abc", 2), Err(Error::Payload { .. })));
        assert!(matches!(unpack(b"nonsense", 8, Reference::Nothing), Err(Error::Payload { .. })));
    }

    #[test]
    fn the_same_bytes_are_packed_the_same_way_whatever_came_before() {
        let (raw, prefix) = (text(900), text(20_000));
        let first = [Reference::Nothing, prefixed(&prefix)].map(|reference| pack(&raw, reference));
        for bytes in [10, 50_000, 400_000] {
            pack(&text(bytes), prefixed(&text(bytes / 2)));
            let again = [Reference::Nothing, prefixed(&prefix)].map(|reference| pack(&raw, reference));
            assert_eq!(again, first);
        }
    }
}
