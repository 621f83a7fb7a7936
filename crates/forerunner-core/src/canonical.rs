//! One text for all JSON texts of the same value.

use std::collections::BTreeMap;

/// Writes a JSON text so that all texts of one value become the same. It has no spaces. Members of objects are in the
/// order of their names; of members with one name the last stays. Strings have the fewest escapes. Numbers are
/// `DIGITSeEXPONENT`, without loss.
///
/// The text must be JSON; of any other the result is of no meaning.
pub(crate) fn canonical(text: &str) -> String {
    let mut reader = Reader { text, at: 0 };
    let mut out = String::with_capacity(text.len());
    reader.value(&mut out);
    out
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, out: &mut String) {
        match self.peek() {
            Some(b'{') => self.object(out),
            Some(b'[') => self.array(out),
            Some(b'"') => out.push_str(&quoted(&self.string())),
            _ => out.push_str(&number(self.word())),
        }
    }

    fn object(&mut self, out: &mut String) {
        self.at += 1;
        let mut members = BTreeMap::new();
        while let Some(b'"') = self.peek() {
            let name = self.string();
            self.skip(b':');
            let mut value = String::new();
            self.value(&mut value);
            members.insert(name, value);
            self.skip(b',');
        }
        self.skip(b'}');
        out.push('{');
        for (place, (name, value)) in members.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            out.push_str(&quoted(name));
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
    }

    fn array(&mut self, out: &mut String) {
        self.at += 1;
        out.push('[');
        let mut is_first = true;
        while self.peek().is_some_and(|byte| byte != b']') {
            if !std::mem::take(&mut is_first) {
                out.push(',');
            }
            let begun = self.at;
            self.value(out);
            self.skip(b',');
            if self.at == begun {
                break;
            }
        }
        self.skip(b']');
        out.push(']');
    }

    /// The string that begins here, without its escapes; unchanged if they mean nothing.
    fn string(&mut self) -> String {
        let begin = self.at;
        let bytes = self.text.as_bytes();
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                break;
            }
        }
        let raw = self.text.get(begin..self.at).unwrap_or_default();
        serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned())
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> &str {
        let begin = self.at;
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
        let rest = &self.text.as_bytes()[begin..];
        self.at += rest.iter().position(is_end).unwrap_or(rest.len());
        &self.text[begin..self.at]
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) {
        if self.peek() == Some(byte) {
            self.at += 1;
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// A number as its digits without zeros at either end, and the power of ten that they are multiplied with.
fn number(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    let (true, Ok(exponent)) = (is_number, exponent.parse::<i64>()) else { return text.to_owned() };
    let digits = format!("{whole}{fraction}");
    let leading = digits.trim_start_matches('0');
    let significant = leading.trim_end_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let zeros = (leading.len() - significant.len()) as i64;
    let exponent = exponent.saturating_sub(fraction.len() as i64).saturating_add(zeros);
    format!("{sign}{significant}e{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_one_value_become_one_text() {
        for (one, other) in [
            (r#"{"a":1,"b":2}"#, r#" { "b" : 2 , "a" : 1 } "#),
            (r#"{"a":{"c":[1,{"x":1,"y":2}],"b":null}}"#, "{\"a\":{\"b\":null,\n\"c\":[1, {\"y\":2,\"x\":1}]}}"),
            (r#""\u0041\/é""#, "\"A/é\""),
            ("[]", " [ ] "),
            ("{}", "{ }"),
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.10", "1E-1"),
            ("-0", "0"),
            ("123456789012345678901234567890", "123456789012345678901234567890.000"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    #[test]
    fn texts_of_different_values_stay_different() {
        for (one, other) in [
            ("1", "2"),
            ("1", "-1"),
            ("1", "\"1\""),
            ("10", "1"),
            ("1000000000000000000001", "1000000000000000000000"),
            ("0.1", "0.01"),
            ("[1,2]", "[2,1]"),
            ("[1,[2]]", "[[1],2]"),
            (r#"{"a":"b"}"#, r#"{"b":"a"}"#),
            (r#"{"a":[]}"#, r#"{"a":{}}"#),
            ("true", "false"),
            ("null", "\"null\""),
            ("1e999999999999999999999", "1e999999999999999999998"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    #[test]
    fn a_text_that_is_no_json_does_no_harm() {
        for text in ["", "{", "[", "[,", "{\"a\"", "{\"a\":", "\"\\", "]", "[}", "{1}", "[[[[", "é", "[\"\\u"] {
            canonical(text);
        }
    }
}
