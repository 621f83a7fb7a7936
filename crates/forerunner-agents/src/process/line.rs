//! Lines of bounded length from a pipe, plain or packed.

use std::{io, ops::Range};

use forerunner_context::{Error, StreamUnpacker};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is asked of the pipe at once, in bytes.
const CHUNK_BYTES: usize = 8 << 10;
/// An empty buffer that is larger than this frees the memory above it.
const RETAINED_BYTES: usize = 64 << 10;

/// A reason why no more lines can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LineError {
    /// A line is longer than allowed.
    TooLong,
    /// What was read is no packed stream.
    Stream(Error),
}

/// Splits the bytes of a pipe into lines, and buffers at most one line and one chunk.
///
/// `tokio`'s own line reader grows without bound: a child that writes 256 MiB without a newline costs the node as much.
pub(super) struct LineReader<R> {
    pipe: R,
    chunk: Box<[u8]>,
    buffer: Vec<u8>,
    /// The start of the first line that was not returned.
    start: usize,
    /// The end of the part without a newline, so that each byte is searched once.
    scanned: usize,
    max_line_bytes: usize,
    packed: Option<PackedInput>,
}

/// Packed lines. They are unpacked a chunk at a time, so that a decompression bomb is noticed as early as a long line.
struct PackedInput {
    unpacker: StreamUnpacker,
    /// What was read and not unpacked yet.
    bytes: Vec<u8>,
    /// Whether there may be more to unpack without reading.
    is_pending: bool,
    broken: Option<Error>,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `max_line_bytes`, not counting the newline.
    pub(super) fn new(pipe: R, max_line_bytes: usize) -> Self {
        let chunk = vec![0; CHUNK_BYTES].into_boxed_slice();
        Self { pipe, chunk, buffer: Vec::new(), start: 0, scanned: 0, max_line_bytes, packed: None }
    }

    /// Treats everything after the last returned line as a packed stream.
    pub(super) fn unpack_with(&mut self, unpacker: StreamUnpacker) {
        self.compact();
        let bytes = std::mem::take(&mut self.buffer);
        self.scanned = 0;
        self.packed = Some(PackedInput { unpacker, is_pending: !bytes.is_empty(), bytes, broken: None });
    }

    /// Reads once from the pipe, or unpacks what was read; answers how much was read, and nothing if the pipe ended.
    /// Dropping the future loses nothing.
    pub(super) async fn fill(&mut self) -> io::Result<Option<usize>> {
        self.compact();
        let Some(packed) = &mut self.packed else {
            let count = self.pipe.read(&mut self.chunk).await?;
            self.buffer.extend_from_slice(&self.chunk[..count]);
            return Ok(Some(count).filter(|count| *count > 0));
        };
        let mut count = 0;
        if !packed.is_pending {
            count = self.pipe.read(&mut self.chunk).await?;
            if count == 0 {
                return Ok(None);
            }
            packed.bytes.extend_from_slice(&self.chunk[..count]);
        }
        packed.unpack(&mut self.buffer);
        Ok(Some(count))
    }

    /// Returns the next whole line of the buffer, without its newline.
    pub(super) fn next_line(&mut self) -> Result<Option<Range<usize>>, LineError> {
        let found = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n');
        let end = found.map_or(self.buffer.len(), |offset| self.scanned + offset);
        if end - self.start > self.max_line_bytes {
            return Err(LineError::TooLong);
        }
        self.scanned = end;
        if found.is_none() {
            let broken = self.packed.as_ref().and_then(|packed| packed.broken.clone());
            return broken.map_or(Ok(None), |error| Err(LineError::Stream(error)));
        }
        let line = self.start..end;
        self.start = end + 1;
        self.scanned = self.start;
        Ok(Some(line))
    }

    /// Returns the bytes of a line that was just returned. Valid until the next [`LineReader::fill`].
    pub(super) fn bytes(&self, line: Range<usize>) -> &[u8] {
        &self.buffer[line]
    }

    /// Drops the lines that were returned.
    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(RETAINED_BYTES);
        }
    }
}

impl PackedInput {
    /// Unpacks one chunk at most.
    fn unpack(&mut self, out: &mut Vec<u8>) {
        let before = out.len();
        match self.unpacker.unpack(&self.bytes, out) {
            Ok(consumed) => {
                self.bytes.drain(..consumed);
                self.is_pending = consumed > 0 || out.len() > before;
            }
            Err(error) => {
                self.is_pending = false;
                self.broken = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use forerunner_context::{StreamPacker, StreamWindow};

    use super::*;

    async fn lines(input: &[u8], max: usize) -> Result<Vec<Vec<u8>>, LineError> {
        all(LineReader::new(input, max)).await
    }

    async fn all(mut reader: LineReader<&[u8]>) -> Result<Vec<Vec<u8>>, LineError> {
        let mut lines = Vec::new();
        loop {
            while let Some(line) = reader.next_line()? {
                lines.push(reader.bytes(line).to_vec());
            }
            if reader.fill().await.unwrap().is_none() {
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
        assert_eq!(lines(b"12345\n", 4).await, Err(LineError::TooLong));
    }

    fn window() -> StreamWindow {
        StreamWindow::new(64 << 10).unwrap()
    }

    fn packed(messages: &[&[u8]]) -> Vec<u8> {
        let (mut packer, mut out) = (StreamPacker::new(window()).unwrap(), Vec::new());
        messages.iter().for_each(|message| packer.pack(message, &mut out).unwrap());
        out
    }

    /// Reads a plain line, and what follows it packed.
    async fn after_a_plain_line(rest: &[u8], max: usize) -> Result<Vec<Vec<u8>>, LineError> {
        let input = [b"plain\n", rest].concat();
        let mut reader = LineReader::new(input.as_slice(), max);
        while reader.next_line()?.is_none() {
            reader.fill().await.unwrap();
        }
        reader.unpack_with(StreamUnpacker::new(window()).unwrap());
        all(reader).await
    }

    #[tokio::test]
    async fn packed_lines_come_out_as_they_went_in() {
        let long = "x".repeat(30 * CHUNK_BYTES);
        let stream = packed(&[b"a\n", b"b\nc", long.as_bytes(), b"\n", b"rest"]);
        let found = after_a_plain_line(&stream, 1 << 20).await.unwrap();
        assert_eq!(found, [b"a".to_vec(), b"b".to_vec(), format!("c{long}").into_bytes()]);
    }

    #[tokio::test]
    async fn a_bomb_is_a_line_over_the_limit_and_is_not_unpacked() {
        let stream = packed(&[b"first\n", &vec![b'x'; 64 << 20]]);
        let mut reader = LineReader::new(stream.as_slice(), 1 << 16);
        reader.unpack_with(StreamUnpacker::new(window()).unwrap());
        let refused = loop {
            match reader.next_line() {
                Ok(_) => reader.fill().await.unwrap(),
                Err(refused) => break refused,
            };
        };
        assert_eq!(refused, LineError::TooLong);
        assert!(reader.buffer.len() <= (1 << 16) + CHUNK_BYTES, "{} bytes unpacked", reader.buffer.len());
    }

    #[tokio::test]
    async fn damage_is_an_error_once_and_for_all() {
        let stream = [packed(&[&[b'x'; 20_000], b"\n"]), b"no stream".to_vec()].concat();
        let mut reader = LineReader::new(stream.as_slice(), 1 << 16);
        reader.unpack_with(StreamUnpacker::new(window()).unwrap());
        let damaged = all(reader).await.unwrap_err();
        assert!(matches!(damaged, LineError::Stream(Error::Stream { .. })), "{damaged:?}");
    }
}
