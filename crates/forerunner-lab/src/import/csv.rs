//! Columns with a header.

use std::io::Read;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};

use super::{
    cells::{Cells, Key},
    collector::Collector,
    format::{describe, first_line},
    mapping::Mapping,
    quote::quote,
    source::{Budget, Source},
    suggest, times,
};

/// What columns may be separated by, the likeliest first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Reads CSV. Without a mapping the columns are those of a trace of Forerunner's own.
///
/// # Errors
/// What cannot be read, with line and column.
pub fn read(source: Source, asked: &Mapping, mut to: Collector) -> Result<Collector, String> {
    let delimiter = delimiter(first_line(source.head()));
    let (budget, text) = Budget::limit(source.reader());
    let mut reader = ReaderBuilder::new().delimiter(delimiter).trim(Trim::Headers).has_headers(false).from_reader(text);
    let mut record = StringRecord::new();
    if !next(&mut reader, &mut record, &mut to)? {
        return Ok(to);
    }
    let header = record.clone();
    if header.iter().all(|name| name.trim().is_empty()) {
        return Ok(to);
    }
    let native = Mapping::native();
    let mapping = if asked.is_empty() { &native } else { asked };
    let columns = Columns::find(mapping, &header, to.place())?;
    if columns.has_data_in(&record, mapping) {
        to.add(1, &columns.cells(&record), mapping)?;
    }
    loop {
        budget.renew();
        if !next(&mut reader, &mut record, &mut to)? {
            return Ok(to);
        }
        to.add(record.position().map_or(0, csv::Position::line), &columns.cells(&record), mapping)?;
    }
}

/// Reads the next record that is CSV, and counts those that are not; `false` at the end.
fn next(reader: &mut Reader<impl Read>, record: &mut StringRecord, to: &mut Collector) -> Result<bool, String> {
    loop {
        match reader.read_record(record) {
            Ok(found) => return Ok(found),
            Err(error) => match error.kind() {
                ErrorKind::Utf8 { .. } | ErrorKind::UnequalLengths { .. } => to.add_bad_as(|| error.to_string()),
                ErrorKind::Io(error) => {
                    let line = reader.position().line();
                    return Err(format!("cannot read trace `{}`, line {line}: {error}", to.place()));
                }
                _ => return Err(format!("trace `{}`: {error}", to.place())),
            },
        }
    }
}

/// The separator that the first line has most often.
fn delimiter(line: &[u8]) -> u8 {
    let count = |delimiter: &&u8| line.iter().filter(|byte| byte == delimiter).count();
    // Of equally many the likeliest: `max_by_key` returns the last.
    DELIMITERS.iter().rev().max_by_key(count).copied().unwrap_or(b',')
}

/// The indexes of the columns.
struct Columns(Vec<(Key, usize)>);

impl Columns {
    fn find(mapping: &Mapping, header: &StringRecord, place: &str) -> Result<Self, String> {
        let mut found = Vec::new();
        for (key, column) in mapping.keys() {
            let by_number = || column.name.parse::<usize>().ok().filter(|number| (1..=header.len()).contains(number));
            let named = header.iter().position(|name| name.trim() == column.name);
            match named.or_else(|| by_number().map(|number| number - 1)) {
                Some(index) => found.push((key, index)),
                None if mapping.native && !matches!(key, Key::Arrival | Key::Duration) => {}
                None => return Err(missing(mapping, &column.name, header, place)),
            }
        }
        if !mapping.native {
            mapping.check().map_err(|why| format!("trace `{place}`: {why}"))?;
        }
        Ok(Self(found))
    }

    fn cells<'a>(&self, record: &'a StringRecord) -> Cells<'a> {
        let mut cells = Cells::default();
        for (key, index) in &self.0 {
            cells.set(*key, record.get(*index).unwrap_or_default());
        }
        cells
    }

    /// Whether the first line is no header: columns are mapped by number, and it has a time.
    fn has_data_in(&self, first: &StringRecord, mapping: &Mapping) -> bool {
        let has_time = |key: Key| self.cells(first).get(key).is_some_and(|text| times::time(text, None).is_some());
        let by_number = mapping.keys().all(|(_, column)| column.name.parse::<usize>().is_ok());
        by_number && (has_time(Key::Arrival) || has_time(Key::Start))
    }
}

fn missing(mapping: &Mapping, column: &str, header: &StringRecord, place: &str) -> String {
    let line = header.iter().collect::<Vec<_>>().join(",");
    let begin =
        format!("trace `{place}`, line 1: column `{}` is missing from the header `{}`", quote(column), quote(&line));
    let is_data = header.iter().any(|cell| times::time(cell.trim(), None).is_some());
    let own = "name the columns arrival_s,service_s and, if known, context_tokens,output_tokens,session,announced_s";
    let advice = match suggest::mapping(header.iter()) {
        _ if !mapping.native => "--map takes the names of the header, or numbers of columns from 1".to_owned(),
        Some(map) => format!("this looks like CSV with other names; pass --map {map}"),
        None if is_data => {
            format!("this looks like CSV without a header; {own}, or map columns by number: --map arrival=1,duration=2")
        }
        None => format!(
            "{}{own}, or pass --map arrival=…,duration=…",
            describe(&line).map_or(String::new(), |what| what + "; ")
        ),
    };
    format!("{begin}; {advice}")
}
