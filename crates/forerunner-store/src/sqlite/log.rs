//! Keeping the write-ahead log short.

use std::path::PathBuf;

use rusqlite::Connection;

use super::{failure::Sql, jobs::Weight};

/// Written bytes, by estimate, after which the log is copied into the file: 16 MiB.
const LARGE: usize = 16 << 20;
/// Size of the log past which readers are waited for, so that it can start over: 64 MiB.
const TOO_LARGE: u64 = 64 << 20;
/// What a commit writes beside its tasks, by estimate: some pages of each table and index.
const GROUP_BYTES: usize = 12 * 4_096;
/// What one task adds beside its payload, by estimate.
const ITEM_BYTES: usize = 2_048;

/// Watches the log's growth.
pub(super) struct Log {
    path: PathBuf,
    written: usize,
}

impl Log {
    pub fn new(path: PathBuf) -> Self {
        Self { path, written: 0 }
    }

    /// Notes what a group has written.
    pub fn note(&mut self, weight: Weight) {
        self.written += GROUP_BYTES + weight.items * ITEM_BYTES + weight.bytes;
    }

    /// Copies the log into the file once it is large, in the writer's own time between groups.
    ///
    /// A failure is left to the next commit to report: nothing that was answered depends on it.
    pub fn checkpoint_if_large(&mut self, connection: &Connection) {
        if self.written < LARGE {
            return;
        }
        self.written = 0;
        let size = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let mode = if size > TOO_LARGE { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
        if let Err(error) = checkpoint(connection, mode) {
            tracing::warn!(%error, size, "store: the log could not be copied into the file");
        }
    }

    /// Copies everything into the file and leaves the log empty.
    pub fn empty(&mut self, connection: &Connection) -> Sql<()> {
        checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    }
}

fn checkpoint(connection: &Connection, sql: &str) -> Sql<()> {
    connection.prepare_cached(sql)?.query_row([], |_| Ok(()))
}
