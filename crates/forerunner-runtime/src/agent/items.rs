//! For authors of drivers: the checks of everything that an agent returns.
//!
//! Every kind of agent passes these checks, so that every other agent can read what it stored. A driver creates items
//! with [`json_item`] and adds them with [`AgentContext::push_item`](super::AgentContext::push_item) or
//! [`AgentContext::replace_items`](super::AgentContext::replace_items). The actor checks outputs itself.
//!
//! Unpaired surrogates become U+FFFD. A value that is not JSON, or is nested deeper than inputs may be, is an error.
//! The agent stays usable, and nothing is stored. Contexts that were stored before these checks existed are repaired
//! when they are restored, and stored repaired with the next change.

use std::borrow::Cow;

use forerunner_context::{Item, Snapshot};
use forerunner_core::{ContextId, Error, Payload, json_text};
use serde::de::IgnoredAny;

use super::AgentError;

/// Checks an output, of at most `most_bytes`.
pub(super) fn output(output: Payload, most_bytes: usize) -> Result<Payload, AgentError> {
    let size = output.len();
    if size > most_bytes {
        return Err(AgentError::too_large(format!(
            "the output has {size} bytes, the limit is {most_bytes}; return less or raise queue.max_output_bytes"
        )));
    }
    json_text::check_nesting(output.as_str()).map_err(|error| refused("the output", &error))?;
    Ok(match json_text::mend_surrogates(output.as_str()) {
        Some(mended) => Payload::trusted(mended),
        None => output,
    })
}

/// Creates the item at position `index` from any bytes.
pub(super) fn item(index: usize, bytes: Vec<u8>) -> Result<Item, AgentError> {
    let no_json = |error: &dyn std::fmt::Display| {
        AgentError::fatal(format!("item {index} of the context is no JSON: {error}; write one JSON value"))
    };
    let text = String::from_utf8(bytes).map_err(|error| no_json(&error))?;
    if let Err(error) = serde_json::from_str::<IgnoredAny>(&text) {
        return Err(no_json(&error));
    }
    json_item(index, text)
}

/// Creates the item at position `index` from text that is JSON.
///
/// The item differs from the text where the text has unpaired surrogates.
///
/// # Errors
/// When the text is nested deeper than inputs may be. The error names the position.
pub fn json_item(index: usize, text: String) -> Result<Item, AgentError> {
    json_text::check_nesting(&text).map_err(|error| refused(&format!("item {index} of the context"), &error))?;
    Ok(Item::new(json_text::mend_surrogates(&text).unwrap_or(text).into_bytes()))
}

fn refused(what: &str, error: &Error) -> AgentError {
    match error {
        Error::Nesting { depth } => AgentError::too_large(format!(
            "{what} is nested {depth} levels deep, the limit is {}; make it flatter, or put the inner part into a string",
            Payload::MAX_NESTING
        )),
        other => AgentError::fatal(format!("{what}: {other}")),
    }
}

/// Repairs a stored context so that all agents can read it. Returns `None` if it needs no repair.
///
/// Unpaired surrogates become U+FFFD. Parts that are nested too deep become `null`. Items that are not JSON stay
/// unchanged: an agent in Rust may have stored them, and can read them.
pub(crate) fn readable(context: &ContextId, stored: &Snapshot) -> Option<Snapshot> {
    if !stored.items().iter().any(|item| mended(item).is_some()) {
        return None;
    }
    let mut count = 0_usize;
    let items = stored.items().iter().map(|item| match mended(item) {
        Some(mended) => {
            count += 1;
            mended
        }
        None => item.clone(),
    });
    let readable = Snapshot::from_items(items, *stored.limits()).ok()?;
    tracing::warn!(%context, items = count, "a context had items that some agents cannot read; the node repaired them");
    Some(readable)
}

fn mended(item: &Item) -> Option<Item> {
    let text = std::str::from_utf8(item.bytes()).ok()?;
    let whole = json_text::mend_surrogates(text).map_or(Cow::Borrowed(text), Cow::Owned);
    let flat = json_text::cut_nesting(&whole).map_or(whole, Cow::Owned);
    match flat {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(Item::new(text.into_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use forerunner_context::Limits;
    use forerunner_core::ErrorKind;

    use super::*;

    #[test]
    fn outputs_are_mended_or_refused() {
        let mended = output(Payload::trusted(r#"{"a":"cut \ud83d"}"#), 100).unwrap();
        assert_eq!(mended.as_str(), r#"{"a":"cut \ufffd"}"#);
        let deep = output(Payload::trusted(format!("{}{}", "[".repeat(101), "]".repeat(101))), 1_000).unwrap_err();
        assert_eq!((deep.kind(), deep.is_agent_usable()), (ErrorKind::TooLarge, true), "{deep}");
        assert!(deep.message().starts_with("the output is nested 101 levels deep, the limit is 100"), "{deep}");
    }

    #[test]
    fn items_are_mended_or_refused_by_their_place() {
        assert_eq!(item(0, br#""\uD83D""#.to_vec()).unwrap().bytes(), br#""\ufffd""#);
        for (bytes, says) in [
            (b"{".to_vec(), "item 3 of the context is no JSON"),
            (b"\"\xed\xa0\x80\"".to_vec(), "item 3 of the context is no JSON"),
            (
                format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)).into_bytes(),
                "item 3 of the context is nested 5000",
            ),
        ] {
            let error = item(3, bytes).unwrap_err();
            assert!(error.message().starts_with(says) && error.is_agent_usable() && !error.is_retryable(), "{error}");
        }
    }

    #[test]
    fn a_stored_context_is_mended_only_where_it_must_be() {
        let context = ContextId::new("talk").unwrap();
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let of = |texts: &[&str]| {
            let items = texts.iter().map(|text| Item::new(text.as_bytes()));
            Snapshot::from_items(items, Limits::default()).unwrap()
        };
        assert!(readable(&context, &of(&["1", r#""\ud83d\ude00""#, "no json"])).is_none());
        let mended = readable(&context, &of(&["1", r#""\ud83d""#, &deep, "no json"])).unwrap();
        let texts: Vec<&[u8]> = mended.items().iter().map(Item::bytes).collect();
        assert_eq!((texts[0], texts[1], texts[3]), (b"1".as_slice(), br#""\ufffd""#.as_slice(), b"no json".as_slice()));
        assert!(texts[2].starts_with(b"[[") && json_text::check(std::str::from_utf8(texts[2]).unwrap()).is_ok());
    }
}
