//! Tasks as columns, and columns as tasks.

use std::{error::Error as StdError, fmt, time::Duration};

use forerunner_core::{
    ContextCost, ContextId, Labels, PoolName, Priority, SchedulingKey, Task, TaskId, TaskState, Timestamp,
};
use forerunner_store::backend::{self, COLUMNS, Cell, Column, Kind, Part, column_list, place_of};
use tokio_postgres::{Row, types::FromSqlOwned};
use uuid::Uuid;

use crate::{
    failure::{Fault, Sql},
    unread::Unread,
};

/// Places of the store's own columns in a row of [`live_columns`] or [`ended_columns`].
const ID: usize = 0;
const POOL: usize = 1;
const DUE: usize = 2;
const CANCEL_EPOCH: usize = 3;
/// The place of the first of [`COLUMNS`].
const FIRST: usize = 4;
/// The place behind all of them, where a statement's own columns begin.
pub(crate) const AFTER: usize = FIRST + COLUMNS.len();

/// Returns the columns that [`stored`] reads, for `live t`.
pub(crate) fn live_columns() -> String {
    let columns = column_list(COLUMNS, |column| match column.part {
        Part::Task | Part::Input => format!("t.{}", column.name),
        Part::Output => format!("NULL::text AS {}", column.name),
    });
    format!("t.id, t.pool, t.due, t.cancel_epoch, {columns}")
}

/// Returns the same for `ended t`.
pub(crate) fn ended_columns() -> String {
    let columns = column_list(COLUMNS, |column| format!("t.{}", column.name));
    format!("t.id, t.pool, t.due, NULL::int8 AS cancel_epoch, {columns}")
}

/// What places a task in the queue of its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueEntry {
    pub pool: PoolName,
    pub id: Uuid,
    pub priority: Priority,
    pub due: Timestamp,
}

impl QueueEntry {
    /// Its place among the claimable tasks. Tenants have no shares yet.
    pub fn key(&self) -> SchedulingKey {
        SchedulingKey::new(self.priority, 0, self.due, TaskId::from_uuid(self.id))
    }
}

/// A task with the store's own data.
#[derive(Debug)]
pub(crate) struct Stored {
    pub due: Timestamp,
    /// Somebody cancelled it while it ran under its epoch.
    pub is_to_stop: bool,
    pub task: Task,
    /// What of it cannot be read.
    pub damage: Option<String>,
}

impl Stored {
    pub fn entry(&self) -> QueueEntry {
        let Task { id, priority, .. } = self.task;
        QueueEntry { pool: self.task.pool.clone(), id: *id.as_uuid(), priority, due: self.due }
    }
}

/// Reads a task from [`live_columns`] or [`ended_columns`].
///
/// # Errors
/// [`Fault::Damaged`] when a column cannot be read.
pub(crate) fn stored(row: &Row) -> Sql<Stored> {
    sound(row).map_err(|fault| unread(row, ID, fault))
}

/// As [`stored`], but a task that was set aside, or runs, is read as far as it can be.
pub(crate) fn stored_or_damaged(row: &Row) -> Sql<Stored> {
    match stored(row) {
        Err(Fault::Damaged(found)) if matches!(state_of(row), Ok(TaskState::Damaged | TaskState::Running)) => {
            salvaged(row, &found)
        }
        other => other,
    }
}

/// The state in a row of a task.
pub(crate) fn state_of(row: &Row) -> Sql<TaskState> {
    state(row, FIRST + place_of("state"))
}

/// What can be read of a task that cannot be read whole.
pub(crate) fn salvaged(row: &Row, found: &Unread) -> Sql<Stored> {
    let reason = &found.reason;
    let pool = pool(row, POOL).or_else(|_| PoolName::new("unnamed").map_err(unreadable))?;
    let read = |place, column: &Column| cell(row, FIRST + place, column.kind);
    let task = backend::salvaged((TaskId::from_uuid(found.id), pool), reason, read);
    let due = time(row, DUE).unwrap_or(task.run_at);
    let is_to_stop = get::<Option<i64>>(row, CANCEL_EPOCH).ok().flatten() == Some(task.epoch.0 as i64);
    Ok(Stored { due, is_to_stop, task, damage: Some(reason.clone()) })
}

/// The fault of a row that cannot be read, whose id is in this column.
pub(crate) fn unread(row: &Row, id: usize, fault: Fault) -> Fault {
    let reason = match fault {
        Fault::Unreadable(reason) => reason,
        other => return other,
    };
    match get(row, id) {
        Ok(id) => Fault::Damaged(Box::new(Unread { id, reason, even_running: false })),
        // It is in an index or an order only.
        Err(_) => Fault::Unreadable(reason),
    }
}

fn sound(row: &Row) -> Sql<Stored> {
    let id = TaskId::from_uuid(get(row, ID)?);
    let read = |place, column: &Column| cell(row, FIRST + place, column.kind);
    let task = backend::whole((id, pool(row, POOL)?), read, Fault::unreadable)?;
    let is_to_stop = get::<Option<i64>>(row, CANCEL_EPOCH)? == Some(task.epoch.0 as i64);
    Ok(Stored { due: time(row, DUE)?, is_to_stop, task, damage: None })
}

/// The value in a column.
fn cell(row: &Row, place: usize, kind: Kind) -> Sql<Cell<'static>> {
    Ok(match kind {
        Kind::Short => get::<Option<i16>>(row, place)?.map_or(Cell::Null, |number| Cell::Number(number.into())),
        Kind::Long => get::<Option<i64>>(row, place)?.map_or(Cell::Null, Cell::Number),
        Kind::Text => get::<Option<String>>(row, place)?.map_or(Cell::Null, |text| Cell::Text(text.into())),
        Kind::Id => get::<Option<Uuid>>(row, place)?.map_or(Cell::Null, Cell::Id),
    })
}

pub(crate) fn get<T: FromSqlOwned>(row: &Row, column: usize) -> Sql<T> {
    row.try_get(column).map_err(|error| {
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        wrong(row, column, cause)
    })
}

/// The fault of a column with an impossible value.
fn wrong(row: &Row, column: usize, cause: impl fmt::Display) -> Fault {
    let name = row.columns().get(column).map_or("?", tokio_postgres::Column::name);
    Fault::unreadable(format!("column `{name}`: {cause}"))
}

pub(crate) fn pool(row: &Row, column: usize) -> Sql<PoolName> {
    PoolName::new(get::<String>(row, column)?).map_err(|error| wrong(row, column, error))
}

pub(crate) fn priority(row: &Row, column: usize) -> Sql<Priority> {
    let level = get::<i16>(row, column)?;
    let checked = u64::try_from(level).ok().and_then(|level| Priority::new(level).ok());
    checked.ok_or_else(|| wrong(row, column, format_args!("{level} is not 0 to 9")))
}

/// The depth of a task.
pub(super) fn depth(row: &Row, column: usize) -> Sql<u32> {
    get::<Option<i64>>(row, column)?.map_or(Ok(0), |_| number(row, column))
}

pub(crate) fn state(row: &Row, column: usize) -> Sql<TaskState> {
    let code = get::<i16>(row, column)?;
    TaskState::from_code(code.into()).ok_or_else(|| wrong(row, column, format_args!("there is no state {code}")))
}

pub(crate) fn time(row: &Row, column: usize) -> Sql<Timestamp> {
    let micros = get(row, column)?;
    backend::stored_time(micros).ok_or_else(|| wrong(row, column, format_args!("{micros} is no time")))
}

pub(crate) fn optional_time(row: &Row, column: usize) -> Sql<Option<Timestamp>> {
    get::<Option<i64>>(row, column)?.map(|_| time(row, column)).transpose()
}

pub(crate) fn context(row: &Row, column: usize) -> Sql<Option<ContextId>> {
    let context = get::<Option<String>>(row, column)?.map(ContextId::stored).transpose();
    context.map_err(|error| wrong(row, column, error))
}

/// The cost of a task's context, stored as JSON.
pub(crate) fn parsed_cost(text: Option<String>) -> Sql<Option<Box<ContextCost>>> {
    text.map(|text| serde_json::from_str(&text).map_err(unreadable)).transpose()
}

/// Microseconds as stored; what is longer than 292,000 years is cut.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A label as one text to be found by.
pub(crate) fn label_pair(key: &str, value: &str) -> String {
    serde_json::to_string(&[key, value]).unwrap_or_default()
}

/// The texts of labels by which a task is found.
pub(crate) fn label_pairs(labels: &Labels) -> Option<Vec<String>> {
    (!labels.is_empty()).then(|| labels.iter().map(|(key, value)| label_pair(key, value)).collect())
}

/// A text that PostgreSQL accepts: it has no zero character.
pub(crate) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn number(row: &Row, column: usize) -> Sql<u32> {
    u32::try_from(get::<i64>(row, column)?).map_err(|error| wrong(row, column, error))
}

fn unreadable(error: impl StdError) -> Fault {
    Fault::unreadable(error.to_string())
}
