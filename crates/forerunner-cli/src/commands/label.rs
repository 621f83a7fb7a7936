//! Labels as flags: `--label KEY=VALUE`.

use std::{fmt, str::FromStr};

/// A pair by which tasks are found. The service accepts no key with a `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A flag that is no label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelError(String);

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no label; write KEY=VALUE, such as team=search", self.0)
    }
}

impl std::error::Error for LabelError {}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let (key, value) = text.split_once('=').ok_or_else(|| LabelError(text.to_owned()))?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_split_at_its_first_sign() {
        for (text, key, value) in [("team=search", "team", "search"), ("url=http://x?a=b", "url", "http://x?a=b")] {
            assert_eq!(text.parse(), Ok(Label { key: key.to_owned(), value: value.to_owned() }), "{text}");
        }
        assert!("team".parse::<Label>().unwrap_err().to_string().contains("such as team=search"));
    }
}
