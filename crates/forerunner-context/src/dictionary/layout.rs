//! Where the content of a trained dictionary starts (RFC 8878 §5).

const MAGIC_AND_ID_BYTES: usize = 8;
/// Offsets, match lengths, literal lengths: most symbols of each.
const TABLES: [u32; 3] = [32, 53, 36];
const RECENT_OFFSETS_BYTES: usize = 12;

/// Returns how many bytes precede the content: magic, id, entropy tables, recent offsets. `None` when they are cut.
pub(super) fn content_at(dictionary: &[u8]) -> Option<usize> {
    let mut at = MAGIC_AND_ID_BYTES;
    at += huffman_bytes(*dictionary.get(at)?);
    for symbols in TABLES {
        at += fse_bytes(dictionary.get(at..)?, symbols)?;
    }
    at += RECENT_OFFSETS_BYTES;
    (at <= dictionary.len()).then_some(at)
}

/// Size of a Huffman table's description, by its first byte (§4.2.1.1): packed so many bytes, or half a byte a weight.
fn huffman_bytes(header: u8) -> usize {
    match usize::from(header) {
        packed @ 0..128 => 1 + packed,
        header => 1 + (header - 127).div_ceil(2),
    }
}

/// Size of an FSE table's description (§4.1.1).
fn fse_bytes(table: &[u8], max_symbols: u32) -> Option<usize> {
    let mut bits = Bits { bytes: table, at: 0 };
    let mut left = 1u32 << (bits.take(4)? + 5);
    let mut symbols = 0;
    while left > 0 && symbols < max_symbols {
        let share = bits.share(left)?;
        left = left.checked_sub(share.unsigned_abs())?;
        symbols += 1;
        if share == 0 {
            symbols += bits.zeros()?;
        }
    }
    Some(bits.at.div_ceil(8))
}

/// Reads bits from the lowest of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for bit in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value |= u32::from(byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(value)
    }

    /// Reads one symbol's share of `left` points, from −1 to `left`; the lower values use one bit less.
    fn share(&mut self, left: u32) -> Option<i32> {
        let largest = left + 1;
        let width = largest.ilog2() + 1;
        let short = (1 << width) - 1 - largest;
        let value = self.take(width - 1)?;
        if value < short {
            return Some(value as i32 - 1);
        }
        let value = value | self.take(1)? << (width - 1);
        let value = if value >> (width - 1) == 1 { value - short } else { value };
        Some(value as i32 - 1)
    }

    /// Reads how many more symbols have no share: two bits at a time. A 3 announces more.
    fn zeros(&mut self) -> Option<u32> {
        let mut zeros = 0;
        loop {
            let more = self.take(2)?;
            zeros += more;
            if more < 3 {
                return Some(zeros);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zstd::zstd_safe::CDict;

    use super::*;
    use crate::train::tests::dictionary;

    #[test]
    fn the_content_starts_where_zstd_starts_it() {
        let dictionary = dictionary();
        let at = content_at(dictionary.bytes()).unwrap();
        // zstd refuses recent offsets beyond the content, and the largest of a trained dictionary is 8.
        let loads = |bytes: usize| CDict::try_create(&dictionary.bytes()[..bytes], 3).is_some();
        assert_eq!((loads(at + 7), loads(at + 8)), (false, true));
    }

    #[test]
    fn a_cut_dictionary_has_no_content() {
        let dictionary = dictionary();
        let at = content_at(dictionary.bytes()).unwrap();
        assert!((0..at).all(|cut| content_at(&dictionary.bytes()[..cut]).is_none()));
        assert_eq!(content_at(&dictionary.bytes()[..at]), Some(at));
    }
}
