//! Tasks whose rows cannot be read: set aside, so that they are in nobody's way.

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use forerunner_core::{
    ErrorKind, NewTask, Payload, PoolName, RetryPolicy, Task, TaskError, TaskId, TaskState, Timestamp,
};
use serde_json::value::RawValue;

use crate::StoreError;

/// Most damaged rows that are logged one by one at a time; the rest is counted in one line.
const LOGGED: usize = 20;

/// How many tasks a store has set aside because their rows cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DamagedTasks {
    /// The tasks that are damaged now.
    pub there: u64,
    /// Those that this process has found since it opened the store.
    pub found: u64,
}

/// The same, shared by the threads of a store.
#[derive(Debug, Default)]
pub struct DamageCount {
    there: AtomicU64,
    found: AtomicU64,
    /// The message of the engine about a part of the file that it cannot read at all.
    corrupt: OnceLock<StoreError>,
}

impl DamageCount {
    /// Notes how many tasks are set aside now.
    pub fn note_there(&self, there: u64) {
        self.there.store(there, Ordering::Relaxed);
    }

    /// Records an error of the engine, if it means damage beyond single rows.
    pub(crate) fn note_error(&self, error: &StoreError) {
        if matches!(error, StoreError::Damaged { .. }) {
            // It is set once.
            self.corrupt.set(error.clone()).unwrap_or_default();
        }
    }

    /// What is damaged beyond single rows.
    pub(crate) fn corrupt(&self) -> Option<StoreError> {
        self.corrupt.get().cloned()
    }

    /// Returns the count.
    pub fn get(&self) -> DamagedTasks {
        DamagedTasks { there: self.there.load(Ordering::Relaxed), found: self.found.load(Ordering::Relaxed) }
    }

    /// Logs and counts tasks that have just been set aside.
    ///
    /// Each is the name of a row, and the reason why it cannot be read.
    pub fn note_found(&self, found: &[(String, String)]) {
        for (row, reason) in found.iter().take(LOGGED) {
            tracing::error!(row, reason, "store: cannot read a task; it is set aside as damaged");
        }
        if found.len() > LOGGED {
            tracing::error!(
                tasks = found.len() - LOGGED,
                "store: cannot read more tasks; they are set aside as damaged"
            );
        }
        self.found.fetch_add(found.len() as u64, Ordering::Relaxed);
    }
}

/// A row of the tasks that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The number of the row.
    pub row: i64,
    /// Why it cannot be read.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the task in row {} cannot be read: {}", self.row, self.reason)
    }
}

impl std::error::Error for Damage {}

/// The substitute for a task that cannot be read. A store fills in what it can read.
pub fn stand_in(id: TaskId, pool: PoolName, reason: &str) -> Task {
    Task { state: TaskState::Damaged, error: Some(unreadable(reason)), ..blank(id, pool) }
}

/// A task before its columns are read.
pub(crate) fn blank(id: TaskId, pool: PoolName) -> Task {
    let new = NewTask::new(pool, Payload::null());
    Task::accepted(id, new, Timestamp::default(), Duration::ZERO, RetryPolicy::default())
}

/// The error of a damaged task.
pub fn unreadable(reason: &str) -> TaskError {
    TaskError::new(ErrorKind::Damaged, format!("the stored task cannot be read: {reason}"))
}

/// The error of a damaged task that was given up.
pub fn given_up(reason: &str) -> TaskError {
    TaskError::new(
        ErrorKind::Cancelled,
        format!("the task was cancelled by request; its stored form could not be read: {reason}"),
    )
}

/// The id of a task whose own cannot be read: `00000000-0000-8000-8000-` and the number of its row.
pub(crate) fn id_of_row(row: i64) -> TaskId {
    const FORM: u128 = 0x0000_0000_0000_8000_8000_0000_0000_0000;
    TaskId::from_uuid(uuid::Uuid::from_u128(FORM | u128::from(row.unsigned_abs() & 0xffff_ffff_ffff)))
}

/// A stored time, unless it is outside the years 1 to 9999, for which no time has a text.
pub fn stored_time(micros: i64) -> Option<Timestamp> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_207_200_999_999;
    YEARS.contains(&micros).then(|| Timestamp::from_micros(micros))
}

/// A stored text that must be JSON.
pub fn stored_json(text: &str) -> Result<Payload, serde_json::Error> {
    serde_json::from_str::<&RawValue>(text).map(|_| Payload::trusted(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_without_an_id_is_named_by_its_row() {
        assert_eq!(id_of_row(0x2a).to_string(), "00000000-0000-8000-8000-00000000002a");
    }

    #[test]
    fn a_stored_text_is_one_json_value() {
        assert!(stored_json(" {\"a\": [1]} ").is_ok());
        for text in ["", "{", "1 2", "nonsense", "\u{0}"] {
            assert!(stored_json(text).is_err(), "{text}");
        }
    }
}
