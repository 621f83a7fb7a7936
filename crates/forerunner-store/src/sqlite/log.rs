//! Limiting the length of the write-ahead log.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rusqlite::Connection;

use super::{
    failure::Sql,
    file::{StoreFile, beside},
    jobs::Weight,
    mark, open,
};

/// Written bytes, by estimate, after which the log is copied into the file: 16 MiB.
const LARGE: usize = 16 << 20;
/// Written bytes, by estimate, after which a mark is tried again that could not be made: 1 MiB.
const RETRY: usize = 1 << 20;
/// Size of the log past which readers are waited for, so that it can start over: 64 MiB.
const TOO_LARGE: u64 = 64 << 20;
/// How long. The store's own readers are done by then; those of another program may never be.
const PATIENCE: Duration = Duration::from_millis(200);
/// Estimated bytes of a commit beside its tasks: some pages of each table and index.
const GROUP_BYTES: usize = 12 * 4_096;
/// Estimated bytes of one task beside its payload.
const ITEM_BYTES: usize = 2_048;

/// Returns the length of the log, and copies nothing.
pub(super) const NO_CHECKPOINT: &str = "PRAGMA wal_checkpoint(NOOP)";
/// Copies what no reader is in the way of.
pub(super) const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Waits for readers, so that the log is written from its beginning again. The next commit cuts it: an empty log could
/// not be distinguished from one that was cut to nothing.
const RESTART: &str = "PRAGMA wal_checkpoint(RESTART)";
/// Leaves the log empty.
const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// Watches the log's growth.
pub(super) struct Log {
    file: Arc<StoreFile>,
    path: PathBuf,
    written: usize,
    /// Size past which the next warning is due.
    warn_past: u64,
}

/// The result of copying the log into the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checkpoint {
    /// Frames in the log; -1 without one.
    pub frames: i64,
    /// How many of them are in the database.
    copied: i64,
}

impl Checkpoint {
    pub const fn is_complete(self) -> bool {
        self.copied == self.frames
    }
}

impl Log {
    pub fn new(file: Arc<StoreFile>) -> Self {
        Self { path: beside(file.path(), "-wal"), file, written: 0, warn_past: TOO_LARGE }
    }

    /// Notes what a group has written.
    pub fn note(&mut self, weight: Weight) {
        self.written += GROUP_BYTES + weight.items * ITEM_BYTES + weight.bytes;
    }

    /// Makes it time to copy the log, and to mark the database, after the next group.
    pub const fn mark_soon(&mut self) {
        self.written = LARGE;
    }

    /// Whether it is time to copy the log into the database.
    pub const fn is_large(&self) -> bool {
        self.written >= LARGE
    }

    /// Copies the log into the database, in the writer's own time between groups.
    ///
    /// The next commit reports a failure: no answer depends on this copy.
    pub fn copy(&mut self, connection: &Connection) {
        self.written = 0;
        let size = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let outcome = match size > TOO_LARGE {
            true => restart(connection),
            false => checkpoint(connection, PASSIVE),
        };
        match outcome {
            Ok(done) if done.is_complete() => self.renew_mark(connection),
            // Some reader was in the way; one of another program may be for long.
            Ok(_) if size <= TOO_LARGE => self.written = LARGE - RETRY,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, size, "store: cannot checkpoint the write-ahead log"),
        }
        self.warn_of(size);
    }

    fn renew_mark(&mut self, connection: &Connection) {
        match mark::renew(connection, &self.file) {
            Ok(true) => {}
            Ok(false) => self.written = LARGE - RETRY,
            Err(error) => tracing::warn!(%error, "store: cannot mark the write-ahead log"),
        }
    }

    /// Warns of a log that grows, each time it has doubled.
    fn warn_of(&mut self, size: u64) {
        if size <= TOO_LARGE {
            self.warn_past = TOO_LARGE;
        } else if size > self.warn_past {
            self.warn_past = size * 2;
            tracing::warn!(
                path = %self.path.display(),
                size_bytes = size,
                "store: the write-ahead log grows because another program has an open read transaction; end that transaction"
            );
        }
    }

    /// Copies everything into the database and leaves the log empty.
    pub fn empty(&mut self, connection: &Connection) -> Sql<()> {
        checkpoint(connection, TRUNCATE).map(drop)
    }
}

/// Copies the log and waits for readers, but not for long.
fn restart(connection: &Connection) -> Sql<Checkpoint> {
    connection.busy_timeout(PATIENCE)?;
    let done = checkpoint(connection, RESTART);
    connection.busy_timeout(open::BUSY)?;
    done
}

/// Runs one of the checkpoints above.
pub(super) fn checkpoint(connection: &Connection, sql: &str) -> Sql<Checkpoint> {
    connection.prepare_cached(sql)?.query_row([], |row| Ok(Checkpoint { frames: row.get(1)?, copied: row.get(2)? }))
}
