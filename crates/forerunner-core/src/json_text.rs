//! What JSON texts must be so that every agent, client and store can read them.
//!
//! The grammar of JSON (RFC 8259) allows nesting without bound, and halves of surrogate pairs (§8.2). Common parsers
//! accept neither: an agent that gets such a text crashes, and so does the next one. Texts of clients are rejected
//! ([`check`]). Texts of agents are repaired: a half becomes U+FFFD ([`mend_surrogates`]), as with `TextEncoder` in
//! browsers and `errors="replace"` in Python, since `JSON.stringify` writes halves where a text was cut within an
//! emoji. Deeper nesting is rejected too, and cut where an older version stored it ([`cut_nesting`]).
//!
//! All functions expect a text that is JSON; for other texts the result is undefined.

use crate::{Error, Payload};

/// Checks that all can read a text.
///
/// # Errors
/// [`Error::Nesting`], [`Error::HalfSurrogate`].
pub fn check(json: &str) -> Result<(), Error> {
    check_nesting(json)?;
    match half_surrogate(json, 0) {
        None => Ok(()),
        Some(at) => Err(Error::HalfSurrogate { half: json[at..at + ESCAPE].to_owned(), place: place(json, at) }),
    }
}

/// Checks that a text has at most [`Payload::MAX_NESTING`] levels.
///
/// # Errors
/// [`Error::Nesting`].
pub fn check_nesting(json: &str) -> Result<(), Error> {
    match nesting(json) {
        depth if depth <= Payload::MAX_NESTING => Ok(()),
        depth => Err(Error::Nesting { depth }),
    }
}

/// Replaces halves of surrogate pairs by U+FFFD. `None` if there are none.
///
/// The text keeps its length: one escape replaces another.
pub fn mend_surrogates(json: &str) -> Option<String> {
    let mut at = half_surrogate(json, 0)?;
    let mut mended = String::with_capacity(json.len());
    let mut copied = 0;
    loop {
        mended.push_str(&json[copied..at]);
        mended.push_str(REPLACEMENT);
        copied = at + ESCAPE;
        match half_surrogate(json, copied) {
            Some(next) => at = next,
            None => break,
        }
    }
    mended.push_str(&json[copied..]);
    Some(mended)
}

/// Replaces values below [`Payload::MAX_NESTING`] levels by `null`. `None` if there are none.
pub fn cut_nesting(json: &str) -> Option<String> {
    if nesting(json) <= Payload::MAX_NESTING {
        return None;
    }
    let (mut cut, mut copied, mut depth) = (String::with_capacity(json.len()), 0, 0_usize);
    for (at, bracket) in Brackets::of(json) {
        match bracket {
            b'[' | b'{' => {
                if depth == Payload::MAX_NESTING {
                    cut.push_str(&json[copied..at]);
                    cut.push_str("null");
                }
                depth += 1;
            }
            _ => {
                depth = depth.saturating_sub(1);
                if depth == Payload::MAX_NESTING {
                    copied = at + 1;
                }
            }
        }
    }
    cut.push_str(&json[copied..]);
    Some(cut)
}

/// Bytes of an escape such as `\ud83d`.
const ESCAPE: usize = 6;
const REPLACEMENT: &str = r"\ufffd";

/// Finds an escape `\uD800` to `\uDFFF` without its other half, from `from` on, which must not be inside of an escape.
fn half_surrogate(json: &str, from: usize) -> Option<usize> {
    let mut rest = from;
    while let Some(at) = backslash(json, rest) {
        rest = at + 2;
        match unit(json, at) {
            Some(0xD800..=0xDBFF) if matches!(unit(json, at + ESCAPE), Some(0xDC00..=0xDFFF)) => {
                rest = at + 2 * ESCAPE;
            }
            Some(0xD800..=0xDFFF) => return Some(at),
            _ => {}
        }
    }
    None
}

/// Finds a backslash from `from` on.
fn backslash(json: &str, from: usize) -> Option<usize> {
    /// In a shorter text, a comparison of each byte costs less than the start of a search.
    const SHORT: usize = 32;
    let rest = json.get(from..)?;
    let found = match rest.len() {
        ..SHORT => rest.bytes().position(|byte| byte == b'\\'),
        _ => rest.find('\\'),
    };
    found.map(|found| from + found)
}

/// Reads the escape `\uXXXX` at `at`, if there is one.
fn unit(json: &str, at: usize) -> Option<u16> {
    u16::from_str_radix(json.get(at..at + ESCAPE)?.strip_prefix("\\u")?, 16).ok()
}

/// Returns how deep the arrays and objects of a text are nested.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for (_, bracket) in Brackets::of(json) {
        depth = if matches!(bracket, b'[' | b'{') { depth + 1 } else { depth.saturating_sub(1) };
        deepest = deepest.max(depth);
    }
    deepest
}

/// The brackets of a text that are not in strings, with their places.
struct Brackets<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Brackets<'a> {
    const fn of(json: &'a str) -> Self {
        Self { bytes: json.as_bytes(), at: 0 }
    }
}

impl Iterator for Brackets<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(&byte) = self.bytes.get(self.at) {
            let here = self.at;
            self.at += 1;
            match byte {
                b'[' | b'{' | b']' | b'}' => return Some((here, byte)),
                b'"' => self.at = string_end(self.bytes, self.at),
                _ => {}
            }
        }
        None
    }
}

/// Returns the place behind the closing quote of a string whose content begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            b'\\' => at += 1,
            _ => {}
        }
    }
    at
}

/// Names the value around a place, such as `messages[2].text`; `the top` for the whole.
fn place(json: &str, wanted: usize) -> String {
    /// Most bytes that are shown of a key.
    const KEY: usize = 32;
    let bytes = json.as_bytes();
    let mut path: Vec<Step<'_>> = Vec::new();
    let mut at = 0;
    while at < wanted.min(bytes.len()) {
        match bytes[at] {
            b'[' => path.push(Step::Index(0)),
            b'{' => path.push(Step::Key("", true)),
            b']' | b'}' => drop(path.pop()),
            b',' => match path.last_mut() {
                Some(Step::Index(index)) => *index += 1,
                Some(Step::Key(_, is_name_next)) => *is_name_next = true,
                None => {}
            },
            b':' => {
                if let Some(Step::Key(_, is_name_next)) = path.last_mut() {
                    *is_name_next = false;
                }
            }
            b'"' => {
                let end = string_end(bytes, at + 1);
                if let Some(Step::Key(name, true)) = path.last_mut() {
                    *name = json.get(at + 1..end - 1).unwrap_or_default();
                }
                at = end - 1;
            }
            _ => {}
        }
        at += 1;
    }
    let mut shown = String::new();
    for step in &path {
        match step {
            Step::Index(index) => shown.push_str(&format!("[{index}]")),
            Step::Key(name, _) => {
                let dot = if shown.is_empty() { "" } else { "." };
                shown.push_str(&format!("{dot}{}", name.get(..KEY).unwrap_or(name)));
            }
        }
    }
    if shown.is_empty() { "the top".to_owned() } else { shown }
}

/// A level of nesting.
enum Step<'a> {
    Index(usize),
    /// A name, and whether another one follows.
    Key(&'a str, bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_surrogate_pair_is_found_named_and_mended_and_a_whole_one_is_not() {
        for (json, half, mended) in [
            (r#""\ud83d\ude00 \u00e9 \n \\ud800 €""#, None, ""),
            (r#""\ud800""#, Some((r"\ud800", "the top")), r#""\ufffd""#),
            (r#"["\uD83D\uD83D\uDE00"]"#, Some((r"\uD83D", "[0]")), r#"["\ufffd\uD83D\uDE00"]"#),
            (r#"{"\udc00":1}"#, Some((r"\udc00", r"\udc00")), r#"{"\ufffd":1}"#),
            (r#""\ud83d\\ude00""#, Some((r"\ud83d", "the top")), r#""\ufffd\\ude00""#),
            (
                r#"{"a":[1,{"b,]":"x","text":"cut \uDFFF\ud83d"}]}"#,
                Some((r"\uDFFF", "a[1].text")),
                r#"{"a":[1,{"b,]":"x","text":"cut \ufffd\ufffd"}]}"#,
            ),
            (r#""€\\€\"€""#, None, ""),
            ("7", None, ""),
        ] {
            let found = match check(json) {
                Err(Error::HalfSurrogate { half, place }) => Some((half, place)),
                _ => None,
            };
            assert_eq!(found, half.map(|(half, place)| (half.to_owned(), place.to_owned())), "{json}");
            let expected = half.map(|_| mended.to_owned());
            assert_eq!(mend_surrogates(json), expected, "{json}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_can_be_cut() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(&nested(100)).is_ok() && cut_nesting(&nested(100)).is_none());
        assert_eq!(check(&nested(101)), Err(Error::Nesting { depth: 101 }));
        let cut = cut_nesting(&format!(r#"{{"a":"]}}","b":{},"c":{}}}"#, nested(5_000), nested(120))).unwrap();
        let levels = format!("{}null{}", "[".repeat(99), "]".repeat(99));
        assert_eq!(cut, format!(r#"{{"a":"]}}","b":{levels},"c":{levels}}}"#));
    }
}
