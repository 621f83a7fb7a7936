//! Finds header names that are too long for actix-http, which panics at 65,536 bytes.

use memchr::memchr;

/// A name of this length is refused.
const MOST_BYTES: usize = 60_000;

/// Searches the raw bytes for a line that begins with too many characters of a header name.
///
/// It does not distinguish heads and bodies: no line of a JSON text begins like that, since strings are quoted.
#[derive(Debug, Default)]
pub(super) struct LongNameScanner {
    /// Characters of a name since the line began; `None` behind any other byte.
    run: Option<usize>,
}

impl LongNameScanner {
    /// Returns whether a name is too long, with these bytes behind those before.
    pub(super) fn find(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        loop {
            if let Some(run) = self.run {
                let more = rest.iter().take_while(|byte| is_of_a_name(**byte)).count();
                self.run = Some(run + more).filter(|_| more == rest.len());
                if run + more >= MOST_BYTES {
                    return true;
                }
            }
            let Some(line_end) = memchr(b'\n', rest) else { return false };
            (self.run, rest) = (Some(0), &rest[line_end + 1..]);
        }
    }
}

/// Whether a byte may be part of a header's name (RFC 9110 §5.6.2, `tchar`).
const fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(text: &str, piece: usize) -> bool {
        let mut names = LongNameScanner::default();
        text.as_bytes().chunks(piece).any(|bytes| names.find(bytes))
    }

    #[test]
    fn a_long_name_is_found_in_pieces_and_a_long_value_is_not() {
        let long = "x".repeat(MOST_BYTES);
        for piece in [7, 4_096, 1 << 20] {
            assert!(finds(&format!("GET / HTTP/1.1\r\nHost: a\r\n{long}"), piece));
            assert!(!finds(&format!("GET / HTTP/1.1\r\nHost: {long}{long}\r\n"), piece));
            assert!(!finds(&format!("GET /{long}{long} HTTP/1.1\r\n"), piece));
            assert!(!finds(&format!("POST / HTTP/1.1\r\n\r\n{{\"input\":\"{long}{long}\"}}"), piece));
        }
    }
}
