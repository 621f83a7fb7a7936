//! Lines of bounded length.

use std::io::{self, BufRead};

use super::source::LONGEST_RECORD;

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Its bytes.
    Whole(&'a [u8]),
    /// It was longer than a record may be, and was skipped.
    TooLong,
}

/// Reads lines one by one into the same buffer.
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The number of the line read last, from 1.
    pub number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Begins with line 1.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), number: 0 }
    }

    /// Reads the next line; `None` at the end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let mut is_too_long = false;
        loop {
            let piece = self.reader.fill_buf()?;
            if piece.is_empty() {
                if self.buffer.is_empty() && !is_too_long {
                    return Ok(None);
                }
                break;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let text = &piece[..end.unwrap_or(piece.len())];
            is_too_long |= (self.buffer.len() + text.len()) as u64 > LONGEST_RECORD;
            if !is_too_long {
                self.buffer.extend_from_slice(text);
            }
            let read = end.map_or(piece.len(), |end| end + 1);
            self.reader.consume(read);
            if end.is_some() {
                break;
            }
        }
        self.number += 1;
        let line = self.buffer.strip_suffix(b"\r").unwrap_or(&self.buffer);
        Ok(Some(if is_too_long { Line::TooLong } else { Line::Whole(line) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_any_way_and_a_long_one_is_skipped() {
        let mut text = b"one\r\n\ntwo\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', LONGEST_RECORD as usize + 1));
        text.extend(b"\nlast");
        let mut lines = Lines::new(io::BufReader::new(&text[..]));
        for line in [Line::Whole(b"one"), Line::Whole(b""), Line::Whole(b"two"), Line::TooLong, Line::Whole(b"last")] {
            assert_eq!(lines.next().expect("in memory"), Some(line));
        }
        assert_eq!(lines.next().expect("in memory"), None);
        assert_eq!(lines.number, 5);
    }
}
