//! Whether the files of a store are where they were opened, while it is open.
//!
//! A descriptor still works when its file is removed, renamed or replaced; data written to it is then lost with the
//! process. So each group is checked before it is written and before it is answered: three calls of `stat`, some 3 µs.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

use rusqlite::Connection;

use super::{
    file::{FileId, StoreFile, beside},
    log::{NO_CHECKPOINT, checkpoint},
};

/// Bytes of the header of a log, and of the header of each of its frames.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// The state of the database when this process last wrote it: at a checkpoint, since otherwise only the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    size: u64,
}

/// The fields of the header of a database.
#[derive(Debug, Clone, Copy)]
struct Header {
    changes: u32,
    schema: u32,
    bytes: u64,
}

/// A file that SQLite opened beside the database.
#[derive(Debug)]
struct Companion {
    path: PathBuf,
    opened: Option<FileId>,
}

/// The files of a store, and their last known state.
#[derive(Debug)]
pub(super) struct Watch {
    file: Arc<StoreFile>,
    log: Companion,
    log_size: u64,
    shared: Companion,
    stamp: Option<Stamp>,
    header: Option<Header>,
    /// Why the files no longer contain what was written to them: this is permanent.
    spoilt: Option<String>,
    reported: Option<String>,
}

impl Watch {
    pub fn new(file: Arc<StoreFile>) -> Self {
        let companion = |suffix| Companion { path: beside(file.path(), suffix), opened: None };
        let (log, shared) = (companion("-wal"), companion("-shm"));
        Self { file, log, log_size: 0, shared, stamp: None, header: None, spoilt: None, reported: None }
    }

    /// Records the files as those that SQLite has just opened.
    pub fn learn(&mut self) {
        for companion in [&mut self.log, &mut self.shared] {
            companion.opened = std::fs::metadata(&companion.path).ok().map(|found| FileId::of(&found));
        }
        self.log_size = std::fs::metadata(&self.log.path).map_or(0, |found| found.len());
        self.note_checkpoint();
    }

    /// Forgets all but the name of the database: its connections may be closed.
    pub fn forget(&mut self) {
        (self.log.opened, self.shared.opened, self.log_size, self.stamp, self.header) = (None, None, 0, None, None);
    }

    /// Notes that this process has written the database.
    pub fn note_checkpoint(&mut self) {
        self.stamp = self.file.opened().ok().map(|found| Stamp::of(&found));
        self.header = self.file.header().ok().and_then(|header| Header::parse(&header));
    }

    /// Returns what happened to the files, if anything; logs when it begins and when it is over.
    pub fn fault(&mut self, connection: Option<&Connection>) -> Option<String> {
        let fault = self.find(connection);
        if fault != self.reported {
            match &fault {
                Some(fault) => tracing::error!("store: {fault}; rejecting submissions until it is repaired"),
                None => {
                    tracing::info!(path = %self.file.path().display(), "store: the files are back; accepting submissions again")
                }
            }
            self.reported.clone_from(&fault);
        }
        fault
    }

    /// Whether the files contain what was written to them, under whatever name.
    pub fn is_intact(&self) -> bool {
        self.spoilt.is_none()
    }

    fn find(&mut self, connection: Option<&Connection>) -> Option<String> {
        if self.spoilt.is_some() {
            return self.spoilt.clone();
        }
        let found = match misplaced(&self.file) {
            Ok(found) => found,
            Err(reason) => return Some(reason),
        };
        if self.stamp != Some(Stamp::of(&found)) && self.is_overwritten(&found) {
            let path = self.file.path().display();
            self.spoilt = Some(format!(
                "{path} was cut or overwritten while the node ran; stop the node, put the database or a copy in its place, \
                 and remove {path}-wal and {path}-shm"
            ));
            return self.spoilt.clone();
        }
        self.log_fault(connection)
    }

    /// Whether something else than SQLite wrote the database. Another program's SQLite may.
    fn is_overwritten(&mut self, found: &Metadata) -> bool {
        let header = self.file.header().ok().and_then(|header| Header::parse(&header));
        let is_overwritten = match (self.header, header) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(before), Some(now)) => {
                now.changes < before.changes || now.schema < before.schema || found.len() < now.bytes
            }
        };
        if !is_overwritten {
            (self.stamp, self.header) = (Some(Stamp::of(found)), header);
        }
        is_overwritten
    }

    fn log_fault(&mut self, connection: Option<&Connection>) -> Option<String> {
        let size = match (self.log.size(), self.shared.size()) {
            (Ok(size), Ok(_)) => size,
            (Err(reason), _) | (_, Err(reason)) => return Some(reason),
        };
        if size < self.log_size && connection.is_some_and(|connection| is_cut(connection, size)) {
            let path = self.log.path.display();
            self.spoilt = Some(format!("{path} was cut while the node ran; stop the node and restore a copy"));
        }
        self.log_size = size;
        self.spoilt.clone()
    }
}

impl Companion {
    /// Its size, if it is still the one that was opened.
    fn size(&self) -> Result<u64, String> {
        let found = std::fs::metadata(&self.path).ok();
        if self.opened.is_none() || found.as_ref().map(FileId::of) == self.opened {
            return Ok(found.map_or(0, |found| found.len()));
        }
        Err(format!(
            "{} was removed or replaced while the node ran; stop the node, which then writes its data into the \
             database, and start it again",
            self.path.display()
        ))
    }
}

/// Whether a file has its name, and if not, what happened to it.
pub(super) fn misplaced(file: &StoreFile) -> Result<Metadata, String> {
    let path = file.path().display();
    let remedy = "put the same file back, or stop the node and restore a copy";
    match std::fs::metadata(file.path()) {
        Ok(found) if FileId::of(&found) == file.id() => led_astray(file).map_or(Ok(found), Err),
        Ok(_) => Err(format!("another file was put in the place of {path} while the node ran; {remedy}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("{path} was removed or renamed while the node ran; {remedy}"))
        }
        Err(error) => Err(format!("cannot check {path}: {error}")),
    }
}

/// Whether the path that was given leads to the file no more. The next start would open what it leads to then, and the tasks
/// that are accepted until then would seem to be lost.
fn led_astray(file: &StoreFile) -> Option<String> {
    let given = file.given()?;
    let leads_to_it = std::fs::metadata(given).is_ok_and(|found| FileId::of(&found) == file.id());
    (!leads_to_it).then(|| {
        let (given, path) = (given.display(), file.path().display());
        format!(
            "{given} led to {path} when the node started and no longer does; point the link there again, or restart the node \
             if it is to leave the tasks of {path} alone"
        )
    })
}

/// Whether a log of this size lacks frames that SQLite knows.
fn is_cut(connection: &Connection, size: u64) -> bool {
    let page: u64 =
        connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0)).map_or(0, i64::unsigned_abs);
    let frames = checkpoint(connection, NO_CHECKPOINT).map_or(0, |log| log.frames.max(0).unsigned_abs());
    frames > 0 && size < LOG_HEADER + frames * (FRAME_HEADER + page)
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self { modified: (file.mtime(), file.mtime_nsec()), size: file.len() }
    }
}

impl Header {
    /// Reads the header of a database that has a write-ahead log; see <https://www.sqlite.org/fileformat2.html#the_database_header>.
    fn parse(header: &[u8; 100]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let page = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size => u64::from(size),
        };
        let is_ours = header.starts_with(b"SQLite format 3\0") && header[18..20] == [2, 2];
        is_ours.then_some(Self { changes: number(24)?, schema: number(40)?, bytes: page * u64::from(number(28)?) })
    }
}
