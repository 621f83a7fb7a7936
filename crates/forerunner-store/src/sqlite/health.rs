//! The check of the whole file: before it is opened if it is small, else in the background, so that a start does not
//! wait for it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, InterruptHandle};

use super::{
    failure::{Sql, damaged, explain, unavailable},
    open,
};
use crate::StoreError;

/// Largest file that is checked before it is opened, in bytes: about ten milliseconds, and a tenth of a second on a
/// busy machine. A node that restarts under load has no more to spare.
const SMALL: u64 = 4 << 20;
/// How often a check tests whether it is to end.
const INSIST: Duration = Duration::from_millis(5);

/// Whether a file is small enough to be checked while its opening waits.
pub(super) fn is_small(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() <= SMALL)
}

/// What SQLite finds wrong with a file.
pub(super) fn verdict(connection: &Connection) -> Sql<Option<String>> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then_some(verdict))
}

/// A check that runs, or has run; it ends with this.
pub(super) struct Health {
    damage: Arc<OnceLock<StoreError>>,
    check: Option<(InterruptHandle, JoinHandle<()>)>,
}

impl Health {
    /// Checks a file on a thread of its own.
    pub fn begin(path: PathBuf) -> Result<Self, StoreError> {
        let damage = Arc::<OnceLock<StoreError>>::default();
        let connection = open::reader(&path).map_err(|error| explain(&error, &path))?;
        let interrupt = connection.get_interrupt_handle();
        let found = Arc::clone(&damage);
        let thread = std::thread::Builder::new().name("store-check".to_owned());
        let thread = thread.spawn(move || check(&connection, &path, &found));
        let thread = thread.map_err(|error| unavailable(error.to_string()))?;
        Ok(Self { damage, check: Some((interrupt, thread)) })
    }

    /// What was found to be wrong so far.
    pub fn damage(&self) -> Option<StoreError> {
        self.damage.get().cloned()
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        let Some((interrupt, thread)) = self.check.take() else { return };
        // A check that has not begun yet does not notice it.
        while !thread.is_finished() {
            interrupt.interrupt();
            std::thread::sleep(INSIST);
        }
        drop(thread.join());
    }
}

fn check(connection: &Connection, path: &Path, found: &OnceLock<StoreError>) {
    let error = match verdict(connection) {
        Ok(None) => return tracing::debug!(path = %path.display(), "store: the whole file is sound"),
        Ok(Some(verdict)) => damaged(path, verdict),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => return,
        Err(error) => explain(&error, path),
    };
    tracing::error!(%error, "store: the check of the whole file failed");
    if matches!(error, StoreError::Damaged { .. }) {
        // It is set once.
        found.set(error).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_file_stays_so_and_a_check_ends_with_its_store() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tasks.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
        let health = Health::begin(path.clone()).unwrap();
        while !health.check.as_ref().unwrap().1.is_finished() {
            std::thread::yield_now();
        }
        assert!(health.damage().is_none());
        drop(Health::begin(path).unwrap());
    }

    #[test]
    fn damage_is_found_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tasks.db");
        let connection = Connection::open(&path).unwrap();
        let fill = "CREATE TABLE t (a); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) \
                    INSERT INTO t SELECT hex(randomblob(20)) FROM n";
        connection.execute_batch(fill).unwrap();
        drop(connection);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4096].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        let health = Health::begin(path).unwrap();
        while !health.check.as_ref().unwrap().1.is_finished() {
            std::thread::yield_now();
        }
        assert!(matches!(health.damage(), Some(StoreError::Damaged { .. })));
    }
}
