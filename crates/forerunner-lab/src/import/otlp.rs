//! Spans of OpenTelemetry, as the OTLP exporter writes them in JSON: one request, or one a line.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::MapAccessDeserializer,
    },
};
use serde_json::{Map, Value};

use super::{
    cells::{Cells, Key},
    collector::Collector,
    json::{by_line, is_by_line, no_json, text, values},
    mapping::Mapping,
    source::{Budget, Source},
    times::Unit,
};

/// Attributes that name a session, unless one is mapped.
const SESSIONS: [&str; 3] = ["session.id", "gen_ai.conversation.id", "thread.id"];
/// The attribute with the tokens of the context, unless one is mapped.
const TOKENS: &str = "gen_ai.usage.input_tokens";
/// Kinds of spans in which a service begins to work: server and consumer.
const ENTRIES: [&str; 4] = ["2", "5", "SPAN_KIND_SERVER", "SPAN_KIND_CONSUMER"];

/// Reads spans. Of a trace the spans without a parent count; if no span is without one, those of servers and consumers.
///
/// # Errors
/// What cannot be read, with line and column.
pub fn read(source: Source, asked: &Mapping, name: Option<&str>, to: Collector) -> Result<Collector, String> {
    let mut mapping = asked.clone();
    if mapping.get(Key::Arrival).is_some() {
        mapping.default_to(Key::Start, "startTimeUnixNano", Some(Unit::Nanos));
    }
    mapping.default_to(Key::Arrival, "startTimeUnixNano", Some(Unit::Nanos));
    mapping.default_to(Key::End, "endTimeUnixNano", Some(Unit::Nanos));
    let mut spans = Spans { mapping, name, entries: to.beside(), roots: to, all: 0, number: 0 };
    spans.read(source)?;
    spans.choose()
}

/// The spans that may be tasks.
struct Spans<'a> {
    mapping: Mapping,
    name: Option<&'a str>,
    roots: Collector,
    entries: Collector,
    all: u64,
    /// The line, or the count of spans where a value may span several lines.
    number: u64,
}

impl Spans<'_> {
    fn read(&mut self, source: Source) -> Result<(), String> {
        if is_by_line(&source) {
            let mut bad = self.roots.beside();
            by_line(source, &mut bad, &mut |number, line, bad| {
                self.number = number;
                let (mut failed, mut parser) = (None, serde_json::Deserializer::from_slice(line));
                let walk = SpanVisitor { spans: self, budget: None, failed: &mut failed };
                if let Err(error) = walk.deserialize(&mut parser).and_then(|()| parser.end()) {
                    failed.map_or(Ok(()), Err)?;
                    bad.add_bad(number, || no_json(&error, line));
                }
                Ok(())
            })?;
            self.roots.merge_bad(bad);
            return Ok(());
        }
        let (place, mut failed) = (self.roots.place().to_owned(), None);
        for collector in [&mut self.roots, &mut self.entries] {
            collector.unit = "span";
        }
        values(source, &place, |parser, budget| {
            SpanVisitor { spans: self, budget: Some(budget), failed: &mut failed }.deserialize(parser)
        })
        .map_err(|error| failed.unwrap_or(error))
    }

    fn add(&mut self, span: &Map<String, Value>) -> Result<(), String> {
        self.all += 1;
        if self.roots.unit == "span" {
            self.number = self.all;
        }
        let is = |key: &str, value: &str| span.get(key).and_then(Value::as_str) == Some(value);
        if self.name.is_some_and(|name| !is("name", name)) {
            return Ok(());
        }
        let parent = ["parentSpanId", "parent_span_id"].iter().find_map(|key| span.get(*key)).and_then(Value::as_str);
        let is_root = self.name.is_some() || parent.is_none_or(|parent| parent.trim_matches('0').is_empty());
        let is_entry = || span.get("kind").and_then(text).is_some_and(|kind| ENTRIES.contains(&&*kind));
        let to = match is_root {
            true => &mut self.roots,
            false if is_entry() => &mut self.entries,
            false => return Ok(()),
        };
        to.add(self.number, &cells(span, &self.mapping), &self.mapping)
    }

    fn choose(self) -> Result<Collector, String> {
        let place = self.roots.place();
        let (mut chosen, which) = match (self.name, self.roots.tasks() > 0) {
            (Some(name), false) if self.all > 0 => {
                return Err(format!("trace `{place}`: none of its {} spans is named `{name}`; check --span", self.all));
            }
            (Some(name), _) => (self.roots, format!("those named `{name}`")),
            (None, false) if self.entries.tasks() > 0 => (self.entries, "those of servers and consumers".to_owned()),
            (None, _) => (self.roots, "those without a parent".to_owned()),
        };
        if chosen.rows() < self.all {
            chosen.notes.push(format!(
                "trace `{}`: {} of {} spans are tasks: {which}; --span NAME chooses others",
                chosen.place(),
                chosen.rows(),
                self.all
            ));
        }
        Ok(chosen)
    }
}

fn cells<'a>(span: &'a Map<String, Value>, mapping: &Mapping) -> Cells<'a> {
    let mut cells = Cells::default();
    for (key, column) in mapping.keys() {
        if let Some(value) = value(span, &column.name) {
            cells.set(key, value);
        }
    }
    if mapping.get(Key::Session).is_none()
        && let Some(session) = SESSIONS.iter().find_map(|name| value(span, name))
    {
        cells.set(Key::Session, session);
    }
    if mapping.get(Key::Tokens).is_none()
        && let Some(tokens) = value(span, TOKENS)
    {
        cells.set(Key::Tokens, tokens);
    }
    cells
}

/// A field of a span, in either spelling, or one of its attributes.
fn value<'a>(span: &'a Map<String, Value>, name: &str) -> Option<Cow<'a, str>> {
    let snake = match name {
        "startTimeUnixNano" => "start_time_unix_nano",
        "endTimeUnixNano" => "end_time_unix_nano",
        other => other,
    };
    if let Some(value) =
        span.get(name).or_else(|| span.get(snake)).filter(|value| !value.is_object() && !value.is_array())
    {
        return text(value);
    }
    let attributes = span.get("attributes")?.as_array()?;
    let attribute = attributes.iter().find(|attribute| attribute["key"] == name)?;
    attribute["value"].as_object()?.values().next().and_then(text)
}

/// Goes through requests down to the spans; everything else is skipped unread.
struct SpanVisitor<'a, 'b> {
    spans: &'a mut Spans<'b>,
    budget: Option<&'a Budget>,
    /// Why a span ends the reading.
    failed: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for SpanVisitor<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SpanVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an OTLP request with `resourceSpans`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { spans, budget, failed } = self;
        let mut next = || seq.next_element_seed(SpanVisitor { spans: &mut *spans, budget, failed: &mut *failed });
        while next()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { spans, budget, failed } = self;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match &*key {
                "resourceSpans" | "resource_spans" | "scopeSpans" | "scope_spans" | "instrumentationLibrarySpans" => {
                    map.next_value_seed(SpanVisitor { spans: &mut *spans, budget, failed: &mut *failed })?;
                }
                "spans" => map.next_value_seed(SpanListVisitor { spans: &mut *spans, budget, failed: &mut *failed })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Hands over the spans of a list one by one.
struct SpanListVisitor<'a, 'b> {
    spans: &'a mut Spans<'b>,
    budget: Option<&'a Budget>,
    failed: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for SpanListVisitor<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SpanListVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("spans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { spans, budget, failed } = self;
        let mut next = || seq.next_element_seed(SpanListVisitor { spans: &mut *spans, budget, failed: &mut *failed });
        while next()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let span = Map::deserialize(MapAccessDeserializer::new(map))?;
        if let Some(budget) = self.budget {
            budget.renew();
        }
        self.spans.add(&span).map_err(|why| {
            *self.failed = Some(why);
            A::Error::custom("it cannot be used")
        })
    }
}
