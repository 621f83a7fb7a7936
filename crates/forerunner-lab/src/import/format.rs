//! The forms of recordings, guessed from their first bytes.

use clap::ValueEnum;
use forerunner_console::text::decode;

use super::{access_log, quote::quote};

/// The form of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns with a header; separated by comma, semicolon, tab or bar.
    Csv,
    /// A JSON object a line, or an array of objects.
    Json,
    /// Spans of OpenTelemetry, as JSON: requests of the OTLP exporter.
    Otlp,
    /// The access log of nginx or Apache, with the time that a request took.
    AccessLog,
}

/// The first bytes of what cannot be read, what it is, and the remedy.
const FOREIGN: [(&[u8], &str, &str); 6] = [
    (b"PK\x03\x04", "a zip archive", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unpack it, for example with `zstd -dc`"),
    (b"BZh", "bzip2", "unpack it, for example with `bzip2 -dc`"),
    (b"\xfd7zXZ", "xz", "unpack it, for example with `xz -dc`"),
    (b"PAR1", "Parquet", "write it as CSV"),
    (b"SQLite format 3", "a SQLite database", "write its table of tasks as CSV"),
];

impl Format {
    /// Guesses the form.
    ///
    /// # Errors Names the form that was found instead, and the remedy.
    pub fn guess(head: &[u8]) -> Result<Self, String> {
        if let Some((_, what, remedy)) = FOREIGN.iter().find(|(magic, ..)| head.starts_with(magic)) {
            return Err(format!("this looks like {what}; {remedy}"));
        }
        if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
            decode(head)?;
        }
        let line = first_line(head);
        if let Some(at) = line.iter().position(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()) {
            return Err(format!(
                "line 1, column {}: this looks like binary data; write it as CSV or JSON lines",
                at + 1
            ));
        }
        let text = String::from_utf8_lossy(head);
        let begin = text.trim_start();
        let is_array = begin.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(['{', '[', ']']));
        if begin.starts_with('{') || is_array {
            let has_spans = ["\"resourceSpans\"", "\"resource_spans\""].iter().any(|key| begin.contains(key));
            return Ok(if has_spans { Self::Otlp } else { Self::Json });
        }
        let is_log = |line: &[u8]| access_log::Entry::parse(&String::from_utf8_lossy(line)).is_some();
        Ok(if head.split(|byte| *byte == b'\n').take(3).any(is_log) { Self::AccessLog } else { Self::Csv })
    }
}

/// The first line, as far as it was read.
pub fn first_line(head: &[u8]) -> &[u8] {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Describes the first line of what is read as CSV and is not, for messages.
pub fn describe(line: &str) -> Option<String> {
    let words = line.split_whitespace().count();
    let is_text = !line.contains([',', ';', '\t', '|']) && words > 3;
    is_text.then(|| format!("this looks like text: `{}`", quote(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_show_the_form() {
        let log = r#"10.0.0.1 - - [10/Oct/2025:13:55:36 +0000] "GET / HTTP/1.1" 200 2 "-" "curl" 0.120"#;
        for (text, format) in [
            ("", Format::Csv),
            ("arrival_s,service_s\n", Format::Csv),
            ("  {\"ts\":1}\n", Format::Json),
            ("[\n {\"ts\":1}]", Format::Json),
            ("{\"resourceSpans\":[]}", Format::Otlp),
            (log, Format::AccessLog),
            ("[error] no JSON", Format::Csv),
        ] {
            assert_eq!(Format::guess(text.as_bytes()), Ok(format), "{text}");
        }
        for (bytes, said) in [
            (&b"PK\x03\x04.."[..], "a zip archive"),
            (b"PAR1", "Parquet"),
            (b"\xff\xfea\0", "UTF-16"),
            (b"a,b\0c\n", "line 1, column 4: this looks like binary data"),
        ] {
            let why = Format::guess(bytes).expect_err(said);
            assert!(why.contains(said), "{why}");
        }
    }
}
