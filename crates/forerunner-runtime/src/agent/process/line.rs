//! Lines of bounded length from a pipe.

use std::{io, ops::Range};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is asked of the pipe at once, in bytes.
const CHUNK_BYTES: usize = 8 << 10;
/// A buffer that grew beyond this gives its memory back once it is empty.
const KEPT_BYTES: usize = 64 << 10;

/// A line is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineTooLong;

/// Splits what a pipe delivers into lines, and buffers at most one line and one chunk.
///
/// `tokio`'s own line reader grows without bound: a child that writes 256 MiB without a newline costs the node as much.
pub(super) struct LineReader<R> {
    pipe: R,
    chunk: Box<[u8]>,
    buffer: Vec<u8>,
    /// Where the first line that was not handed out begins.
    start: usize,
    /// Up to where no newline was found: each byte is looked at once.
    scanned: usize,
    max_line_bytes: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `max_line_bytes`, not counting the newline.
    pub(super) fn new(pipe: R, max_line_bytes: usize) -> Self {
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        Self { pipe, chunk, buffer: Vec::new(), start: 0, scanned: 0, max_line_bytes }
    }

    /// Reads once from the pipe; 0 bytes mean that it ended. Dropping the future loses nothing.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        let count = self.pipe.read(&mut self.chunk).await?;
        self.compact();
        self.buffer.extend_from_slice(&self.chunk[..count]);
        Ok(count)
    }

    /// Takes the next whole line out of the buffer, without its newline.
    pub(super) fn next_line(&mut self) -> Result<Option<Range<usize>>, LineTooLong> {
        let found = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n');
        let end = found.map_or(self.buffer.len(), |offset| self.scanned + offset);
        if end - self.start > self.max_line_bytes {
            return Err(LineTooLong);
        }
        self.scanned = end;
        if found.is_none() {
            return Ok(None);
        }
        let line = self.start..end;
        self.start = end + 1;
        self.scanned = self.start;
        Ok(Some(line))
    }

    /// Returns the bytes of a line just taken. Valid until the next [`LineReader::fill`].
    pub(super) fn bytes(&self, line: Range<usize>) -> &[u8] {
        &self.buffer[line]
    }

    /// Forgets the lines already handed out.
    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(KEPT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8], max: usize) -> Result<Vec<Vec<u8>>, LineTooLong> {
        let mut reader = LineReader::new(input, max);
        let mut lines = Vec::new();
        loop {
            while let Some(line) = reader.next_line()? {
                lines.push(reader.bytes(line).to_vec());
            }
            if reader.fill().await.unwrap() == 0 {
                return Ok(lines);
            }
        }
    }

    #[tokio::test]
    async fn lines_come_out_as_they_went_in() {
        let long = "x".repeat(3 * CHUNK_BYTES);
        let text = format!("a\n\n{long}\nb\nrest without newline");
        let found = lines(text.as_bytes(), 4 * CHUNK_BYTES).await.unwrap();
        assert_eq!(found, [b"a".to_vec(), Vec::new(), long.into_bytes(), b"b".to_vec()]);
    }

    #[tokio::test]
    async fn a_line_over_the_limit_is_refused_before_it_is_buffered() {
        let flood = vec![b'x'; 3 << 20];
        let mut reader = LineReader::new(flood.as_slice(), 1 << 16);
        while reader.next_line() == Ok(None) {
            reader.fill().await.unwrap();
        }
        assert!(reader.buffer.len() <= (1 << 16) + CHUNK_BYTES, "{} bytes buffered", reader.buffer.len());
    }

    #[tokio::test]
    async fn the_limit_itself_is_allowed() {
        assert_eq!(lines(b"1234\n", 4).await.unwrap(), [b"1234"]);
        assert_eq!(lines(b"12345\n", 4).await, Err(LineTooLong));
    }
}
