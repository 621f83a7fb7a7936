//! Opening a database: the checks that change nothing, the connections.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    failure::{Sql, damaged, explain, unavailable},
    file::StoreFile,
    health, mark,
    schema::{self, APPLICATION_ID},
};
use crate::StoreError;

/// First version without the WAL-reset bug, which could corrupt a file with two connections.
const OLDEST_SQLITE: i32 = 3_051_003;
/// How long to wait for another program, such as a `sqlite3` shell, to release the file.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// Distinct statements of the writer; all stay prepared.
const STATEMENTS: usize = 128;

/// Refuses a SQLite that can corrupt files.
pub(super) fn assert_version() -> Result<(), StoreError> {
    match rusqlite::version_number() {
        number if number >= OLDEST_SQLITE => Ok(()),
        _ => Err(unavailable(format!(
            "SQLite {} can corrupt files; build with the bundled one, 3.51.3 or later",
            rusqlite::version()
        ))),
    }
}

/// Checks through a connection that cannot write: nothing changes when the answer is no.
pub(super) fn inspect(file: &StoreFile, quick_check: bool) -> Result<(), StoreError> {
    let path = file.path();
    if file.opened().is_ok_and(|file| file.len() == 0) {
        return Ok(());
    }
    let explain = |error| match explain(&error, path) {
        StoreError::Damaged { reason, .. } => damaged(path, reason + &mark::hint(path)),
        other => other,
    };
    let connection = reader(path).map_err(explain)?;
    let found = match schema::version(&connection) {
        Err(error) if is_half_created(&error) => {
            roll_back(path).map_err(explain)?;
            schema::version(&connection)
        }
        found => found,
    };
    let found = found.map_err(explain)?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(explain)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(explain)?;
    if application != APPLICATION_ID && (tables > 0 || application != 0) {
        return Err(damaged(path, "it is a SQLite file of another program"));
    }
    if found > schema::NEWEST {
        let place = path.display().to_string();
        return Err(StoreError::NewerSchema { place, found, known: schema::NEWEST });
    }
    mark::inspect(&connection, file)?;
    if !quick_check {
        return Ok(());
    }
    let damaged = |verdict: String| Err(damaged(path, verdict + &mark::hint(path)));
    health::verdict(&connection).map_err(explain)?.map_or(Ok(()), damaged)
}

/// Whether a process ended while it wrote the first pages: only then is there a journal of the old kind, from before the
/// write-ahead log. It takes a connection that writes to undo what was begun.
fn is_half_created(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
}

/// Has SQLite undo what was begun in a transaction that a kill cut off.
fn roll_back(path: &Path) -> Sql<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    tracing::info!(path = %path.display(), "store: undoing what a process had begun to write when it ended");
    schema::version(&connection).map(drop)
}

/// The one connection that writes.
pub(super) fn writer(path: &Path) -> Sql<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Else each new value bound where a partial index might serve makes SQLite parse and plan the statement again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let journal: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if !journal.eq_ignore_ascii_case("wal") {
        // A network disk without shared memory, for one.
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        return Err(rusqlite::Error::SqliteFailure(error, Some(format!("no write-ahead log here, only `{journal}`"))));
    }
    connection.execute_batch(
        // The writer checkpoints by itself, between groups. 64 MiB of page cache; the log is cut to 64 MiB if it grew.
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF; PRAGMA wal_autocheckpoint = 0; \
         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536; PRAGMA journal_size_limit = 67108864;",
    )?;
    schema::migrate(&mut connection, schema::MIGRATIONS)?;
    Ok(connection)
}

/// Opens a file again that this process has in use, with its log.
///
/// SQLite removes a log beside an empty database as a left-over, even through a connection that only reads. Here it has
/// accepted tasks, and the database was cut to nothing.
pub(super) fn again(file: &StoreFile, open: impl FnOnce(&Path) -> Sql<Connection>) -> Sql<Connection> {
    if !file.opened().is_ok_and(|found| found.len() > 0) {
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        let path = file.path().display();
        let reason = format!("it was cut to nothing while the node ran; its log {path}-wal is left alone");
        return Err(rusqlite::Error::SqliteFailure(error, Some(reason)));
    }
    let connection = open(file.path())?;
    // The log is opened with the first read: now, since the file may be cut at any time.
    connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> Sql<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;")?;
    Ok(connection)
}
