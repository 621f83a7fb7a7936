//! Tasks as columns, and columns as tasks.

use std::{borrow::Cow, error::Error as StdError};

use forerunner_core::{
    ContextCost, ContextId, Labels, LeaseEpoch, PoolName, Priority, Task, TaskId, TaskState, Timestamp,
};
use rusqlite::{
    Error, Row,
    types::{FromSql, ToSqlOutput, Type, ValueRef},
};
use uuid::Uuid;

use super::failure::Sql;
use crate::{
    columns::{self, COLUMNS, Cell, Column, Kind, Part, column_list, place_of},
    damage::{self, Damage},
};

/// Places of the store's own columns in a row of [`task_columns`].
const ROW: usize = 0;
const ID: usize = 1;
const POOL: usize = 2;
const DUE: usize = 3;
/// The place of the first of [`COLUMNS`].
const FIRST: usize = 4;
/// The place behind all of them, where a statement's own columns begin.
pub(super) const AFTER: usize = FIRST + COLUMNS.len();

/// Returns the columns that [`stored`] reads, for `tasks t` and `inputs i`; `output` is where the output is.
pub(super) fn task_columns(output: &str) -> String {
    let columns = column_list(COLUMNS, |column| match column.part {
        Part::Task => format!("t.{}", column.name),
        Part::Input => format!("i.{}", column.name),
        Part::Output => output.to_owned(),
    });
    format!("t.task, t.id, t.pool, t.due, {columns}")
}

/// A task with the store's own data.
#[derive(Debug)]
pub(super) struct Stored {
    pub row: i64,
    pub pool: i64,
    pub due: Timestamp,
    pub task: Task,
    /// What of it cannot be read, if it was set aside for that.
    pub damage: Option<String>,
}

/// Reads a task from [`task_columns`]; `pool_name` finds the name of its pool.
///
/// # Errors
/// [`Damage`], for [`damage_in`], when a column cannot be read.
pub(super) fn stored(row: &Row<'_>, pool_name: impl FnOnce(i64) -> Option<PoolName>) -> Sql<Stored> {
    sound(row, pool_name).map_err(|error| damaged_row(row, 0, &error))
}

/// As [`stored`], but a task that was set aside is read as far as it can be.
pub(super) fn stored_or_damaged(row: &Row<'_>, pool_name: impl Fn(i64) -> Option<PoolName>) -> Sql<Stored> {
    match stored(row, &pool_name) {
        Err(error) if is_set_aside(row) => match damage_in(&error) {
            Some(damage) => salvaged(row, pool_name, damage),
            None => Err(error),
        },
        other => other,
    }
}

/// Whether a row of [`task_columns`] is of a task that was set aside.
pub(super) fn is_set_aside(row: &Row<'_>) -> bool {
    matches!(state(row, FIRST + place_of("state")), Ok(TaskState::Damaged))
}

/// The readable part of a task that is not readable as a whole.
pub(super) fn salvaged(row: &Row<'_>, pool_name: impl FnOnce(i64) -> Option<PoolName>, damage: &Damage) -> Sql<Stored> {
    let pool = row.get(POOL).unwrap_or(0);
    let id = uuid(row, ID).map_or_else(|_| damage::id_of_row(damage.row), TaskId::from_uuid);
    let name = pool_name(pool).map_or_else(|| lost_pool(pool), Ok)?;
    let task = columns::salvaged((id, name), &damage.reason, |place, column| cell(row, FIRST + place, column.kind));
    let due = time(row, DUE).unwrap_or(task.run_at);
    Ok(Stored { row: damage.row, pool, due, task, damage: Some(damage.reason.clone()) })
}

/// The substitute name of a pool without a name in the file.
pub(super) fn lost_pool(pool: i64) -> Sql<PoolName> {
    name_of(POOL, PoolName::new(format!("unnamed-{}", pool.unsigned_abs())))
}

fn sound(row: &Row<'_>, pool_name: impl FnOnce(i64) -> Option<PoolName>) -> Sql<Stored> {
    let (number, pool) = (row.get(ROW)?, row.get(POOL)?);
    let name = pool_name(pool).ok_or(Error::IntegralValueOutOfRange(POOL, pool))?;
    let id = TaskId::from_uuid(uuid(row, ID)?);
    let read = |place, column: &Column| cell(row, FIRST + place, column.kind);
    let task = columns::whole((id, name), read, |reason| damaged_task(number, reason))?;
    Ok(Stored { row: number, pool, due: time(row, DUE)?, task, damage: None })
}

/// The value in a column.
fn cell<'a>(row: &'a Row<'_>, place: usize, kind: Kind) -> Sql<Cell<'a>> {
    let value = row.get_ref(place)?;
    match (value, kind) {
        (ValueRef::Null, _) => Ok(Cell::Null),
        (ValueRef::Integer(number), _) => Ok(Cell::Number(number)),
        (ValueRef::Text(_), _) => text(row, place).map(|text| Cell::Text(text.into())),
        (ValueRef::Blob(bytes), Kind::Id) if bytes.len() == 16 => uuid(row, place).map(Cell::Id),
        (other, _) => Err(Error::InvalidColumnType(place, String::new(), other.data_type())),
    }
}

/// A value to be stored.
pub(super) fn param(cell: Cell<'_>) -> ToSqlOutput<'_> {
    match cell {
        Cell::Null => ToSqlOutput::Borrowed(ValueRef::Null),
        Cell::Number(number) => ToSqlOutput::Borrowed(ValueRef::Integer(number)),
        Cell::Text(Cow::Borrowed(text)) => ToSqlOutput::Borrowed(text.into()),
        Cell::Text(Cow::Owned(text)) => text.into(),
        Cell::Id(id) => ToSqlOutput::Owned(id.into_bytes().to_vec().into()),
    }
}

/// The error for a row that cannot be read, whose number is in a column.
pub(super) fn damaged_row(row: &Row<'_>, number: usize, error: &Error) -> Error {
    if let Some(known) = damage_in(error) {
        return damaged_task(known.row, known.reason.clone());
    }
    let column = |index: usize| row.as_ref().column_name(index).unwrap_or("?").to_owned();
    let reason = match error {
        Error::FromSqlConversionFailure(index, _, cause) => format!("column `{}`: {cause}", column(*index)),
        Error::InvalidColumnType(index, _, Type::Null) => format!("column `{}` is empty", column(*index)),
        Error::InvalidColumnType(index, _, kind) => format!("column `{}` is of type {kind}", column(*index)),
        Error::IntegralValueOutOfRange(index, value) => {
            format!("column `{}` is {value}, which is out of range", column(*index))
        }
        other => other.to_string(),
    };
    // A row without a number is in an index only.
    damaged_task(row.get(number).unwrap_or(0), reason)
}

/// The error for a task that cannot be read, or not be run.
pub(super) fn damaged_task(row: i64, reason: String) -> Error {
    Error::FromSqlConversionFailure(0, Type::Null, Box::new(Damage { row, reason }))
}

/// The row that an error is about, if it cannot be read.
pub(super) fn damage_in(error: &Error) -> Option<&Damage> {
    match error {
        Error::FromSqlConversionFailure(_, _, cause) => cause.downcast_ref(),
        _ => None,
    }
}

pub(super) fn priority(row: &Row<'_>, column: usize) -> Sql<Priority> {
    name_of(column, Priority::new(u64::from(row.get::<_, u8>(column)?)))
}

pub(super) fn state(row: &Row<'_>, column: usize) -> Sql<TaskState> {
    let code = row.get(column)?;
    TaskState::from_code(code).ok_or(Error::IntegralValueOutOfRange(column, code))
}

pub(super) fn epoch(row: &Row<'_>, column: usize) -> Sql<LeaseEpoch> {
    number(row, column).map(LeaseEpoch)
}

pub(super) fn uuid(row: &Row<'_>, column: usize) -> Sql<Uuid> {
    row.get::<_, [u8; 16]>(column).map(Uuid::from_bytes)
}

pub(super) fn optional_uuid(row: &Row<'_>, column: usize) -> Sql<Option<Uuid>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(Uuid::from_bytes))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Sql<Timestamp> {
    let micros = row.get(column)?;
    damage::stored_time(micros).ok_or(Error::IntegralValueOutOfRange(column, micros))
}

/// The greatest number that is accepted as a count: it leaves room to count on, and no store reaches it.
pub(super) const MOST_COUNTED: u64 = 1 << 62;
/// The same for what counts attempts and crashes.
const MOST_TRIES: u64 = 1 << 31;

/// A number that is not negative and may be counted on.
pub(super) fn number(row: &Row<'_>, column: usize) -> Sql<u64> {
    bounded(row, column, MOST_COUNTED)
}

/// How often something was tried.
pub(super) fn count(row: &Row<'_>, column: usize) -> Sql<u32> {
    let count = bounded(row, column, MOST_TRIES)?;
    u32::try_from(count).map_err(|_| Error::IntegralValueOutOfRange(column, i64::MAX))
}

/// The depth of a task.
pub(super) fn depth(row: &Row<'_>, column: usize) -> Sql<u32> {
    row.get::<_, Option<i64>>(column)?.map_or(Ok(0), |_| count(row, column))
}

fn bounded(row: &Row<'_>, column: usize, most: u64) -> Sql<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).ok().filter(|value| *value <= most).ok_or(Error::IntegralValueOutOfRange(column, value))
}

/// A number that is not negative.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Sql<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(column, value))
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Sql<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(|_| time(row, column)).transpose()
}

pub(super) fn pool_name(row: &Row<'_>, column: usize) -> Sql<PoolName> {
    name_of(column, PoolName::new(text(row, column)?))
}

pub(super) fn context(row: &Row<'_>, column: usize) -> Sql<Option<ContextId>> {
    optional_text(row, column)?.map(|text| name_of(column, ContextId::stored(text))).transpose()
}

/// The cost of a task's context, stored as JSON.
pub(super) fn cost(row: &Row<'_>, column: usize) -> Sql<Option<Box<ContextCost>>> {
    let read = |text| serde_json::from_str(text).map_err(|error| unreadable(column, error));
    optional_text(row, column)?.map(read).transpose()
}

pub(super) fn labels(column: usize, text: &str) -> Sql<Labels> {
    serde_json::from_str(text).map_err(|error| unreadable(column, error))
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Sql<&'a str> {
    row.get_ref(column)?.as_str().map_err(|error| unreadable(column, error))
}

fn optional_text<'a>(row: &'a Row<'_>, column: usize) -> Sql<Option<&'a str>> {
    row.get_ref(column)?.as_str_or_null().map_err(|error| unreadable(column, error))
}

pub(super) fn name_of<T>(column: usize, name: Result<T, forerunner_core::Error>) -> Sql<T> {
    name.map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl StdError + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// Reads the first column of the only row, if there is one.
pub(super) fn value<T: FromSql>(
    connection: &rusqlite::Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Sql<Option<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

/// Runs a statement that changes rows; answers how many.
pub(super) fn run(connection: &rusqlite::Connection, sql: &str, params: impl rusqlite::Params) -> Sql<usize> {
    connection.prepare_cached(sql)?.execute(params)
}
