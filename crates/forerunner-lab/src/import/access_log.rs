//! The access log of a web server: common or combined format, with the time that a request took.

use super::{
    cells::{Cells, Key},
    collector::Collector,
    json::by_line,
    mapping::Mapping,
    quote::quote,
    source::Source,
    times::{self, Notation, Unit},
};

/// Names of fields that have the duration, where fields have names.
const DURATIONS: [&str; 4] = ["request_time", "rt", "duration", "response_time"];

/// Reads an access log.
///
/// nginx writes the time of the end and decimal seconds (`$request_time`); Apache writes the time of the begin and whole
/// microseconds (`%D`). Times have whole seconds, so the requests of a second are spread evenly over it.
///
/// # Errors
/// What cannot be read, with the line.
pub fn read(source: Source, asked: &Mapping, mut to: Collector) -> Result<Collector, String> {
    let mut mapping = asked.clone();
    mapping.default_to(Key::Arrival, "time", None);
    mapping.default_to(Key::Duration, "request_time", Some(Unit::Seconds));
    let mut second = RequestsOfSecond { mapping: &mapping, at: 0.0, entries: Vec::new() };
    to.notation = Some(("time".to_owned(), Notation::Date));
    let mut how = None;
    let asks_duration = asked.get(Key::Duration);
    by_line(source, &mut to, &mut |number, line, to| {
        let text = String::from_utf8_lossy(line);
        let Some(entry) = Entry::parse(&text) else {
            to.add_bad(number, || {
                format!(
                    "this is no line of an access log: `{}`; it has no time such as [10/Oct/2025:13:55:36 +0000]",
                    quote(&text)
                )
            });
            return Ok(());
        };
        let took = match asks_duration {
            Some(column) => entry.named(&column.name).and_then(|text| {
                let unit = column.unit.or_else(|| Unit::of_column(&column.name));
                Some(RequestDuration { seconds: times::duration(text, unit)?, is_decimal: text.contains('.') })
            }),
            None => entry.took(),
        };
        let Some(took) = took else {
            to.add_bad(number, || {
                "it has no time that the request took; add $request_time (nginx) or %D (Apache) behind the user agent"
                    .to_owned()
            });
            return Ok(());
        };
        how.get_or_insert(took.is_decimal);
        second.add(number, &entry, took, to)
    })?;
    second.flush(&mut to)?;
    match how {
        Some(true) => to.notes.push(format!(
            "trace `{}`: durations are decimal seconds as of nginx, whose times are those of the end of a request; requests of a second are spread over it",
            to.place()
        )),
        Some(false) => to.notes.push(format!(
            "trace `{}`: durations are microseconds as of Apache, whose times are those of the begin of a request; requests of a second are spread over it",
            to.place()
        )),
        None => {}
    }
    Ok(to)
}

/// The requests whose lines have the same time.
struct RequestsOfSecond<'a> {
    mapping: &'a Mapping,
    at: f64,
    entries: Vec<(u64, RequestDuration, Option<String>)>,
}

impl RequestsOfSecond<'_> {
    fn add(&mut self, line: u64, entry: &Entry, took: RequestDuration, to: &mut Collector) -> Result<(), String> {
        if entry.at != self.at {
            self.flush(to)?;
            self.at = entry.at;
        }
        let session = self.mapping.get(Key::Session).and_then(|column| entry.named(&column.name));
        self.entries.push((line, took, session.map(str::to_owned)));
        Ok(())
    }

    /// Spreads the requests over the second.
    fn flush(&mut self, to: &mut Collector) -> Result<(), String> {
        let all = self.entries.len() as f64;
        for (index, (line, took, session)) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            let at = self.at + index as f64 / all;
            let arrival = if took.is_decimal { at - took.seconds } else { at };
            let mut cells = Cells::default();
            cells.set(Key::Arrival, format!("{arrival:.6}"));
            cells.set(Key::Duration, format!("{}s", took.seconds));
            if let Some(session) = session {
                cells.set(Key::Session, session);
            }
            to.add(line, &cells, self.mapping)?;
        }
        Ok(())
    }
}

/// How long a request took.
#[derive(Debug, Clone, Copy, PartialEq)]
struct RequestDuration {
    seconds: f64,
    /// Written with a decimal point: as nginx does.
    is_decimal: bool,
}

/// A line of an access log.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its time, in seconds from 1970 on.
    at: f64,
    address: &'a str,
    user: &'a str,
    /// The fields after the request, the status and the size.
    rest: Vec<&'a str>,
}

impl<'a> Entry<'a> {
    /// Reads a line; `None` if it is none of an access log.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (before, behind) = line.split_once('[')?;
        let (time, behind) = behind.split_once(']')?;
        let (at, _) = times::time(time, None).filter(|_| time.contains('/'))?;
        let mut before = before.split_whitespace();
        let address = before.next()?;
        let mut fields = fields(behind.trim_start());
        let request = fields.next()?;
        let status = fields.next()?;
        (behind.trim_start().starts_with('"') && !request.is_empty() && status.parse::<u16>().is_ok()).then(|| Self {
            at,
            address,
            user: before.last().unwrap_or_default(),
            rest: fields.skip(1).collect(),
        })
    }

    /// The duration: a field of such a name, else the first decimal number, else the last whole one, which Apache writes
    /// in microseconds.
    fn took(&self) -> Option<RequestDuration> {
        let named = || DURATIONS.iter().find_map(|name| self.named(name));
        let decimal = || self.rest.iter().copied().find(|field| field.contains('.') && is_number(field));
        if let Some(text) = named().or_else(decimal) {
            let seconds = times::duration(text, None)?;
            return Some(RequestDuration { seconds, is_decimal: true });
        }
        let whole = self.rest.iter().copied().rfind(|field| is_number(field))?;
        Some(RequestDuration { seconds: times::duration(whole, Some(Unit::Micros))?, is_decimal: false })
    }

    /// A field by its name: `remote_addr`, `remote_user`, or one that is written as `name=value`, or by its number behind
    /// the size, from 1.
    fn named(&self, name: &str) -> Option<&'a str> {
        match name {
            "remote_addr" => Some(self.address),
            "remote_user" => Some(self.user).filter(|user| *user != "-"),
            _ => {
                let value = |field: &&'a str| {
                    field.split_once(['=', ':']).filter(|(key, _)| *key == name).map(|(_, value)| value)
                };
                let by_number =
                    || name.parse::<usize>().ok()?.checked_sub(1).and_then(|index| self.rest.get(index).copied());
                self.rest.iter().find_map(value).map(|value| value.trim_matches('"')).or_else(by_number)
            }
        }
    }
}

fn is_number(field: &str) -> bool {
    field.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && field.parse::<f64>().is_ok()
}

/// Splits by space; what is in quotes is one field, without them.
fn fields(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = closing(quoted).unwrap_or(quoted.len());
                (&quoted[..end], quoted.get(end + 1..).unwrap_or_default())
            }
            None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        rest = behind;
        Some(field)
    })
}

/// The index of the quotation mark that ends a text and is not escaped.
fn closing(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_found_behind_the_size() {
        let begin = r#"10.0.0.1 - ann [10/Oct/2025:13:55:36 +0000] "GET /\"x y\" HTTP/1.1" 200 12"#;
        let took = |seconds, is_decimal| Some(RequestDuration { seconds, is_decimal });
        for (rest, expected) in [
            (r#"" "-" "Mozilla/5.0 (X11)" 0.250"#, took(0.25, true)),
            (r#"" "-" "curl/8.1" "-" 512 1.500 [up] 1.400"#, took(1.5, true)),
            (r#"" "-" "curl" rt=0.020 uct="0.001""#, took(0.02, true)),
            (r#"" "-" "curl" 250000"#, took(0.25, false)),
            (r#"" 0.1"#, took(0.1, true)),
            (r#"" "-" "curl""#, None),
            ("", None),
        ] {
            let line = format!("{begin}{}", rest.trim_start_matches('"'));
            let entry = Entry::parse(&line).expect("a line");
            assert_eq!(entry.took(), expected, "{line}");
            assert_eq!((entry.named("remote_user"), entry.named("remote_addr")), (Some("ann"), Some("10.0.0.1")));
        }
        for line in ["", "arrival_s,service_s", "[error] x", "a [10/Oct/2025:13:55:36 +0000]", "a [x] \"GET\" 200 1"] {
            assert!(Entry::parse(line).is_none(), "{line}");
        }
    }
}
