//! Labels as flags: `--label KEY=VALUE`.

use std::{fmt, str::FromStr};

/// A pair that tasks are found by. A `=` or a backslash in its key is written behind a backslash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
}

/// A flag that is no label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoLabel(String);

impl fmt::Display for NoLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no label; write KEY=VALUE, such as team=search, and a `=` in the key as `\\=`", self.0)
    }
}

impl std::error::Error for NoLabel {}

impl FromStr for Label {
    type Err = NoLabel;

    fn from_str(text: &str) -> Result<Self, NoLabel> {
        let mut key = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '=' => return Ok(Self { key, value: chars.collect() }),
                '\\' if chars.as_str().starts_with(['=', '\\']) => key.extend(chars.next()),
                other => key.push(other),
            }
        }
        Err(NoLabel(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_written() {
        for (text, key, value) in [
            ("team=search", "team", "search"),
            ("url=http://x?a=b", "url", "http://x?a=b"),
            (r"a\=b=c", "a=b", "c"),
            (r"a\\=c", r"a\", "c"),
            (r"C:\dir=x\=y", r"C:\dir", r"x\=y"),
            ("urn:team=", "urn:team", ""),
        ] {
            assert_eq!(text.parse(), Ok(Label { key: key.to_owned(), value: value.to_owned() }), "{text}");
        }
        assert!(r"a\=b".parse::<Label>().unwrap_err().to_string().contains("such as team=search"));
    }
}
