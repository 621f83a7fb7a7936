//! A reserve for when the disk is full, so that what frees space can still be written.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::Connection;
use rustix::fs::{FallocateFlags, fallocate};

use super::{
    failure::{KIND, Sql},
    file::open_beside,
};
use crate::StoreError;

/// Size of the reserve, in bytes. An 8 MiB disk that was full to the last byte could not even delete; this much was
/// enough to make it work again.
const RESERVE: u64 = 1 << 20;
const PAGE: u64 = 4_096;

/// The largest size of the database, shared with the store so that it can be changed while it runs; 0 for none.
pub(super) type MaxSize = Arc<AtomicU64>;

/// The reserve: a file of its own, and as much below the largest allowed size of the database.
pub(super) struct Space {
    path: PathBuf,
    max_size: MaxSize,
    /// Whether the reserve exists. While it does not, no new task is accepted.
    is_held: bool,
    applied: Option<u64>,
}

impl Space {
    pub fn new(path: PathBuf, max_size: MaxSize) -> Self {
        Self { path, max_size, is_held: false, applied: None }
    }

    /// Records that a connection is new and has no largest size yet.
    pub fn forget_connection(&mut self) {
        self.applied = None;
    }

    /// Tries to set the reserve aside; answers why not.
    pub fn hold(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let full = |reason: String| StoreError::Full { store: KIND, reason };
        if !self.is_held {
            self.has_room(connection)
                .map_err(|error| full(error.to_string()))?
                .map_or(Ok(()), |reason| Err(full(reason)))?;
            self.write_ballast().map_err(|error| full(format!("no room for a reserve of {RESERVE} bytes: {error}")))?;
            self.is_held = true;
        }
        self.apply(connection).map_err(|error| full(error.to_string()))
    }

    /// Releases the reserve, for what must be written now.
    pub fn release(&mut self, connection: &Connection) -> Sql<()> {
        if self.is_held {
            tracing::warn!(path = %self.path.display(), "store: no space left; releasing the reserve and rejecting new tasks");
        }
        self.is_held = false;
        // A file that cannot be cut reserves no space either.
        drop(self.open().and_then(|file| file.set_len(0)));
        self.apply(connection)
    }

    /// Sets the largest size on the connection, if that has changed.
    pub fn apply(&mut self, connection: &Connection) -> Sql<()> {
        let wanted = match self.max_size.load(Ordering::Relaxed) {
            0 => u64::from(u32::MAX) - 1,
            bytes if self.is_held => bytes.saturating_sub(RESERVE) / PAGE,
            bytes => bytes / PAGE,
        };
        if self.applied != Some(wanted) {
            connection.pragma_update_and_check(None, "max_page_count", wanted.max(1) as i64, |_| Ok(()))?;
            self.applied = Some(wanted);
        }
        Ok(())
    }

    /// Answers why the database itself has no room for the reserve, if so.
    fn has_room(&self, connection: &Connection) -> Sql<Option<String>> {
        let max_pages = match self.max_size.load(Ordering::Relaxed) {
            0 => return Ok(None),
            bytes => bytes / PAGE,
        };
        let pages: u64 = pragma(connection, "page_count")?;
        let free: u64 = pragma(connection, "freelist_count")?;
        let used = pages.saturating_sub(free);
        let fits = used + 2 * RESERVE / PAGE <= max_pages.max(2 * RESERVE / PAGE);
        Ok((!fits).then(|| format!("{} of {} bytes are used", used * PAGE, max_pages * PAGE)))
    }

    /// Opens the reserve. A link to another file is removed first: a user with write access to the directory could make
    /// the store cut or fill a file.
    fn open(&self) -> io::Result<File> {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| !found.is_file() || found.nlink() > 1) {
            tracing::warn!(path = %self.path.display(), "store: the reserve was a link to another file; replacing it by a file");
            std::fs::remove_file(&self.path)?;
        }
        open_beside(&self.path)
    }

    fn write_ballast(&self) -> io::Result<()> {
        let file = self.open()?;
        match fallocate(&file, FallocateFlags::empty(), 0, RESERVE) {
            Ok(()) => Ok(()),
            // Not every file system can allocate without writing.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => fill(file),
            Err(error) => Err(error.into()),
        }
    }
}

fn fill(mut file: File) -> io::Result<()> {
    file.write_all(&vec![0xff; RESERVE as usize])?;
    file.sync_data()
}

fn pragma(connection: &Connection, name: &str) -> Sql<u64> {
    connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}
