//! The agent's end of the pipes: lines, plain or packed.

use std::{
    io::{self, Read, Write},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Instant,
};

use forerunner_context::{Dictionary, Error, StreamPacker, StreamUnpacker, StreamWindow};

/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Reads lines of any length, since the node is trusted, and writes them.
pub(super) struct Wire<W> {
    pieces: Receiver<Vec<u8>>,
    /// What was read and unpacked, and not returned yet.
    text: Vec<u8>,
    /// Up to where there is no line break in it.
    scanned: usize,
    output: W,
    streams: Option<(StreamPacker, StreamUnpacker)>,
}

impl<W: Write> Wire<W> {
    /// Begins to read, on a thread of its own so that a cancellation arrives while a task sleeps.
    pub(super) fn new(mut input: impl Read + Send + 'static, output: W) -> Self {
        let (sender, pieces) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            while let Ok(count @ 1..) = input.read(&mut chunk)
                && sender.send(chunk[..count].to_vec()).is_ok()
            {}
        });
        Self { pieces, text: Vec::new(), scanned: 0, output, streams: None }
    }

    /// Packs all that is read and written from now on, beginning with a dictionary if there is one.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn pack(&mut self, window: StreamWindow, dictionary: Option<&Dictionary>) -> Result<(), Error> {
        let (mut packer, mut unpacker) = (StreamPacker::new(window)?, StreamUnpacker::new(window)?);
        if let Some(dictionary) = dictionary {
            (packer, unpacker) = (packer.with_dictionary(dictionary)?, unpacker.with_dictionary(dictionary)?);
        }
        self.streams = Some((packer, unpacker));
        // The node waits for the answer to `initialize`: nothing was read ahead.
        debug_assert!(self.text.is_empty(), "the node writes once it has its answer");
        Ok(())
    }

    /// Waits for the next line, at most until `deadline`.
    ///
    /// # Errors
    /// `Timeout` at the deadline; `Disconnected` when the input has ended, or is no stream.
    pub(super) fn next_line(&mut self, deadline: Option<Instant>) -> Result<String, RecvTimeoutError> {
        loop {
            if let Some(offset) = self.text[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let line = self.text.drain(..=self.scanned + offset).collect::<Vec<u8>>();
                self.scanned = 0;
                return Ok(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned());
            }
            self.scanned = self.text.len();
            let piece = match deadline {
                None => self.pieces.recv().map_err(|_| RecvTimeoutError::Disconnected)?,
                Some(deadline) => self.pieces.recv_timeout(deadline.saturating_duration_since(super::now()))?,
            };
            self.append(&piece).map_err(|_| RecvTimeoutError::Disconnected)?;
        }
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), Error> {
        let Some((_, unpacker)) = &mut self.streams else {
            self.text.extend_from_slice(piece);
            return Ok(());
        };
        let mut consumed = 0;
        loop {
            let before = self.text.len();
            let count = unpacker.unpack(&piece[consumed..], &mut self.text)?;
            consumed += count;
            if count == 0 && self.text.len() == before {
                return Ok(());
            }
        }
    }

    /// Writes a line, which ends with a line break, at once.
    ///
    /// # Errors
    /// When the output cannot be written, as after the end of the node.
    pub(super) fn write_line(&mut self, line: &str) -> io::Result<()> {
        match &mut self.streams {
            None => self.output.write_all(line.as_bytes())?,
            Some((packer, _)) => {
                let mut packed = Vec::new();
                packer.pack(line.as_bytes(), &mut packed).map_err(io::Error::other)?;
                self.output.write_all(&packed)?;
            }
        }
        self.output.flush()
    }
}
