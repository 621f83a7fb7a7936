//! JSON texts that are passed along unparsed.

use std::{cell::Cell, fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Error, json_text};

/// A JSON text, checked once and then passed along unparsed. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload(Arc<str>);

impl Payload {
    /// Deepest nesting of arrays and objects.
    ///
    /// Common parsers stop at 127 levels or a few hundred, and a message to an agent adds two around the input. A
    /// parser that stops would crash each agent that gets the task.
    pub const MAX_NESTING: usize = 100;

    /// Checks that `text` is one JSON value that every agent can read, and wraps it. It has at most
    /// [`Self::MAX_NESTING`] levels and no halves of surrogate pairs.
    ///
    /// # Errors
    /// [`Error::Payload`] with the parser's message, [`Error::Nesting`], [`Error::HalfSurrogate`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => Self::from_raw(value),
            Err(error) => Err(Error::Payload { reason: error.to_string() }),
        }
    }

    /// Wraps JSON text that a parser has skipped, which it does however deep it is nested.
    ///
    /// # Errors
    /// [`Error::Nesting`], [`Error::HalfSurrogate`].
    pub fn from_raw(value: &RawValue) -> Result<Self, Error> {
        Self::bounded(value.get())
    }

    /// Wraps a JSON text of an agent. Halves of surrogate pairs become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Nesting`].
    pub fn mended(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, Error> {
        json_text::check_nesting(text.as_ref())?;
        Ok(match json_text::mend_surrogates(text.as_ref()) {
            Some(mended) => Self(mended.into()),
            None => Self(text.into()),
        })
    }

    fn bounded(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, Error> {
        json_text::check(text.as_ref())?;
        Ok(Self(text.into()))
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`Error::Payload`] when the value has no JSON form, such as a map with keys that are not strings;
    /// [`Error::Nesting`], [`Error::HalfSurrogate`].
    pub fn from_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        Self::written(value, |text| Self::bounded(text))
    }

    /// Writes a value of an agent as JSON; see [`Payload::mended`].
    ///
    /// # Errors
    /// [`Error::Payload`] when the value has no JSON form; [`Error::Nesting`].
    pub fn mended_value<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        Self::written(value, |text| Self::mended(text))
    }

    fn written<T: Serialize + ?Sized>(
        value: &T,
        wrap: impl FnOnce(&str) -> Result<Self, Error>,
    ) -> Result<Self, Error> {
        thread_local! {
            /// A buffer to write in, reused from value to value.
            static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        /// The largest buffer that is reused, in bytes.
        const KEPT: usize = 64 * 1024;
        let mut room = ROOM.take();
        room.clear();
        let written = serde_json::to_writer(&mut room, value);
        let payload = match written.map(|()| std::str::from_utf8(&room)) {
            Ok(Ok(text)) => wrap(text),
            Ok(Err(error)) => Err(Error::Payload { reason: error.to_string() }),
            Err(error) => Err(Error::Payload { reason: error.to_string() }),
        };
        if room.capacity() <= KEPT {
            ROOM.set(room);
        }
        payload
    }

    /// Wraps text that is known to be JSON, such as text that a store once accepted.
    pub fn trusted(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The JSON value `null`.
    pub fn null() -> Self {
        Self(Arc::from("null"))
    }

    /// Reads the JSON text as a value of type `T`.
    ///
    /// # Errors
    /// [`Error::Payload`] when the text does not describe a `T`.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_str(&self.0).map_err(|error| Error::Payload { reason: error.to_string() })
    }

    /// Returns one text for all texts of this value: whatever their spaces, the order of members, escapes, and the spelling of
    /// numbers, which are compared exactly (`1`, `1.0` and `1e0` are one number).
    pub fn canonical(&self) -> String {
        crate::canonical::canonical(&self.0)
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the size of the JSON text, in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the text is empty, which no accepted payload is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Payload {
    /// Payloads may contain secrets, so only the size is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(&self.0) {
            Ok(raw) => raw.serialize(serializer),
            Err(error) => Err(serde::ser::Error::custom(error)),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_raw(&raw).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_and_never_printed() {
        let payload = Payload::parse(r#" {"password": "secret"} "#).unwrap();
        assert_eq!(payload.as_str(), r#"{"password": "secret"}"#);
        assert!(!format!("{payload:?}").contains("secret"));
        assert!(Payload::parse("{").is_err());
        assert!(Payload::parse(&"[".repeat(100_000)).is_err());
        assert!(matches!(Payload::parse(r#""\ud800""#), Err(Error::HalfSurrogate { .. })));
        assert_eq!(Payload::mended(r#"{"\uD83D":"cut \ud83d"}"#).unwrap().as_str(), r#"{"\ufffd":"cut \ufffd"}"#);
        assert_eq!(serde_json::to_string(&payload).unwrap(), payload.as_str());
    }

    #[test]
    fn payloads_are_not_nested_deeper_than_agents_can_read() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (text, accepted) in [
            (nested(Payload::MAX_NESTING), true),
            (nested(Payload::MAX_NESTING + 1), false),
            (nested(100_000), false),
            (format!("{:?}", "[{".repeat(1_000)), true),
            (r#"["\"[[", {"]": []}]"#.to_owned(), true),
            (format!("[{}0]", "[],{},".repeat(1_000)), true),
        ] {
            let shown: String = text.chars().take(40).collect();
            assert_eq!(Payload::parse(&text).is_ok(), accepted, "parsed: {shown}");
            assert_eq!(serde_json::from_str::<Payload>(&text).is_ok(), accepted, "read: {shown}");
        }
    }
}
