//! JSON texts that are passed along unparsed, and values that need no text.

use std::{
    any::Any,
    cell::Cell,
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Error, json_text};

/// A JSON text, checked once and then passed along unparsed. Cloning is cheap.
///
/// Within a process it may be a value instead ([`Payload::of_value`]), whose text is written when somebody reads it.
#[derive(Clone)]
pub struct Payload(Content);

#[derive(Clone)]
enum Content {
    Text(Arc<str>),
    Value(Arc<dyn ValueWithText>),
}

/// A value, and its text once somebody has read it.
struct TypedValue<T> {
    value: T,
    text: OnceLock<Box<str>>,
}

trait ValueWithText: Send + Sync {
    fn value(&self) -> &dyn Any;
    fn text(&self) -> &str;
    fn size_bytes(&self) -> usize;
}

impl<T: Serialize + Send + Sync + 'static> ValueWithText for TypedValue<T> {
    fn value(&self) -> &dyn Any {
        &self.value
    }

    fn text(&self) -> &str {
        self.text.get_or_init(|| match Payload::mended_value(&self.value) {
            Ok(written) => written.as_str().into(),
            Err(_) => "null".into(),
        })
    }

    fn size_bytes(&self) -> usize {
        size_of::<T>()
    }
}

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
            Some(mended) => Self::text(mended),
            None => Self::text(text),
        })
    }

    fn bounded(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, Error> {
        json_text::check(text.as_ref())?;
        Ok(Self::text(text))
    }

    fn text(text: impl Into<Arc<str>>) -> Self {
        Self(Content::Text(text.into()))
    }

    /// Wraps a value for a reader in this process. No text is written while nobody reads one. The text of a value
    /// without a JSON form is `null`.
    pub fn of_value<T: Serialize + Send + Sync + 'static>(value: T) -> Self {
        Self(Content::Value(Arc::new(TypedValue { value, text: OnceLock::new() })))
    }

    /// Returns the value, if it was wrapped as a `T`.
    pub fn value<T: 'static>(&self) -> Option<&T> {
        match &self.0 {
            Content::Value(value) => value.value().downcast_ref(),
            Content::Text(_) => None,
        }
    }

    /// Returns whether it is a value of this process.
    pub const fn is_value(&self) -> bool {
        matches!(self.0, Content::Value(_))
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
        Self::text(text)
    }

    /// The JSON value `null`.
    pub fn null() -> Self {
        Self::text("null")
    }

    /// Reads the JSON text as a value of type `T`.
    ///
    /// # Errors
    /// [`Error::Payload`] when the text does not describe a `T`.
    pub fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_str(self.as_str()).map_err(|error| Error::Payload { reason: error.to_string() })
    }

    /// Returns one text for all texts of this value: whatever their spaces, the order of members, escapes, and the spelling of
    /// numbers, which are compared exactly (`1`, `1.0` and `1e0` are one number).
    pub fn canonical(&self) -> String {
        crate::canonical::canonical(self.as_str())
    }

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Content::Text(text) => text,
            Content::Value(value) => value.text(),
        }
    }

    /// Returns the size of the JSON text, in bytes. For a value it is the size of its type: a text need not exist.
    pub fn len(&self) -> usize {
        match &self.0 {
            Content::Text(text) => text.len(),
            Content::Value(value) => value.size_bytes(),
        }
    }

    /// Returns whether the text is empty, which no accepted payload is.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Content::Text(text) if text.is_empty())
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Payload {}

impl Hash for Payload {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
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
        match serde_json::from_str::<&RawValue>(self.as_str()) {
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
    fn a_value_is_read_as_what_it_is_and_has_a_text_for_everybody_else() {
        let payload = Payload::of_value(vec![1_u8, 2]);
        assert_eq!((payload.value::<Vec<u8>>(), payload.value::<u8>()), (Some(&vec![1, 2]), None));
        assert_eq!((payload.as_str(), payload.read::<Vec<u8>>().unwrap()), ("[1,2]", vec![1, 2]));
        assert_eq!(payload, Payload::parse("[1,2]").unwrap());
        assert_eq!(payload.len(), size_of::<Vec<u8>>(), "whether its text was read or not");
        let odd = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(Payload::of_value(odd).as_str(), "null", "its keys have no JSON form");
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
