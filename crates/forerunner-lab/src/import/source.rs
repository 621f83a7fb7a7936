//! Where a recording comes from: a file, a pipe or standard input, plain or in gzip.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
    rc::Rc,
};

use flate2::read::MultiGzDecoder;
use forerunner_console::text::{place, unmarked};

/// Bytes that are read ahead to guess the form.
const HEAD: u64 = 64 * 1024;
/// Longest record, in bytes: a line, or an object.
pub const LONGEST_RECORD: u64 = 16 << 20;
/// The first bytes of a file in gzip.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// An open recording. It is opened once and read once, since a pipe cannot be read again.
pub struct Source {
    place: String,
    name: String,
    head: Vec<u8>,
    rest: Box<dyn BufRead>,
}

impl Source {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors Names the source and the error of the system.
    pub fn open(path: &Path) -> Result<Self, String> {
        let broken = |error: io::Error| format!("cannot read trace `{}`: {error}", path.display());
        let place = place(&path.to_string_lossy()).to_owned();
        if path == Path::new("-") {
            return Self::new(place, "stdin", BufReader::new(io::stdin())).map_err(broken);
        }
        let file = File::open(path).map_err(broken)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = |name: &str| {
            [".gz", ".csv", ".jsonl", ".ndjson", ".json", ".log"]
                .iter()
                .find_map(|end| name.strip_suffix(end).map(str::to_owned))
        };
        let stem = ending(&name).unwrap_or_else(|| name.clone().into_owned());
        let name = ending(&stem).unwrap_or(stem);
        Self::new(place, &name, BufReader::new(file)).map_err(broken)
    }

    /// Begins to read. The first bytes show whether it is in gzip.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn new(place: String, name: &str, mut rest: impl BufRead + 'static) -> io::Result<Self> {
        let head = ahead(&mut rest)?;
        if !head.starts_with(GZIP) {
            return Ok(Self { place, name: name.to_owned(), head, rest: Box::new(rest) });
        }
        let mut plain = BufReader::new(MultiGzDecoder::new(Cursor::new(head).chain(rest)));
        let head = ahead(&mut plain)?;
        Ok(Self { place, name: name.to_owned(), head, rest: Box::new(plain) })
    }

    /// Names the source, for messages.
    pub fn place(&self) -> String {
        self.place.clone()
    }

    /// The name of the trace.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// The first bytes of the text.
    pub fn head(&self) -> &[u8] {
        unmarked(&self.head)
    }

    /// The whole text, without a byte order mark.
    pub fn reader(self) -> impl BufRead {
        let text = unmarked(&self.head).to_vec();
        Cursor::new(text).chain(self.rest)
    }
}

/// Reads the first bytes. A pipe gives them in pieces.
fn ahead(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// How much one record may still read.
#[derive(Debug, Clone)]
pub struct Budget(Rc<Cell<u64>>);

impl Budget {
    /// Limits what `reader` gives between two calls of [`Budget::renew`].
    pub fn limit<R: BufRead>(reader: R) -> (Self, impl Read) {
        let budget = Self(Rc::new(Cell::new(LONGEST_RECORD)));
        (budget.clone(), LimitedReader { reader, budget })
    }

    /// Begins a new record.
    pub fn renew(&self) {
        self.0.set(LONGEST_RECORD);
    }
}

struct LimitedReader<R> {
    reader: R,
    budget: Budget,
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.0.get();
        if left == 0 {
            let text = format!("a record is longer than {} MiB; split it", LONGEST_RECORD >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let read = self.reader.read(buffer)?;
        self.budget.0.set(left.saturating_sub(read as u64));
        Ok(read)
    }
}
