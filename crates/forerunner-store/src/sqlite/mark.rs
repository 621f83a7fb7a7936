//! Whether the log beside a database belongs to it, and exists when it must.
//!
//! SQLite treats a database without a log as complete, and a log as that of whatever database is beside it. So the
//! store writes a mark into the database: "incomplete without its log". The first commit in the log removes the mark.
//!
//! ```text
//! database alone    with its log     means
//! needs log n       whole n          an unclean end; all is there
//! needs log n       (no log)         the log was removed, or cannot be read: commits are lost
//! whole m, needs m  whole n          the log of another database: a copy was restored beside an old log
//! whole n           (no log)         all was copied into the database, by this program or by another
//! ```
//!
//! A backup is made through the log, so it is complete. The mark is renewed whenever the log was copied into the
//! database. After a kill a mark may remain; while it is being made, the lock file records it.

use std::{
    hash::{BuildHasher, RandomState},
    path::Path,
};

use rusqlite::{Connection, OpenFlags};

use super::{
    failure::{Sql, damaged},
    file::{StoreFile, beside},
    log::{NO_CHECKPOINT, PASSIVE, checkpoint},
    rows::{run, value},
};
use crate::StoreError;

/// Bits of `meta.beat` below the mark, which a store of an earlier version counts its checks with.
const COUNTER_BITS: u32 = 24;
/// Bits of the number of a mark.
const NUMBER_BITS: u32 = 36;
/// Place in the header of a database of the version that may read it: 2 for one with a write-ahead log.
const READ_VERSION: usize = 19;

/// The text of the lock file while a mark is made.
const MARKING: &str = "marking\n";

/// What a database records about its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nothing: it is new, or was written by an earlier version.
    None,
    /// What was committed after the mark is in the log alone.
    NeedsLog(u64),
    /// All that was committed is here.
    Whole(u64),
}

impl Mark {
    /// The number of marks to come, unlike that of any other database.
    pub fn fresh() -> u64 {
        (RandomState::new().hash_one(std::process::id()) >> (u64::BITS - NUMBER_BITS)).max(1)
    }

    pub fn read(connection: &Connection) -> Sql<Self> {
        Ok(Self::decode(value::<i64>(connection, "SELECT beat FROM meta", [])?.unwrap_or(0)))
    }

    pub fn write(self, connection: &Connection) -> Sql<()> {
        run(connection, "UPDATE meta SET beat = ?1", [self.encode()]).map(drop)
    }

    pub const fn encode(self) -> i64 {
        match self {
            Self::None => 0,
            Self::NeedsLog(number) => -((number as i64) << COUNTER_BITS),
            Self::Whole(number) => (number as i64) << COUNTER_BITS,
        }
    }

    const fn decode(beat: i64) -> Self {
        match beat.unsigned_abs() >> COUNTER_BITS {
            0 => Self::None,
            number if beat < 0 => Self::NeedsLog(number),
            number => Self::Whole(number),
        }
    }

    const fn number(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::NeedsLog(number) | Self::Whole(number) => Some(number),
        }
    }
}

/// Marks the database as one that needs its log, if all of the log is in it. Answers whether it did.
///
/// Not inside a transaction. Each step is synced: `synchronous` must be `FULL`.
pub(super) fn renew(connection: &Connection, file: &StoreFile) -> Sql<bool> {
    let (before, number) = (Mark::read(connection)?, Mark::fresh());
    note(file, MARKING);
    Mark::NeedsLog(number).write(connection)?;
    let is_marked = checkpoint(connection, PASSIVE)?.is_complete();
    // Otherwise a reader uses an older state, and the database still has the earlier mark.
    let after = if is_marked { Mark::Whole(number) } else { before };
    after.write(connection)?;
    if is_marked {
        note(file, &format!("log {number}\n"));
    }
    Ok(is_marked)
}

/// Marks the file as whole, before a proper end empties the log: a start that was cut off may have left the mark.
pub(super) fn settle(connection: &Connection) -> Sql<()> {
    match Mark::read(connection)? {
        Mark::NeedsLog(number) => Mark::Whole(number).write(connection),
        Mark::None | Mark::Whole(_) => Ok(()),
    }
}

/// Returns whether a mark was being made when the process before this one ended.
pub(super) fn is_half_made(connection: &Connection) -> Sql<bool> {
    Ok(matches!(Mark::read(connection)?, Mark::NeedsLog(_)))
}

/// Without the note a missing log may go unnoticed; the store itself is not affected.
fn note(file: &StoreFile, line: &str) {
    if let Err(error) = file.note(line) {
        tracing::warn!(%error, "store: the lock file cannot be written");
    }
}

/// What is wrong with a log.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    Missing,
    Foreign,
}

/// Judges the log by the database's record without it and with it, and by the number of its frames.
fn judge(alone: Mark, with_log: Mark, frames: i64, is_marking: bool) -> Verdict {
    match (alone, with_log) {
        (Mark::NeedsLog(_), _) if frames <= 0 && is_marking => Verdict::Fits,
        (Mark::NeedsLog(_), _) if frames <= 0 => Verdict::Missing,
        // A kill after the mark was written: the log begins with it.
        (_, Mark::NeedsLog(_) | Mark::None) | (Mark::None, _) => Verdict::Fits,
        (alone, with_log) if alone.number() == with_log.number() => Verdict::Fits,
        _ => Verdict::Foreign,
    }
}

/// Refuses a database whose log is missing or is that of another one. Changes nothing.
pub(super) fn inspect(connection: &Connection, file: &StoreFile) -> Result<(), StoreError> {
    let path = file.path();
    let log = beside(path, "-wal");
    let has_log = std::fs::metadata(&log).is_ok_and(|file| file.len() > 0);
    let alone = alone(path).unwrap_or(Mark::None);
    // What cannot be read is for other checks to find.
    let frames = checkpoint(connection, NO_CHECKPOINT).map_or(i64::MAX, |log| log.frames);
    let with_log = Mark::read(connection).unwrap_or(Mark::None);
    let verdict = if has_log && !has_had_log(file) {
        Verdict::Foreign
    } else {
        judge(alone, with_log, frames, file.noted() == MARKING)
    };
    let log = log.display();
    match verdict {
        Verdict::Fits => Ok(()),
        Verdict::Missing => Err(damaged(
            path,
            format!(
                "its log {log} is missing or cannot be read, though the node did not stop properly: what was accepted last is \
                 in it; put the log back, or accept the loss with `sqlite3 {} 'UPDATE meta SET beat = 0'`",
                path.display()
            ),
        )),
        Verdict::Foreign => Err(damaged(path, format!("{log} is the log of another database{}", stale(path)))),
    }
}

/// The remedy for a log that an earlier database may have left, appended to a reason.
pub(super) fn hint(path: &Path) -> String {
    let has_log = std::fs::metadata(beside(path, "-wal")).is_ok_and(|file| file.len() > 0);
    if has_log { stale(path) } else { String::new() }
}

fn stale(path: &Path) -> String {
    let (log, shared) = (beside(path, "-wal"), beside(path, "-shm"));
    format!(
        "; if a copy was restored here, remove {} and {}, which belong to what was here before",
        log.display(),
        shared.display()
    )
}

/// The record of a database without its log; `None` if it cannot be read alone.
fn alone(path: &Path) -> Option<Mark> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{}?immutable=1", escape(path)), flags).ok()?;
    Mark::read(&connection).ok()
}

/// A path as part of a URI.
fn escape(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let escaped = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") };
    path.as_os_str().as_bytes().iter().map(escaped).collect()
}

/// Whether a database was ever opened with a log: what `VACUUM INTO` writes was not.
fn has_had_log(file: &StoreFile) -> bool {
    file.header().map_or(true, |header| header[READ_VERSION] == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_their_number() {
        for mark in [
            Mark::None,
            Mark::NeedsLog(1),
            Mark::Whole(1),
            Mark::NeedsLog(Mark::fresh()),
            Mark::Whole((1 << NUMBER_BITS) - 1),
        ] {
            assert_eq!(Mark::decode(mark.encode()), mark);
        }
        assert_eq!(Mark::decode(4_711), Mark::None, "an earlier version counted its checks");
    }

    #[test]
    fn a_log_is_judged_by_what_is_there_without_it() {
        use Mark::{NeedsLog, None, Whole};
        use Verdict::{Fits, Foreign, Missing};
        let cases = [
            (NeedsLog(1), Whole(1), 9, Fits),
            (NeedsLog(1), NeedsLog(1), 0, Missing),
            (NeedsLog(1), NeedsLog(1), 2, Fits),
            (NeedsLog(1), Whole(2), 9, Foreign),
            (Whole(1), Whole(1), 0, Fits),
            (Whole(1), Whole(1), 9, Fits),
            (Whole(1), NeedsLog(2), 9, Fits),
            (Whole(1), Whole(2), 9, Foreign),
            (None, None, 0, Fits),
            (None, Whole(1), 9, Fits),
        ];
        for (alone, with_log, frames, verdict) in cases {
            assert_eq!(judge(alone, with_log, frames, false), verdict, "{alone:?} {with_log:?} {frames}");
        }
        assert_eq!(judge(NeedsLog(1), NeedsLog(1), 0, true), Fits, "a kill while the mark was made");
    }

    #[test]
    fn paths_are_escaped_in_uris() {
        assert_eq!(escape(Path::new("/a b/c?d#e%.db")), "/a%20b/c%3fd%23e%25.db");
    }
}
