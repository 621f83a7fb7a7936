//! Compresses text for the store. A policy's state has a hundred kilobytes, most of them zeros.

use std::io::{Read, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

/// Longest text that is unpacked: far more than any policy writes.
const MAX_BYTES: u64 = 64 << 20;

/// Compresses a text with zlib and encodes it as base64, since settings are text.
pub(super) fn pack(text: &str) -> String {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    // Writing to a vector cannot fail.
    let packed = packed.write_all(text.as_bytes()).and_then(|()| packed.finish()).unwrap_or_default();
    STANDARD.encode(packed)
}

/// Reverses [`pack`]; `None` for any other text.
pub(super) fn unpack(packed: &str) -> Option<String> {
    let bytes = STANDARD.decode(packed).ok()?;
    let mut text = String::new();
    ZlibDecoder::new(&*bytes).take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_and_zeros_take_no_room() {
        let text = format!("{{\"rates\":[{}1]}}", "0.0,".repeat(20_000));
        let packed = pack(&text);
        assert!(packed.len() < 1_000, "{} bytes", packed.len());
        assert_eq!(unpack(&packed), Some(text));
        assert_eq!([unpack("?"), unpack("AAAA"), unpack(&packed[..packed.len() / 2])], [None, None, None]);
    }
}
