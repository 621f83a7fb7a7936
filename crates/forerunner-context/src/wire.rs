//! Reading and writing the fields of a frame.

use crate::Error;

/// Seven bits a byte, so a 64-bit number has at most ten.
const MAX_NUMBER_BYTES: usize = 10;

/// Appends `value` as unsigned LEB128 in its shortest form.
pub(crate) fn put_number(out: &mut Vec<u8>, value: usize) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads fields from the front of a frame and tracks the position.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes not yet read. An upper bound for anything the frame claims to list.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// Limits reading to `end`, which is not before the position.
    pub(crate) fn up_to(self, end: usize) -> Self {
        Self { bytes: &self.bytes[..end], ..self }
    }

    /// Everything not yet read.
    pub(crate) fn rest(self) -> &'a [u8] {
        &self.bytes[self.offset..]
    }

    /// # Errors
    /// [`Error::Cut`] when fewer than `N` bytes remain.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some(found) = self.bytes[self.offset..].first_chunk() else {
            return Err(self.cut(N));
        };
        self.offset += N;
        Ok(*found)
    }

    /// # Errors
    /// [`Error::Cut`] at the end of the frame.
    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    /// Reads an unsigned LEB128 number in its shortest form, so that a value has one encoding only.
    ///
    /// # Errors
    /// [`Error::Cut`] at the end of the frame, [`Error::Number`] when a shorter form exists or it does not fit.
    pub(crate) fn number(&mut self) -> Result<usize, Error> {
        let offset = self.offset;
        let mut value = 0u128;
        for index in 0..MAX_NUMBER_BYTES {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let shortest = index == 0 || byte != 0;
                return usize::try_from(value).ok().filter(|_| shortest).ok_or(Error::Number { offset });
            }
        }
        Err(Error::Number { offset })
    }

    /// # Errors
    /// [`Error::Cut`] when fewer than `needed_bytes` remain.
    pub(crate) fn check_left(&self, needed_bytes: usize) -> Result<(), Error> {
        if needed_bytes > self.left() {
            return Err(self.cut(needed_bytes));
        }
        Ok(())
    }

    fn cut(&self, needed_bytes: usize) -> Error {
        Error::Cut { offset: self.offset, needed_bytes, frame_bytes: self.bytes.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Result<usize, Error> {
        Reader::new(bytes).number()
    }

    #[test]
    fn numbers_survive_at_their_borders() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX as usize, usize::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            assert_eq!(number(&out), Ok(value), "{out:02x?}");
            assert!(matches!(number(&out[..out.len() - 1]), Err(Error::Cut { .. })));
        }
    }

    #[test]
    fn a_number_has_one_form_only() {
        assert_eq!(number(&[0x80, 0x00]), Err(Error::Number { offset: 0 }));
        assert_eq!(number(&[0xff; 10]), Err(Error::Number { offset: 0 }));
        assert_eq!(
            number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            Err(Error::Number { offset: 0 })
        );
    }

    #[test]
    fn nothing_is_read_beyond_the_end_that_was_set() {
        let mut reader = Reader::new(&[1, 2, 3, 4]);
        assert_eq!(reader.byte(), Ok(1));
        let mut reader = reader.up_to(2);
        assert_eq!((reader.check_left(2).is_err(), reader.byte()), (true, Ok(2)));
        assert_eq!(reader.byte(), Err(Error::Cut { offset: 2, needed_bytes: 1, frame_bytes: 2 }));
    }
}
