//! JSON objects: one a line, in an array, or one after another.

use std::{
    borrow::Cow,
    fmt,
    io::{BufReader, Read},
};

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::MapAccessDeserializer,
    },
};
use serde_json::{Map, Value, de::IoRead, error::Category};

use super::{
    cells::{Cells, Key},
    collector::Collector,
    format::first_line,
    lines::{Line, Lines},
    mapping::Mapping,
    quote::quote,
    source::{Budget, Source},
    suggest,
};

/// Reads JSON objects. Without a mapping their members are named as the columns of a trace of Forerunner's own.
///
/// # Errors
/// What cannot be read, with line and column.
pub fn read(source: Source, asked: &Mapping, mut to: Collector) -> Result<Collector, String> {
    let native = Mapping::native();
    let mapping = if asked.is_empty() { &native } else { asked };
    if !mapping.native {
        mapping.check().map_err(|why| format!("trace `{}`: {why}", to.place()))?;
    }
    let mut is_first = true;
    each(source, &mut to, &mut |line, object, to| {
        if std::mem::take(&mut is_first) {
            first(object, mapping, to.place())?;
        }
        to.add(line, &cells(object, mapping), mapping)
    })?;
    Ok(to)
}

/// Checks that the first object has the members of a trace, if nothing else was mapped.
fn first(object: &Map<String, Value>, mapping: &Mapping, place: &str) -> Result<(), String> {
    let lacks = |name: &str| mapping.native && find(object, name).is_none();
    let mut needed = mapping.keys().filter(|(key, _)| is_needed(*key));
    let Some((_, missing)) = needed.find(|(_, column)| lacks(&column.name)) else { return Ok(()) };
    let names = object.keys().map(String::as_str);
    let listed = quote(&names.clone().collect::<Vec<_>>().join(","));
    let map = suggest::mapping(names).unwrap_or_else(|| "arrival=…,duration=…".to_owned());
    Err(format!(
        "trace `{place}`, line 1: member `{}` is missing from `{listed}`; this looks like JSON with other names; pass --map {map}",
        missing.name
    ))
}

const fn is_needed(key: Key) -> bool {
    matches!(key, Key::Arrival | Key::Duration)
}

fn cells<'a>(object: &'a Map<String, Value>, mapping: &Mapping) -> Cells<'a> {
    let mut cells = Cells::default();
    for (key, column) in mapping.keys() {
        if let Some(text) = find(object, &column.name).and_then(text) {
            cells.set(key, text);
        }
    }
    cells
}

/// A member by its name, or by a path with dots.
pub fn find<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    let (outer, inner) = name.split_once('.')?;
    find(object.get(outer)?.as_object()?, inner)
}

/// A value as a cell: numbers and strings alike.
pub fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Null => None,
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// What is done with an object, given its number.
type Use<'a> = dyn FnMut(u64, &Map<String, Value>, &mut Collector) -> Result<(), String> + 'a;

/// Calls `use_it` with each object.
fn each(source: Source, to: &mut Collector, use_it: &mut Use) -> Result<(), String> {
    if is_by_line(&source) {
        return by_line(source, to, &mut |number, line, to| match serde_json::from_slice(line) {
            Ok(object) => use_it(number, &object, to),
            Err(error) => {
                to.add_bad(number, || no_json(&error, line));
                Ok(())
            }
        });
    }
    to.unit = "object";
    let (place, mut number, mut failed) = (to.place().to_owned(), 0, None);
    values(source, &place, |deserializer, budget| {
        Objects { budget, to, use_it, number: &mut number, failed: &mut failed }.deserialize(deserializer)
    })
    .map_err(|error| failed.unwrap_or(error))
}

/// Whether each line is a value of its own, so that one that is not spoils no other.
pub fn is_by_line(source: &Source) -> bool {
    let begin = source.head().trim_ascii_start();
    let is_open = |line| {
        let read: serde_json::Result<IgnoredAny> = serde_json::from_slice(line);
        read.is_err_and(|error| error.classify() == Category::Eof)
    };
    begin.first() == Some(&b'{') && !is_open(first_line(begin))
}

/// What is done with a line, given its number.
type UseLine<'a> = dyn FnMut(u64, &[u8], &mut Collector) -> Result<(), String> + 'a;

/// Calls `use_it` with each line that is not empty.
pub fn by_line(source: Source, to: &mut Collector, use_it: &mut UseLine) -> Result<(), String> {
    let mut lines = Lines::new(source.reader());
    loop {
        let number = lines.number + 1;
        match lines.next().map_err(|error| format!("cannot read trace `{}`, line {number}: {error}", to.place()))? {
            None => return Ok(()),
            Some(Line::TooLong) => to.add_bad(number, || "it is longer than 16 MiB; split it".to_owned()),
            Some(Line::Whole(line)) if line.trim_ascii().is_empty() => {}
            Some(Line::Whole(line)) => use_it(number, line, to)?,
        }
    }
}

/// A parser of values from a stream.
pub type Parser = serde_json::Deserializer<IoRead<BufReader<Box<dyn Read>>>>;

/// Reads values one after another, over any number of lines.
pub fn values(
    source: Source,
    place: &str,
    mut read: impl FnMut(&mut Parser, &Budget) -> serde_json::Result<()>,
) -> Result<(), String> {
    let (budget, text) = Budget::limit(source.reader());
    let mut parser = Parser::from_reader(BufReader::new(Box::new(text) as Box<dyn Read>));
    // It is at the end, or there is one more value, or the reader fails again.
    while parser.end().is_err() {
        budget.renew();
        let place =
            |error: &serde_json::Error| format!("trace `{place}`, line {}, column {}", error.line(), error.column());
        read(&mut parser, &budget).map_err(|error| format!("{}: this is no JSON: {}", place(&error), what(&error)))?;
    }
    Ok(())
}

/// Describes why a line is no JSON object.
pub fn no_json(error: &serde_json::Error, line: &[u8]) -> String {
    let shown = quote(&String::from_utf8_lossy(&line[..line.len().min(400)]));
    format!("column {}: this is no JSON object: {}: `{shown}`", error.column(), what(error))
}

/// The message of an error without its place.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    quote(text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what))
}

/// Hands over objects, alone and in arrays, one by one.
struct Objects<'a, 'b> {
    budget: &'a Budget,
    to: &'a mut Collector,
    use_it: &'a mut Use<'b>,
    number: &'a mut u64,
    /// Why the object that was handed over ends the reading.
    failed: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Objects<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { budget, to, use_it, number, failed } = self;
        let mut next = || {
            seq.next_element_seed(Objects {
                budget,
                to: &mut *to,
                use_it: &mut *use_it,
                number: &mut *number,
                failed: &mut *failed,
            })
        };
        while next()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let object = Map::deserialize(MapAccessDeserializer::new(map))?;
        self.budget.renew();
        *self.number += 1;
        (self.use_it)(*self.number, &object, self.to).map_err(|why| {
            *self.failed = Some(why);
            A::Error::custom("it cannot be used")
        })
    }
}
