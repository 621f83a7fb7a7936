//! Reads the file of blocks.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use csv::StringRecord;
use flate2::read::MultiGzDecoder;

use crate::{Error, Trace};

/// Bytes of a block of 64 tokens, four bytes each.
const COUNTED_BLOCK_BYTES: u64 = 256;
/// Bytes of a block of 512 tokens.
const HASHED_BLOCK_BYTES: u64 = 2_048;
/// Most blocks of one context: more are no count of blocks.
const MOST_BLOCKS: u64 = 1 << 32;

/// One row, in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub context: u32,
    pub blocks: u64,
    pub shared: u64,
    pub base: u64,
}

/// Reads the rows, one for each task of the trace, and the usual size of their blocks.
pub(super) fn read(path: &Path, trace: &Trace) -> Result<(Vec<Row>, u64), Error> {
    let broken = |source| Error::ReadBlocks { path: path.to_owned(), source };
    let mut magic = [0; 2];
    let found = File::open(path).map_err(broken)?.read(&mut magic).map_err(broken)?;
    let file = BufReader::new(File::open(path).map_err(broken)?);
    match found == 2 && magic == [0x1f, 0x8b] {
        true => rows(path, trace, MultiGzDecoder::new(file)),
        false => rows(path, trace, file),
    }
}

fn rows(path: &Path, trace: &Trace, text: impl Read) -> Result<(Vec<Row>, u64), Error> {
    let broken = |source: csv::Error| match source.is_io_error() {
        true => Error::ReadBlocks { path: path.to_owned(), source: source.into() },
        false => Error::Format { path: path.to_owned(), source },
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(text);
    let header = reader.headers().map_err(broken)?.clone();
    let mut form = Form::of(path, &header)?;
    let mut arrivals = Arrivals { path, trace, at: 0, column: place(&header, "arrival_s") };
    let (mut rows, mut record) = (Vec::new(), StringRecord::new());
    while reader.read_record(&mut record).map_err(broken)? {
        let task = arrivals.next(&record)?;
        rows.push(form.row(path, trace.tasks()[task].session, &record)?);
    }
    match rows.len() == trace.tasks().len() {
        true => Ok((rows, form.block_bytes())),
        false => {
            let tasks = trace.tasks().len();
            Err(Error::RowCount { path: path.to_owned(), rows: format!("{} rows", rows.len()), tasks })
        }
    }
}

fn place(header: &StringRecord, column: &str) -> Option<usize> {
    header.iter().position(|name| name.trim() == column)
}

/// Checks that rows and tasks match.
struct Arrivals<'a> {
    path: &'a Path,
    trace: &'a Trace,
    at: usize,
    column: Option<usize>,
}

impl Arrivals<'_> {
    /// The task that a record is of.
    fn next(&mut self, record: &StringRecord) -> Result<usize, Error> {
        let task = self.at;
        self.at += 1;
        let Some(expected) = self.trace.tasks().get(task) else {
            let rows = format!("{} rows or more", self.at);
            return Err(Error::RowCount { path: self.path.to_owned(), rows, tasks: task });
        };
        let Some(column) = self.column else { return Ok(task) };
        let value = record.get(column).unwrap_or_default().trim();
        // Arrivals have milliseconds.
        let fits = value.parse().is_ok_and(|arrival: f64| (arrival - expected.arrival_s).abs() < 1e-3);
        if fits { Ok(task) } else { Err(self.misfit(record, value, expected.arrival_s)) }
    }

    fn misfit(&self, record: &StringRecord, value: &str, arrival_s: f64) -> Error {
        Error::Misfit {
            path: self.path.to_owned(),
            line: line(record),
            value: value.chars().take(40).collect(),
            trace: self.trace.name().to_owned(),
            arrival_s,
        }
    }
}

fn line(record: &StringRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

/// What the columns are.
enum Form {
    Counted { session: usize, blocks: usize, shared: usize, sessions: HashMap<String, u32> },
    Hashed { ids: usize, chains: Chains },
}

impl Form {
    fn of(path: &Path, header: &StringRecord) -> Result<Self, Error> {
        if let Some(ids) = place(header, "hash_ids") {
            return Ok(Self::Hashed { ids, chains: Chains::default() });
        }
        let needed = |column| {
            let found = header.iter().collect::<Vec<_>>().join(",");
            place(header, column).ok_or(Error::BlockColumn { path: path.to_owned(), column, header: found })
        };
        Ok(Self::Counted {
            session: needed("session")?,
            blocks: needed("blocks")?,
            shared: needed("shared_blocks")?,
            sessions: HashMap::new(),
        })
    }

    const fn block_bytes(&self) -> u64 {
        match self {
            Self::Counted { .. } => COUNTED_BLOCK_BYTES,
            Self::Hashed { .. } => HASHED_BLOCK_BYTES,
        }
    }

    fn row(&mut self, path: &Path, session_of_task: Option<u32>, record: &StringRecord) -> Result<Row, Error> {
        let number = |column: &'static str, text: &str, most: u64, expected: &'static str| {
            text.trim().parse().ok().filter(|value| *value <= most).ok_or_else(|| Error::Value {
                path: path.to_owned(),
                line: line(record),
                column,
                value: text.chars().take(40).collect(),
                expected,
            })
        };
        match self {
            Self::Counted { session, blocks, shared, sessions } => {
                let blocks = number("blocks", &record[*blocks], MOST_BLOCKS, BLOCKS)?;
                let shared = number("shared_blocks", &record[*shared], blocks, SHARED)?;
                let new = sessions.len() as u32;
                let context = *sessions.entry(record[*session].trim().to_owned()).or_insert(new);
                Ok(Row { context, blocks, shared, base: 0 })
            }
            Self::Hashed { ids, chains } => {
                let ids = record[*ids].split_whitespace();
                let ids: Result<Vec<u64>, Error> = ids.map(|id| number("hash_ids", id, u64::MAX, IDS)).collect();
                Ok(chains.row(session_of_task, ids?))
            }
        }
    }
}

const BLOCKS: &str = "the number of blocks, from 0 to 4294967296";
const SHARED: &str = "a number of blocks that is at most `blocks`";
const IDS: &str = "whole numbers of at least 0, separated by spaces";

/// The state of contexts that are chains of ids.
#[derive(Default)]
struct Chains {
    /// By session, the context's number and its last chain.
    last: HashMap<u32, (u32, Vec<u64>)>,
    /// By id, the only context it was seen in; none if there are several.
    owners: HashMap<u64, Option<u32>>,
    contexts: u32,
}

impl Chains {
    fn row(&mut self, session: Option<u32>, ids: Vec<u64>) -> Row {
        let known = session.and_then(|session| self.last.get(&session));
        let context = known.map_or(self.contexts, |(context, _)| *context);
        self.contexts = self.contexts.max(context + 1);
        let common = |last: &[u64]| last.iter().zip(&ids).take_while(|(a, b)| a == b).count() as u64;
        let shared = known.map_or(0, |(_, last)| common(last));
        let elsewhere = |id: &&u64| self.owners.get(id).is_some_and(|owner| *owner != Some(context));
        let base = ids.iter().take_while(elsewhere).count() as u64;
        for id in &ids {
            let owner = self.owners.entry(*id).or_insert(Some(context));
            *owner = owner.filter(|owner| *owner == context);
        }
        let blocks = ids.len() as u64;
        if let Some(session) = session {
            self.last.insert(session, (context, ids));
        }
        Row { context, blocks, shared, base }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TraceTask;

    fn trace(sessions: &[Option<u32>]) -> Trace {
        let task = |(second, session): (usize, &Option<u32>)| TraceTask {
            arrival_s: second as f64,
            service_s: 1.0,

            session: *session,
            ..TraceTask::default()
        };
        Trace::new("day", sessions.iter().enumerate().map(task).collect()).expect("not empty")
    }

    fn parsed(text: &str, tasks: usize) -> Result<Vec<Row>, Error> {
        rows(Path::new("blocks.csv"), &trace(&vec![None; tasks]), text.as_bytes()).map(|(rows, _)| rows)
    }

    const fn row(context: u32, blocks: u64, shared: u64, base: u64) -> Row {
        Row { context, blocks, shared, base }
    }

    #[test]
    fn counts_are_taken_as_they_are() {
        let rows = parsed("arrival_s,session,blocks,shared_blocks\n0,a,4,0\n1,b,2,0\n2,a,6,4\n", 3).expect("valid");
        assert_eq!(rows, [row(0, 4, 0, 0), row(1, 2, 0, 0), row(0, 6, 4, 0)]);
    }

    #[test]
    fn chains_share_with_their_own_last_turn_and_with_others() {
        let text = "arrival_s,hash_ids\n0,0 1 2\n1,0 3\n2,0 1 2 4\n3,0 1 9\n4,0\n";
        let trace = trace(&[Some(0), Some(1), Some(0), Some(0), None]);
        let (rows, bytes) = rows(Path::new("x"), &trace, text.as_bytes()).expect("valid");
        let expected = [row(0, 3, 0, 0), row(1, 2, 0, 1), row(0, 4, 3, 1), row(0, 3, 2, 1), row(2, 1, 0, 1)];
        assert_eq!((rows.as_slice(), bytes), (&expected[..], HASHED_BLOCK_BYTES));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let header = "arrival_s,session,blocks,shared_blocks\n";
        for (text, message) in [
            ("arrival_s,session\n".to_owned(), "column `blocks` is missing from the header `arrival_s,session`"),
            (format!("{header}0,a,x,0\n"), "line 2: `blocks` is `x`"),
            (format!("{header}0,a,3,4\n"), "`shared_blocks` is `4`; write a number of blocks that is at most"),
            (format!("{header}5,a,3,0\n"), "line 2: arrival `5` is not that of the trace `day`, 0"),
            (header.to_owned(), "0 rows for a trace of 1 tasks"),
            (format!("{header}0,a,1,0\n1,a,1,0\n"), "2 rows or more for a trace of 1 tasks"),
            ("arrival_s,hash_ids\n0,1 -2\n".to_owned(), "`hash_ids` is `-2`"),
        ] {
            let error = parsed(&text, 1).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
