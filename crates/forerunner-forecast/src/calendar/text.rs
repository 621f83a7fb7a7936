//! Bytes as text: base64 without padding (RFC 4648).

use std::collections::VecDeque;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of these bytes: four characters for every three.
pub(super) fn encoded(bytes: impl IntoIterator<Item = u8>) -> String {
    let mut text = String::new();
    let (mut buffer, mut bits) = (0u32, 0);
    let mut put = |buffer: u32| text.push(char::from(ALPHABET[(buffer & 63) as usize]));
    for byte in bytes {
        buffer = buffer << 8 | u32::from(byte);
        bits += 8;
        while bits >= 6 {
            bits -= 6;
            put(buffer >> bits);
        }
    }
    if bits > 0 {
        put(buffer << (6 - bits));
    }
    text
}

/// The bytes of a text; `None` if it has other characters, no end, or more than `most` bytes.
pub(super) fn decoded(text: &str, most: usize) -> Option<VecDeque<u8>> {
    let n = text.len() / 4 * 3 + (text.len() % 4).saturating_sub(1);
    if text.len() % 4 == 1 || n > most {
        return None;
    }
    // As much as there will ever be, so that nothing is allocated later.
    let mut bytes = VecDeque::with_capacity(most);
    let (mut buffer, mut bits) = (0u32, 0);
    for character in text.bytes() {
        buffer = buffer << 6 | value(character)?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push_back((buffer >> bits) as u8);
        }
    }
    Some(bytes)
}

fn value(character: u8) -> Option<u32> {
    let (base, first) = match character {
        b'A'..=b'Z' => (0, b'A'),
        b'a'..=b'z' => (26, b'a'),
        b'0'..=b'9' => (52, b'0'),
        b'+' => return Some(62),
        b'/' => return Some(63),
        _ => return None,
    };
    Some(base + u32::from(character - first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(encoded(bytes.bytes()), text);
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let read = decoded(&encoded(bytes.iter().copied()), 100);
            prop_assert_eq!(read, Some(VecDeque::from(bytes)));
        }

        #[test]
        fn any_text_gives_at_most_what_is_asked_for(text in ".{0,60}") {
            prop_assert!(decoded(&text, 20).is_none_or(|bytes| bytes.len() <= 20));
        }
    }
}
