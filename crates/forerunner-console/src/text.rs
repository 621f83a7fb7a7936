//! Text that commands read: files and standard input, with or without a byte order mark.

use crate::Usage;

use std::io::Read;

use unicode_width::UnicodeWidthStr;

/// What some programs, above all on Windows, write in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// The byte order marks of UTF-16.
const UTF_16: [&[u8]; 2] = [&[0xff, 0xfe], &[0xfe, 0xff]];

/// Returns text without a byte order mark in front of it.
pub fn unmarked(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Reads text in UTF-8.
///
/// # Errors
/// What is wrong, and what to do.
pub fn decode(bytes: &[u8]) -> Result<&str, String> {
    if UTF_16.iter().any(|mark| bytes.starts_with(mark)) {
        return Err("it is UTF-16; save it as UTF-8".to_owned());
    }
    std::str::from_utf8(unmarked(bytes)).map_err(|error| format!("it is not UTF-8: {error}; save it as UTF-8"))
}

/// Reads a file, or standard input for `-`. `flag` is the flag that named it.
///
/// # Errors
/// [`Usage`] when it cannot be read, or is not text.
pub fn read(flag: &str, name: &str) -> anyhow::Result<String> {
    let refuse = |why: &dyn std::fmt::Display| Usage(format!("{flag}: {} cannot be read: {why}", place(name)));
    let mut bytes = Vec::new();
    let read = match name {
        "-" => std::io::stdin().lock().read_to_end(&mut bytes).map(drop),
        path => std::fs::read(path).map(|read| bytes = read),
    };
    read.map_err(|error| refuse(&error))?;
    Ok(decode(&bytes).map_err(|why| refuse(&why))?.to_owned())
}

/// Breaks a line between words so that none is wider than `width` columns, unless a word is. Further lines begin with
/// `indent` spaces.
pub fn wrap(line: &str, width: usize, indent: usize) -> String {
    let (mut wrapped, mut column) = (String::new(), 0);
    for word in line.split(' ') {
        if column > 0 && column + 1 + word.width() > width {
            wrapped.push_str(&format!("\n{:indent$}", ""));
            column = indent;
        } else if column > 0 {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += word.width();
    }
    wrapped
}

/// Names what is read, for messages.
pub fn place(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        assert_eq!(decode("\u{feff}{}".as_bytes()), Ok("{}"));
        assert_eq!(decode(b"{}"), Ok("{}"));
        assert_eq!(unmarked("\u{feff}\u{feff}".as_bytes()), "\u{feff}".as_bytes(), "only the first one");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three four", 9, 2), "one two\n  three\n  four");
        assert_eq!(wrap("1234567890 1", 4, 0), "1234567890\n1");
        assert_eq!(wrap("", 4, 0), "");
    }

    #[test]
    fn what_is_no_utf_8_is_refused_with_the_remedy() {
        for bytes in [&b"\xff\xfe{\0}\0"[..], b"\xfe\xff\0{", b"caf\xe9"] {
            let why = decode(bytes).unwrap_err();
            assert!(why.ends_with("save it as UTF-8"), "{why}");
        }
        let missing = read("--input @gone", "/nowhere/gone").unwrap_err();
        assert!(missing.to_string().starts_with("--input @gone: /nowhere/gone cannot be read: "), "{missing}");
        assert!(missing.is::<Usage>());
    }
}
