//! Messages packed as one continuous stream: text of an earlier message costs a later one nearly nothing.
//!
//! A stream is one zstd frame (RFC 8878) that is flushed after each message and need never end. Text that is still in
//! its window is referred to, not repeated, whichever context or session it belonged to.

use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, get_error_name, zstd_sys::ZSTD_EndDirective,
};

use crate::{Dictionary, Error, pack::LEVEL};

/// How much is unpacked at a time, in bytes.
const CHUNK_BYTES: usize = 8 << 10;

/// How far back a stream refers: a power of two from 1 KiB to 8 MiB.
///
/// It bounds the memory of both sides. The packing side needs about the window and 2 MB of tables, the unpacking side
/// the window and 256 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamWindow {
    log: u32,
}

impl StreamWindow {
    /// The smallest window, in bytes.
    pub const MIN_BYTES: usize = 1 << 10;
    /// The largest window, in bytes: what any program that reads zstd should be able to read (RFC 8878 §3.1.1.1.2).
    pub const MAX_BYTES: usize = 8 << 20;

    /// A window of so many bytes.
    ///
    /// # Errors
    /// [`Error::StreamWindow`] when that is no power of two, or out of bounds.
    pub fn new(bytes: usize) -> Result<Self, Error> {
        if !bytes.is_power_of_two() || !(Self::MIN_BYTES..=Self::MAX_BYTES).contains(&bytes) {
            return Err(Error::StreamWindow { bytes });
        }
        Ok(Self { log: bytes.ilog2() })
    }

    /// Its size in bytes.
    pub const fn bytes(self) -> usize {
        1 << self.log
    }
}

/// Packs messages, one after the other.
pub struct StreamPacker {
    context: CCtx<'static>,
    chunk: Box<[u8]>,
}

impl StreamPacker {
    /// Begins a stream.
    ///
    /// # Errors
    /// [`Error::Stream`] when there is no memory for it.
    pub fn new(window: StreamWindow) -> Result<Self, Error> {
        let mut context = CCtx::try_create().ok_or_else(|| refused("there is no memory for it"))?;
        for parameter in [CParameter::CompressionLevel(LEVEL), CParameter::WindowLog(window.log)] {
            context.set_parameter(parameter).map_err(named)?;
        }
        Ok(Self { context, chunk: chunk() })
    }

    /// Lets the stream refer to the text of a trained dictionary as if it had been sent before.
    ///
    /// # Errors
    /// [`Error::Stream`] when there is no memory for a copy of it.
    pub fn with_dictionary(mut self, dictionary: &Dictionary) -> Result<Self, Error> {
        self.context.load_dictionary(dictionary.bytes()).map_err(named)?;
        Ok(self)
    }

    /// Packs a message and appends it to `out`, whole: a reader that unpacks `out` has the complete message.
    ///
    /// # Errors
    /// [`Error::Stream`] when there is no memory for it. The stream cannot be used any more then.
    pub fn pack(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let mut input = InBuffer::around(message);
        loop {
            let mut output = OutBuffer::around(&mut *self.chunk);
            let flush = ZSTD_EndDirective::ZSTD_e_flush;
            let left = self.context.compress_stream2(&mut output, &mut input, flush).map_err(named)?;
            out.extend_from_slice(output.as_slice());
            if left == 0 && input.pos == message.len() {
                return Ok(());
            }
        }
    }
}

/// Unpacks a stream, however it is cut into pieces. The bytes are never trusted.
pub struct StreamUnpacker {
    context: DCtx<'static>,
    chunk: Box<[u8]>,
    is_open: bool,
}

impl StreamUnpacker {
    /// Waits for the start of a stream that refers back at most `window`.
    ///
    /// # Errors
    /// [`Error::Stream`] when there is no memory for it.
    pub fn new(window: StreamWindow) -> Result<Self, Error> {
        let mut context = DCtx::try_create().ok_or_else(|| refused("there is no memory for it"))?;
        context.set_parameter(DParameter::WindowLogMax(window.log)).map_err(named)?;
        Ok(Self { context, chunk: chunk(), is_open: false })
    }

    /// Reads streams that refer to this dictionary, and others.
    ///
    /// # Errors
    /// [`Error::Stream`] when there is no memory for a copy of it.
    pub fn with_dictionary(mut self, dictionary: &Dictionary) -> Result<Self, Error> {
        self.context.load_dictionary(dictionary.bytes()).map_err(named)?;
        Ok(self)
    }

    /// Unpacks at most 8 KiB of `packed`, appends them to `out`, and returns how many bytes of `packed` it used. Call
    /// it again with the rest, or with nothing, until it uses and appends nothing. So a decompression bomb is detected
    /// by its first kilobytes.
    ///
    /// Several frames in a row are allowed; each begins anew, without the text of those before.
    ///
    /// # Errors
    /// [`Error::Stream`] when the bytes are no stream, or one with a larger window, which is not allocated.
    pub fn unpack(&mut self, packed: &[u8], out: &mut Vec<u8>) -> Result<usize, Error> {
        let mut input = InBuffer::around(packed);
        let mut output = OutBuffer::around(&mut *self.chunk);
        let hint = self.context.decompress_stream(&mut output, &mut input).map_err(named)?;
        out.extend_from_slice(output.as_slice());
        if input.pos > 0 || output.pos() > 0 {
            self.is_open = hint != 0;
        }
        Ok(input.pos)
    }

    /// Whether a frame has begun and not ended: the normal state of a stream between two messages.
    pub const fn is_open(&self) -> bool {
        self.is_open
    }
}

fn chunk() -> Box<[u8]> {
    vec![0; CHUNK_BYTES].into_boxed_slice()
}

fn named(code: usize) -> Error {
    refused(get_error_name(code))
}

fn refused(reason: &str) -> Error {
    Error::Stream { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
